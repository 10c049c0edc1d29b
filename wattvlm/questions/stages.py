"""Study: what each stage of a request takes, and how much more a request with a picture takes than text alone."""

from __future__ import annotations

from collections.abc import Sequence

from wattvlm.answers import Answer, AnswerTable, Finding, Heading, Picture, Series
from wattvlm.bench import Design
from wattvlm.comparison import Expected
from wattvlm.questions._figures import (
    a_request,
    joules,
    part_joules,
    picture_words,
    series_of,
    share_or_none,
    times,
)
from wattvlm.questions.asked import Asked, Run, design_lines
from wattvlm.studies.compare import per_request
from wattvlm.studies.expected import expected_of
from wattvlm.studies.quotients import saving, verdict
from wattvlm.trace import MODEL_PHASES

NAME = "stages"
QUESTION = "Which stage of a request takes the joules, and how much more does a picture make it take than text alone?"

IMAGES = (0, 1)
RESOLUTIONS = ((224, 224), (448, 448), (896, 896))

MORE = (0.17, 0.94)
MORE_PUBLISHED = "17 to 94 % more than text alone, four models on an A100 (arXiv 2512.22695)"


def design(asked: Asked) -> Design:
    """One request as text alone, and with one picture of several sizes."""
    return asked.design(images=IMAGES, resolutions=RESOLUTIONS)


def answer(runs: Sequence[Run], design: Design) -> Answer:
    """Shares of the stages of each cell, and what pictures add to a request."""
    findings: list[Finding] = []
    ordered: list[tuple[str, Run]] = []
    for name, alike in series_of(runs, "images", "resolution").items():
        by_size = sorted(alike, key=lambda run: (run.cell.images, run.cell.resolution or (0, 0)))
        findings += _findings(name, by_size)
        ordered += [(" ".join(filter(None, (name, picture_words(run.cell)))), run) for run in by_size]
    return Answer(
        NAME, QUESTION,
        design_lines(design, runs, "the words of the prompt, the length of the answer and the batch"),
        tuple(findings), (_joules_table(ordered), _times_table(ordered)), (_picture(ordered),),
        (
            "joules of a stage are those of the accelerator; what the host draws while it preprocesses is not in them",
            "text alone has the same words and no picture: its prompt is shorter, and every token of its answer "
            "attends to less",
            "a stage that the readings do not tell from its neighbour has no share of its own",
        ),
        any(run.is_modelled for run in runs), any(run.report.virtual for run in runs),
    )  # fmt: skip


def _findings(name: str, runs: Sequence[Run]) -> list[Finding]:
    modelled = any(run.is_modelled for run in runs)
    with_pictures = [run for run in runs if run.cell.images]
    alone = [run for run in runs if not run.cell.images]
    found = [_largest(name, run, modelled) for run in with_pictures]
    return found + [_more(name, alone[0], run, modelled) for run in with_pictures if alone]


def _where(run: Run) -> str:
    return f" at {words}" if (words := picture_words(run.cell)) else ""


def _largest(name: str, run: Run, modelled: bool) -> Finding:
    """The stage that surely takes most, by whole intervals; those that may be it, where that cannot be told."""
    stages = {stage: found for stage in MODEL_PHASES if (found := part_joules(run.report, stage)) is not None}
    what = f"{name}: largest stage{_where(run)}"
    if not stages:
        return Finding(what, "no stage has joules of its own", None, "%", is_modelled=modelled)
    stage, most = max(stages.items(), key=lambda each: each[1].value)
    rivals = [other for other, found in stages.items() if other != stage and found.high > most.low]
    words = f"of a request's joules are {stage}'s, more than any other stage's"
    if modelled:
        words = f"of a request's joules are {stage}'s by the model"
    elif rivals:
        words = f"of a request's joules are {stage}'s; it cannot be told from {' and '.join(rivals)}"
    return Finding(what, words, share_or_none(run.report, (stage,)), "%", is_modelled=modelled)


def _more(name: str, alone: Run, run: Run, modelled: bool) -> Finding:
    before, after = joules(alone.report), joules(run.report)
    saved = None if before is None or after is None else saving(before, after)
    found = None if saved is None else Expected(-saved.value, -saved.high, -saved.low, saved.is_bounds)
    return Finding(
        f"{name}: more than text alone{_where(run)}", "more joules a request with the picture", found, "%",
        f"between {MORE[0] * 100:g} and {MORE[1] * 100:g} % more", verdict(found, *MORE, is_modelled=modelled),
        MORE_PUBLISHED, modelled,
    )  # fmt: skip


def _joules_table(ordered: Sequence[tuple[str, Run]]) -> AnswerTable:
    stages = _stages(ordered)
    headings = (Heading("visual tokens"), Heading("a request", "J"), *(Heading(stage, "%") for stage in stages))
    return AnswerTable(
        "Joules of a request, and the share of each stage", "cell", headings,
        tuple(
            (
                name, per_request(run.report, "visual_input"), joules(run.report),
                *(share_or_none(run.report, (stage,)) for stage in stages),
            )
            for name, run in ordered
        ),
    )  # fmt: skip


def _times_table(ordered: Sequence[tuple[str, Run]]) -> AnswerTable:
    stages = _stages(ordered)
    headings = (Heading("a call", "s"), *(Heading(stage, "s") for stage in stages))
    return AnswerTable(
        "Time of each stage of a call", "cell", headings,
        tuple(
            (name, *(expected_of(times(run.report, each)) for each in ("call", *stages)))
            for name, run in ordered
        ),
    )  # fmt: skip


def _stages(ordered: Sequence[tuple[str, Run]]) -> list[str]:
    """The stages that any run has, in their order."""
    seen = {part.name for _, run in ordered for part in run.report.phases if not part.unseen}
    return [stage for stage in MODEL_PHASES if stage in seen]


def _picture(ordered: Sequence[tuple[str, Run]]) -> Picture:
    series = [
        Series(
            stage,
            tuple(
                (float(place), found)
                for place, (_, run) in enumerate(ordered)
                if (found := a_request(part_joules(run.report, stage), run)) is not None
            ),
        )
        for stage in _stages(ordered)
    ]
    names = tuple(name for name, _ in ordered)
    return Picture("Joules of a request by stage", "", "J a request", tuple(series), names, stacked=True)
