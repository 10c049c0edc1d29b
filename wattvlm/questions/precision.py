"""Study: joules and time of a request by the precision of the weights, at each size of its picture."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from wattvlm.answers import Answer, AnswerTable, Finding, Heading, Picture, Series, Value
from wattvlm.bench import Design
from wattvlm.comparison import Expected
from wattvlm.questions._figures import joules, part_joules, series_of, times
from wattvlm.questions.asked import Asked, Run, design_lines
from wattvlm.studies.expected import expected_of
from wattvlm.studies.quotients import quotient, verdict
from wattvlm.trace import DECODE, PREFILL, VISION_ENCODE

NAME = "precision"
QUESTION = "How many joules does a lower precision save, in which stage, and does it depend on the size of the picture?"

PRECISIONS = ("float32", "bfloat16", "int8")
RESOLUTIONS = ((224, 224), (448, 448))

BITS = {"float32": 32, "bfloat16": 16, "float16": 16, "int8": 8, "int4": 4}
STAGES = (VISION_ENCODE, PREFILL, DECODE)


def design(asked: Asked) -> Design:
    """The same request in several precisions, with a picture of several sizes."""
    return asked.design(dtypes=PRECISIONS, resolutions=RESOLUTIONS)


def answer(runs: Sequence[Run], design: Design) -> Answer:
    """Each precision against the highest that was measured, at each size."""
    findings: list[Finding] = []
    ordered: list[tuple[str, Run]] = []
    for name, alike in series_of(runs, "dtype").items():
        by_bits = sorted(alike, key=_bits)
        findings += _findings(name, by_bits)
        ordered += [(f"{name} {run.cell.dtype}", run) for run in by_bits]
    return Answer(
        NAME, QUESTION,
        design_lines(design, runs, "the prompt, the pictures, the length of the answer and the batch"),
        tuple(findings), (_table(ordered),), (_picture(runs),),
        (
            "int8 and int4 are the weights of the language model's linear layers (torchao, weights alone): the encoder "
            "and all activations stay as they were",
            "what a lower precision costs in accuracy is the question of the study accuracy",
            "kernels decide: a precision for which the device has no fast ones may take more joules, not fewer",
        ),
        any(run.is_modelled for run in runs), any(run.report.virtual for run in runs),
    )  # fmt: skip


def _bits(run: Run) -> tuple[int, str]:
    """From the highest precision to the lowest; one that is not known here goes last."""
    return -BITS.get(run.cell.dtype, 0), run.cell.dtype


def _findings(name: str, runs: Sequence[Run]) -> list[Finding]:
    highest, *lower = runs
    modelled = any(run.is_modelled for run in runs)
    if not lower:
        words = "one precision has nothing to be held against. Cure: --dtype float32,bfloat16"
        return [Finding(f"{name}: {highest.cell.dtype}", words, is_modelled=modelled)]
    found: list[Finding] = []
    for run in lower:
        found += [_less(name, highest, run, modelled), _faster(name, highest, run)]
        found += [_less(name, highest, run, modelled, stage) for stage in STAGES if _has(stage, highest, run)]
    return found


def _has(stage: str, *runs: Run) -> bool:
    return all(part_joules(run.report, stage) is not None for run in runs)


def _less(name: str, highest: Run, run: Run, modelled: bool, stage: str = "") -> Finding:
    """How many times less a request, or one stage of it, takes than in the highest precision."""
    before, after = (part_joules(each.report, stage) if stage else joules(each.report) for each in (highest, run))
    found = None if before is None or after is None else quotient(before, after)
    what = f"{name}: {f'{stage} '.replace('_', ' ') if stage else ''}{run.cell.dtype}"
    claim = "" if stage else f"less than {highest.cell.dtype}"
    return Finding(
        what, f"times less joules than {highest.cell.dtype}", found, "", claim,
        verdict(found, 1.0, inf, is_modelled=modelled) if claim else "", is_modelled=modelled,
    )  # fmt: skip


def _faster(name: str, highest: Run, run: Run) -> Finding:
    before, after = (expected_of(times(each.report, "call")) for each in (highest, run))
    found = None if before is None or after is None else quotient(before, after)
    return Finding(
        f"{name}: time of {run.cell.dtype}", f"times faster than {highest.cell.dtype}", found, "",
        f"faster than {highest.cell.dtype}", verdict(found, 1.0, inf),
    )  # fmt: skip


def _picture(runs: Sequence[Run]) -> Picture:
    """A line for each precision over the sizes of the picture."""
    sizes = sorted({run.cell.resolution or (0, 0) for run in runs})
    if len(sizes) == 1:
        return _at_one_size(runs)
    series: list[Series] = []
    for name, alike in series_of(runs, "images", "resolution").items():
        places = {sizes.index(run.cell.resolution or (0, 0)): joules(run.report) for run in alike}
        points = tuple((float(place), found) for place, found in sorted(places.items()) if found is not None)
        series.append(Series(name, points))
    names = tuple(f"{width} x {height}" if width else "its own" for width, height in sizes)
    return Picture("Joules of a request by precision", "picture", "J a request", tuple(series), names)


def _at_one_size(runs: Sequence[Run]) -> Picture:
    """Bars of each precision side by side, model after model."""
    models = list(series_of(runs, "dtype"))
    by_dtype: dict[str, list[tuple[float, Expected]]] = {}
    for place, alike in enumerate(series_of(runs, "dtype").values()):
        for run in sorted(alike, key=_bits):
            if (found := joules(run.report)) is not None:
                by_dtype.setdefault(run.cell.dtype, []).append((float(place), found))
    series = tuple(Series(dtype, tuple(points)) for dtype, points in by_dtype.items())
    return Picture("Joules of a request by precision", "", "J a request", series, tuple(models))


def _table(ordered: Sequence[tuple[str, Run]]) -> AnswerTable:
    headings = (
        Heading("request", "J"), *(Heading(stage.replace("_", " "), "J") for stage in STAGES), Heading("TTFT", "s"),
        Heading("request", "s"),
    )  # fmt: skip
    return AnswerTable("Joules and time by precision", "cell", headings, tuple(_row(*each) for each in ordered))


def _row(name: str, run: Run) -> tuple[Value, ...]:
    report = run.report
    return (
        name, joules(report), *(part_joules(report, stage) for stage in STAGES),
        expected_of(times(report, "ttft")), expected_of(times(report, "call")),
    )  # fmt: skip
