"""Study: what ways to compute fewer visual tokens save in time and in joules, could save at most, and lose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path

from wattvlm.answers import Answer, AnswerTable, Finding, Heading, Picture, Series, Value
from wattvlm.bench import Cell, Design
from wattvlm.bench.running import Subject
from wattvlm.bench.subjects import TransformersSubject
from wattvlm.comparison import Expected
from wattvlm.pruning import ways
from wattvlm.questions._answers import BenchmarkSubject
from wattvlm.questions._asking import benchmark_of, digest, questions_of
from wattvlm.questions._figures import row_name, run_joules, times
from wattvlm.questions._kept import right_answers, score_of
from wattvlm.questions._pruned import BETWEEN, PrunedModels, PrunedSubject
from wattvlm.questions._pruned import NO_PICTURE as NO_PICTURE
from wattvlm.questions._pruned import WHOLE as WHOLE
from wattvlm.questions._pruned import named as named
from wattvlm.questions.asked import HOW_IT_RUNS, STATED, Asked, Run, design_lines
from wattvlm.studies.compare import per_request
from wattvlm.studies.expected import expected_of
from wattvlm.studies.quotients import quotient, saving, verdict
from wattvlm.units import BYTES_PER_GB

NAME = "pruning"
QUESTION = "What does computing fewer visual tokens save, in time and in joules, and how much could it save?"

OUTPUT_TOKENS = 16
ANSWER_TOKENS = 8
"""To a benchmark's question: enough for an option or a word."""
CEILING_PUBLISHED = (
    "at most 10 % with a fixed number of visual tokens, at most 28 % for Qwen2.5-VL-3B at 448 x 448 (arXiv 2607.09520)"
)
PUBLISHED = {
    "mmtok": "1.87 times as fast on an H100 (arXiv 2508.18264)",
    "vscan": "2.91 times as fast a prefill (arXiv 2505.22654)",
    "tokenpacker": "75 to 89 % fewer tokens (arXiv 2407.02392)",
}


def design(asked: Asked) -> Design:
    """Each model whole, with each way, and without a picture; on a benchmark's questions where one is given."""
    names = (WHOLE, *ways(), NO_PICTURE)
    asked = replace(asked, models=tuple(f"{model}{BETWEEN}{name}" for model in asked.models for name in names))
    if not asked.benchmark:
        return asked.design(output_tokens=(OUTPUT_TOKENS,))
    benchmark = benchmark_of(asked)
    questions = questions_of(asked, benchmark)
    limited = replace(asked, fewest_calls=len(questions), most_calls=len(questions))
    settings = {"benchmark": f"{benchmark.name} ({benchmark.format})", "questions": digest(questions)}
    return limited.design(settings, output_tokens=(ANSWER_TOKENS,))


def subject(asked: Asked) -> Subject:
    """Models by transformers, changed by the way that a cell's model names."""
    models = PrunedModels(TransformersSubject(random_weights=asked.random_weights))
    if not asked.benchmark:
        return PrunedSubject(models)
    benchmark = benchmark_of(asked)
    return BenchmarkSubject(
        benchmark, questions_of(asked, benchmark), Path(asked.folder), models, lambda cell: named(cell)[0],
        models.trimmed, is_held=True,
    )  # fmt: skip


def answer(runs: Sequence[Run], design: Design) -> Answer:
    """Speed-ups and savings of each way against the whole model, and the ceiling."""
    models: dict[str, dict[str, Run]] = {}
    for run in runs:
        model, way = named(run.cell)
        models.setdefault(model, {})[way] = run
    findings = [finding for model, by_way in models.items() for finding in _findings(model, by_way)]
    names = tuple(name for name in (WHOLE, *ways(), NO_PICTURE) if any(name in each for each in models.values()))
    picture = Picture("Joules of a request by way", "", "J a request", _series(models, names), names)
    return Answer(
        NAME, QUESTION,
        design_lines(design, runs, *_equal(design)),
        tuple(findings), _tables(models, names), (picture,),
        (
            "ways are small re-creations that are not trained: what they lose in accuracy is more than a trained one "
            "loses, and is told where a benchmark's questions are asked (--questions)",
            "what choosing tokens itself takes is in the joules; an implementation with other kernels takes another",
            f"answers have {_lengths(runs)} tokens: the longer an answer, the less any way saves of a request",
        ),
        any(run.is_modelled for run in runs), any(run.report.virtual for run in runs),
    )  # fmt: skip


def _equal(design: Design) -> tuple[str, tuple[str, ...]]:
    """What is held equal in words, and the fields of a cell that say it in numbers."""
    benchmark = design.versions.get("benchmark")
    if benchmark is None:
        return "the prompt's text, the picture and the answer's length; weights are the same", tuple(STATED)
    asked = f"the questions of {benchmark}, each asked once in one order; the answer's length, read up to its end"
    return asked, ("output_tokens", *HOW_IT_RUNS)


def _lengths(runs: Sequence[Run]) -> str:
    return ", ".join(str(length) for length in sorted({run.cell.output_tokens for run in runs}))


