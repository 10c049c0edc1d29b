"""Study: joules of one more visual token, by size and number of pictures, and what a request takes without any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf

from wattvlm.answers import Answer, AnswerTable, Finding, Heading, Picture, Series, Value
from wattvlm.bench import Design
from wattvlm.comparison import Expected
from wattvlm.questions._counted import counted as counted
from wattvlm.questions._figures import (
    expected_of_energy,
    joules,
    line,
    picture_words,
    series_of,
    share_or_none,
)
from wattvlm.questions.asked import Asked, Run, design_lines
from wattvlm.studies import Marginal
from wattvlm.studies.compare import per_request
from wattvlm.studies.quotients import quotient, scaled, verdict
from wattvlm.trace import DECODE, PREFILL, PROJECTOR, VISION_ENCODE

NAME = "visual-tokens"
QUESTION = "What does one more visual token cost, and what does a request cost without any?"

IMAGES = (1, 2, 4)
RESOLUTIONS = ((224, 224), (336, 336), (448, 448))
PER = "visual_input"
FRAMES = ("text_input",)
"""Begin and end of a picture are text; the words of the prompt are the same in all cells, so that these go with it."""

PREFILL_PUBLISHED = "25.8 mJ a prompt token of prefill, 7 to 8 B on an A100 (95.78 J for 3,715; arXiv 2512.22695)"
MOST_FRACTION = 0.28
REMOVAL_PUBLISHED = (
    "taking all visual tokens away saves up to 10 % with a fixed number of them, and up to 28 % with Qwen2.5-VL-3B at "
    "448 x 448 (arXiv 2607.09520)"
)
EVEN_FRACTION = 0.1
"""How far the price at two sizes may differ for a statement that it is the same."""


def design(asked: Asked) -> Design:
    """Pictures of several sizes and several of each: families differ in what a size does to the number of tokens."""
    return asked.design(images=IMAGES, resolutions=RESOLUTIONS)


def answer(runs: Sequence[Run], design: Design) -> Answer:
    """The line of each model, its parts, and the same at each size."""
    findings: list[Finding] = []
    series: list[Series] = []
    rows: list[tuple[Value, ...]] = []
    by_size: list[tuple[Value, ...]] = []
    for name, alike in series_of(runs, "images", "resolution").items():
        ordered = sorted(alike, key=_tokens)
        of_call = line(ordered, PER, along=FRAMES)
        sizes = _at_sizes(ordered)
        findings += [*_findings(name, ordered, of_call), *_evenness(name, sizes, any(map(_is_modelled, ordered)))]
        series.append(_series(name, ordered, of_call))
        rows += [_row(name, run) for run in ordered]
        by_size += [(f"{name} {size}", *values) for size, values in sizes.items()]
    return Answer(
        NAME, QUESTION,
        design_lines(design, runs, "the words of the prompt, the length of the answer and the batch"),
        tuple(findings), (_cells_table(rows), _sizes_table(by_size)),
        (Picture("Joules of a request by its visual tokens", "visual tokens a request", "J a request", tuple(series)),),
        (
            "a line holds between the fewest and the most tokens that were measured; attention's part grows with the "
            "square of the prompt, and is in the slope as far as it grew here",
            "the fixed cost is where the line meets zero tokens; it holds the words of the prompt and the whole answer",
            "J per visual token is a price inside one model: families make very different numbers of tokens of one "
            "picture (wattvlm visual-tokens CONFIG counts them), so that models are compared by J per image",
        ),
        any(map(_is_modelled, runs)), any(run.report.virtual for run in runs),
    )  # fmt: skip


def _is_modelled(run: Run) -> bool:
    return run.is_modelled


def _known_tokens(run: Run) -> float | None:
    """Visual tokens of a request; None where they are not known."""
    return per_request(run.report, PER)


def _tokens(run: Run) -> float:
    """The same to sort runs by, and for those that a line was laid through, whose counts are known."""
    return _known_tokens(run) or 0.0


def _findings(name: str, runs: Sequence[Run], of_call: Marginal | str) -> list[Finding]:
    modelled = any(map(_is_modelled, runs))
    what = f"{name}: one more visual token"
    if isinstance(of_call, str):
        return [Finding(what, of_call, None, "J", is_modelled=modelled)]
    one = expected_of_energy(of_call.energy)
    low, high = of_call.range_tokens
    words = f"more, between {low:,.0f} and {high:,.0f} a call; runs lie {of_call.residual_j:.2g} J around the line"
    return [
        Finding(what, "; ".join((words, *of_call.notes)), one, "J", is_modelled=modelled),
        *_parts(name, runs, modelled),
        Finding(f"{name}: a call without visual tokens", "is the fixed cost, where the line meets zero",
                expected_of_energy(of_call.intercept), "J", is_modelled=modelled),
        _removal(name, runs[-1], one, modelled),
    ]  # fmt: skip


def _parts(name: str, runs: Sequence[Run], modelled: bool) -> list[Finding]:
    """The price of a token in each stage that it passes."""
    found: list[Finding] = []
    for part in (VISION_ENCODE, PROJECTOR, PREFILL, DECODE):
        of_part = line(runs, PER, part, FRAMES)
        if isinstance(of_part, Marginal):
            one, published = expected_of_energy(of_part.energy), PREFILL_PUBLISHED if part == PREFILL else ""
            what = f"{name}: one more visual token in {part}"
            found.append(Finding(what, "more", one, "J", published=published, is_modelled=modelled))
    return found


def _removal(name: str, run: Run, one: Expected, modelled: bool) -> Finding:
    """What all visual tokens together take of the request that has most of them."""
    whole = joules(run.report)
    found = None if whole is None or one.low <= 0 else quotient(scaled(one, _tokens(run)), whole)
    where = picture_words(run.cell)
    return Finding(
        f"{name}: all visual tokens{f' at {where}' if where else ''}",
        f"of a request's joules go with its {_tokens(run):,.0f} visual tokens, and are the most that taking them away "
        "can save",
        found, "%", f"at most {MOST_FRACTION * 100:g} %",
        verdict(found, -inf, MOST_FRACTION, is_modelled=modelled), REMOVAL_PUBLISHED, modelled,
    )  # fmt: skip


Sizes = Mapping[str, tuple[Value, ...]]


def _at_sizes(runs: Sequence[Run]) -> Sizes:
    """By size of pictures: tokens of one, joules of one more token and of one more picture, over their number."""
    sizes: dict[tuple[int, int] | None, list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.cell.resolution or (0, 0)):
        if run.cell.images:
            sizes.setdefault(run.cell.resolution, []).append(run)
    found: dict[str, tuple[Value, ...]] = {}
    for size, alike in sizes.items():
        of_size, each = line(alike, PER, along=FRAMES), _tokens(alike[0]) / alike[0].cell.images
        one = expected_of_energy(of_size.energy) if isinstance(of_size, Marginal) else None
        words = "own size" if size is None else f"{size[0]} x {size[1]}"
        found[words] = (each, one, None if one is None else scaled(one, each))
    return found


def _evenness(name: str, sizes: Sizes, modelled: bool) -> list[Finding]:
    """Whether a token costs the same in small and in large pictures."""
    priced = [(size, one) for size, (_, one, _) in sizes.items() if isinstance(one, Expected)]
    if len(priced) < 2:
        return []
    (small, first), (large, last) = priced[0], priced[-1]
    found = quotient(last, first)
    return [
        Finding(
            f"{name}: a visual token at {large} against {small}", "times the joules", found, "",
            f"the same within {EVEN_FRACTION * 100:g} %",
            verdict(found, 1.0 - EVEN_FRACTION, 1.0 + EVEN_FRACTION, is_modelled=modelled), is_modelled=modelled,
        )
    ]  # fmt: skip


def _series(name: str, runs: Sequence[Run], of_call: Marginal | str) -> Series:
    known = [(run, count) for run in runs if (count := _known_tokens(run)) is not None]
    points = [(count, found) for run, count in known if (found := joules(run.report)) is not None]
    if isinstance(of_call, str):
        return Series(name, tuple(points))
    slope_j, fixed_j = of_call.energy.middle_j, of_call.intercept.middle_j / runs[0].cell.batch_size
    ends = (0.0, max(x for x, _ in points)) if points else ()
    return Series(name, tuple(points), tuple((x, fixed_j + slope_j * x) for x in ends))


def _row(name: str, run: Run) -> tuple[Value, ...]:
    report = run.report
    return (
        " ".join(filter(None, (name, picture_words(run.cell)))), _known_tokens(run),
        joules(report), joules(report, "image"),
        joules(report, "visual_token"), share_or_none(report, (VISION_ENCODE, PROJECTOR)),
        share_or_none(report, (PREFILL,)),
    )  # fmt: skip


def _cells_table(rows: Sequence[tuple[Value, ...]]) -> AnswerTable:
    headings = (
        Heading("visual tokens"), Heading("a request", "J"), Heading("an image", "J"), Heading("a visual token", "J"),
        Heading("encoder", "%"), Heading("prefill", "%"),
    )  # fmt: skip
    return AnswerTable("Joules by pictures, mean prices", "cell", headings, tuple(rows))


def _sizes_table(rows: Sequence[tuple[Value, ...]]) -> AnswerTable:
    headings = (Heading("tokens of a picture"), Heading("one more token", "J"), Heading("one more picture", "J"))
    return AnswerTable("Joules of one more, by the size of pictures (over their number)", "size", headings, tuple(rows))
