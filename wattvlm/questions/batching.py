"""Study: joules and time of a request in a batch, against the same request alone, and where batching stops paying."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from wattvlm.answers import Answer, AnswerTable, Finding, Heading, Picture, Series, Value
from wattvlm.bench import Design
from wattvlm.comparison import Expected
from wattvlm.questions._figures import a_request, joules, part_joules, series_of, times
from wattvlm.questions.asked import Asked, Run, design_lines
from wattvlm.studies.expected import expected_of
from wattvlm.studies.quotients import quotient, saving, scaled, verdict
from wattvlm.trace import MODEL_PHASES

NAME = "batching"
QUESTION = "How many joules does a request save in a batch, what time does that cost, and where does it stop paying?"

BATCHES = (1, 2, 4, 8)

STILL_PAYS_FRACTION = 0.05
PUBLISHED = "3 to 5 times less from small to best batches, H100 and B200 (arXiv 2601.22076)"


def design(asked: Asked) -> Design:
    """The same request in batches of several sizes."""
    return asked.design(batch_sizes=BATCHES)


def answer(runs: Sequence[Run], design: Design) -> Answer:
    """What each batch saves and costs against the smallest one."""
    findings: list[Finding] = []
    series: list[Series] = []
    ordered: list[tuple[str, Run]] = []
    for name, alike in series_of(runs, "batch_size").items():
        by_size = sorted(alike, key=lambda run: run.cell.batch_size)
        findings += _findings(name, by_size)
        series.append(_series(name, by_size))
        ordered += [(f"{name} batch {run.cell.batch_size}", run) for run in by_size]
    return Answer(
        NAME, QUESTION,
        design_lines(design, runs, "the prompt, the pictures and the length of each answer"),
        tuple(findings), (_table(ordered), _stages_table(ordered)),
        (Picture("Joules of a request by the size of its batch", "requests in a batch", "J a request", tuple(series)),),
        (
            "all requests of a batch begin and end together, and wait for none: a server that admits them as they come "
            "has queues, and batches that are not full (docs/serving.md)",
            "what the batches that were measured do not reach is not known: a device with memory left may save more",
        ),
        any(run.is_modelled for run in runs), any(run.report.virtual for run in runs),
    )  # fmt: skip


def _findings(name: str, runs: Sequence[Run]) -> list[Finding]:
    least, most = runs[0], runs[-1]
    if least is most:
        words = "one size of batch has nothing to be held against. Cure: --batch 1,2,4,8"
        return [Finding(f"{name}: a request in a batch", words, is_modelled=least.is_modelled)]
    modelled = any(run.is_modelled for run in runs)
    found = [_less(name, least, most, modelled), _slower(name, least, most)]
    found += [_less(name, least, most, modelled, stage) for stage in MODEL_PHASES if _has(stage, least, most)]
    return [*found, _last_step(name, runs[-2], most, modelled)]


def _has(stage: str, *runs: Run) -> bool:
    return all(part_joules(run.report, stage) is not None for run in runs)


def _against(run: Run) -> str:
    return "alone" if run.cell.batch_size == 1 else f"in a batch of {run.cell.batch_size}"


def _less(name: str, least: Run, most: Run, modelled: bool, stage: str = "") -> Finding:
    """How many times less a request, or one stage of it, takes in the largest batch than in the smallest."""
    before, after = (_joules(run, stage) for run in (least, most))
    found = None if before is None or after is None else quotient(before, after)
    what = f"{name}: {phase_title(stage) or 'a request'} in a batch of {most.cell.batch_size}"
    return Finding(
        what, f"times less joules a request than {_against(least)}", found, "",
        "" if stage else "less than in the smallest batch",
        "" if stage else verdict(found, 1.0, inf, is_modelled=modelled),
        "" if stage else PUBLISHED, modelled,
    )  # fmt: skip


def phase_title(stage: str) -> str:
    """'vision encode' for vision_encode."""
    return stage.replace("_", " ")


def _joules(run: Run, stage: str) -> Expected | None:
    return a_request(part_joules(run.report, stage), run) if stage else joules(run.report)


def _slower(name: str, least: Run, most: Run) -> Finding:
    before, after = (expected_of(times(run.report, "call")) for run in (least, most))
    found = None if before is None or after is None else quotient(after, before)
    return Finding(
        f"{name}: latency in a batch of {most.cell.batch_size}", f"times that of a request {_against(least)}", found, ""
    )


def _last_step(name: str, before: Run, after: Run, modelled: bool) -> Finding:
    """Whether the largest batch still saves enough over the one before it."""
    earlier, later = joules(before.report), joules(after.report)
    found = None if earlier is None or later is None else saving(earlier, later)
    return Finding(
        f"{name}: from a batch of {before.cell.batch_size} to {after.cell.batch_size}",
        "of a request's joules are saved by the last step", found, "%",
        f"still over {STILL_PAYS_FRACTION * 100:g} %",
        verdict(found, STILL_PAYS_FRACTION, inf, is_modelled=modelled), is_modelled=modelled,
    )  # fmt: skip


def _series(name: str, runs: Sequence[Run]) -> Series:
    points = [(float(run.cell.batch_size), found) for run in runs if (found := joules(run.report)) is not None]
    return Series(name, tuple(points))


def _table(ordered: Sequence[tuple[str, Run]]) -> AnswerTable:
    headings = (
        Heading("request", "J"), Heading("output token", "J"), Heading("TTFT", "s"), Heading("batch", "s"),
        Heading("over its size", "s"),
    )  # fmt: skip
    return AnswerTable("Joules and time by batch", "cell", headings, tuple(_row(name, run) for name, run in ordered))


def _row(name: str, run: Run) -> tuple[Value, ...]:
    whole = expected_of(times(run.report, "call"))
    return (
        name, joules(run.report), joules(run.report, "output_token"), expected_of(times(run.report, "ttft")), whole,
        None if whole is None else scaled(whole, 1.0 / run.cell.batch_size),
    )  # fmt: skip


def _stages_table(ordered: Sequence[tuple[str, Run]]) -> AnswerTable:
    stages = [stage for stage in MODEL_PHASES if any(_has(stage, run) for _, run in ordered)]
    return AnswerTable(
        "Joules of a request by stage", "cell", tuple(Heading(phase_title(stage), "J") for stage in stages),
        tuple((name, *(_joules(run, stage) for stage in stages)) for name, run in ordered),
    )  # fmt: skip