def _findings(model: str, by_way: Mapping[str, Run]) -> list[Finding]:
    label = row_name(Cell(model))
    whole = by_way.get(WHOLE)
    if whole is None:
        return [Finding(f"{label}: whole", "was not measured, so that nothing can be held against it")]
    found: list[Finding] = []
    for way in ways():
        if way in by_way:
            found += _of_way(label, way, whole, by_way[way])
    if NO_PICTURE in by_way:
        found += _ceiling(label, whole, by_way[NO_PICTURE])
    return found + right_answers(label, whole, {way: run for way, run in by_way.items() if way != WHOLE})


def _of_way(label: str, way: str, whole: Run, run: Run) -> list[Finding]:
    modelled = whole.is_modelled or run.is_modelled
    published = PUBLISHED.get(way.partition("-")[0], "")
    faster, less = _speed_up(whole, run), _saved(whole, run)
    return [
        Finding(f"{label}: speed-up by {way}", "times as fast a request", faster, "", published=published),
        Finding(f"{label}: joules saved by {way}", "of a request's joules", less, "%", is_modelled=modelled),
        _power(label, way, whole, run, modelled),
    ]


def _power(label: str, way: str, whole: Run, run: Run, modelled: bool) -> Finding:
    """Where mean power rises, joules fall less than time does."""
    before, after = _mean_power(whole), _mean_power(run)
    rise = None if before is None or after is None else quotient(after, before)
    return Finding(
        f"{label}: mean power with {way}", "times that of the whole model; above 1, joules fall less than time does",
        rise, "", "the saving of joules is smaller than the speed-up", verdict(rise, 1.0, inf, is_modelled=modelled),
        is_modelled=modelled,
    )  # fmt: skip


def _ceiling(label: str, whole: Run, bare: Run) -> list[Finding]:
    modelled = whole.is_modelled or bare.is_modelled
    return [
        Finding(f"{label}: the most that can be saved", "of a request's joules, with no picture at all",
                _saved(whole, bare), "%", published=CEILING_PUBLISHED, is_modelled=modelled),
        Finding(f"{label}: the largest speed-up", "times as fast a request, with no picture at all",
                _speed_up(whole, bare)),
    ]  # fmt: skip


def _seconds(run: Run, name: str = "call") -> Expected | None:
    return expected_of(times(run.report, name))


def _speed_up(whole: Run, run: Run) -> Expected | None:
    before, after = _seconds(whole), _seconds(run)
    return None if before is None or after is None else quotient(before, after)


def _saved(whole: Run, run: Run) -> Expected | None:
    before, after = run_joules(whole), run_joules(run)
    return None if before is None or after is None else saving(before, after)


def _mean_power(run: Run) -> Expected | None:
    energy, took = run_joules(run), _seconds(run)
    return None if energy is None or took is None else quotient(energy, took)


def _series(models: Mapping[str, Mapping[str, Run]], names: Sequence[str]) -> tuple[Series, ...]:
    return tuple(
        Series(row_name(Cell(model)), tuple(
            (float(names.index(way)), found)
            for way, run in by_way.items() if (found := run_joules(run)) is not None
        ))
        for model, by_way in models.items()
    )  # fmt: skip


def _tables(models: Mapping[str, Mapping[str, Run]], names: Sequence[str]) -> tuple[AnswerTable, ...]:
    """A table of costs for each model, without columns that are empty in it, and one of right answers where marked."""
    found: list[AnswerTable] = []
    for model, by_way in models.items():
        ordered = [way for way in names if way in by_way]
        of = "" if len(models) == 1 else f": {row_name(Cell(model))}"
        rows = [(way, *_row(by_way[way], by_way.get(WHOLE))) for way in ordered]
        filled = [place for place in range(len(_HEADINGS)) if any(row[place + 1] is not None for row in rows)]
        headings = tuple(_HEADINGS[place] for place in filled)
        kept = tuple((row[0], *(row[place + 1] for place in filled)) for row in rows)
        found.append(AnswerTable(f"Ways and what they save{of}", "way", headings, kept))
        if any(run.answers for run in by_way.values()):
            right = tuple((way, score_of(by_way[way])) for way in ordered)
            found.append(AnswerTable(f"Right answers that are left{of}", "way", (Heading("right", "%"),), right))
    return tuple(found)


_HEADINGS = (
    Heading("tokens"), Heading("kept"), Heading("request", "J"), Heading("image", "J"), Heading("saved", "%"),
    Heading("TTFT", "s"), Heading("request", "s"), Heading("speed-up"), Heading("peak GB"),
)  # fmt: skip
"""tokens: visual ones that enter the language model; kept: of these, what its last layer computes."""


def _row(run: Run, whole: Run | None) -> tuple[Value, ...]:
    report = run.report
    is_other = whole is not None and whole is not run
    return (
        per_request(report, "visual_input"), per_request(report, "visual_kept"),
        run_joules(run), run_joules(run, "image"), _saved(whole, run) if is_other and whole else None,
        _seconds(run, "ttft"), _seconds(run), _speed_up(whole, run) if is_other and whole else None, _peak_gb(run),
    )  # fmt: skip


def _peak_gb(run: Run) -> float | None:
    """Of the device's memory; a CPU has none of its own."""
    known = [call.peak_memory_bytes for call in run.report.calls if call.peak_memory_bytes]
    return max(known) / BYTES_PER_GB if known else None
