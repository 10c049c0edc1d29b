"""`marginal`: joules of one more token, from runs that differ in their images and lengths.

A line is laid through the runs: joules a call = intercept + sum of slope x tokens a call. Each run counts by the
interval of its expected call, widened by what runs scatter around the line beyond that (random-effects regression).
The interval of a slope is the wider of two: what the runs' own intervals leave, and what their scatter around the line
says (Knapp and Hartung 2003, Statistics in Medicine 22, 2693, with Student's t). Errors of runs whose joules are
bounds are added up as bounds. Where runs scatter far more than their intervals say, fewer than 95 % are covered.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from wattvlm.comparison import Expected
from wattvlm.energy import Energy, Provenance
from wattvlm.errors import NotComparable, NotResolved
from wattvlm.report import Report
from wattvlm.studies.comparable import obstacles
from wattvlm.studies.expected import expected_part
from wattvlm.studies.line import Line, Point, fit, inflation
from wattvlm.trace import DECODE, PREFILL, PREPROCESS, PROJECTOR, VISION_ENCODE

COUNTS = ("visual_encoded", "visual_input", "visual_kept", "text_input", "output")
VISUAL = ("visual_encoded", "visual_input", "visual_kept")

MATTERS = {PREPROCESS: (), VISION_ENCODE: (), PROJECTOR: (), PREFILL: ("text_input",), DECODE: ("text_input", "output")}
"""Which counts beside visual ones a phase's joules can depend on: nothing that comes after it."""

ONE_LINE = 1e8
"""Beyond this inflation of its variance a slope is rounding error: the counts lie on one line."""

NEARLY_ONE_LINE = 10.0
"""From this inflation of its variance on, a reader is told that counts nearly move together."""


@dataclass(frozen=True, slots=True, eq=False)
class Marginal:
    """What one more token of a kind costs, over several runs.

    energy: joules a token of kind `per`, everything else held. intercept: joules a call without any of the counts in
    the line. others: joules a token of each other count in the line. held: counts that were equal in all runs; their
    joules are in the intercept. range_tokens: the smallest and largest count a call of `per`; beyond them nothing was
    seen. residual_j: one sigma of the runs' joules a call around the line. beyond_j: the part of that which the runs'
    own intervals do not explain.
    """

    per: str
    part: str
    energy: Energy
    intercept: Energy
    runs: int
    range_tokens: tuple[float, float]
    residual_j: float
    beyond_j: float
    others: Mapping[str, Energy] = field(default_factory=dict[str, Energy])
    held: Mapping[str, float] = field(default_factory=dict[str, float])
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        kind = "bounds" if self.energy.is_bounds else "95 %"
        low, high = self.range_tokens
        words = [
            f"{self.part}: {self.energy} per {self.per} token ({kind}; {self.runs} runs, {low:g} to {high:g} a call)",
            *(f"{energy} per {name} token" for name, energy in self.others.items()),
            f"{self.intercept} without them",
            *(f"{name} was {count:g} in all runs" for name, count in self.held.items()),
            f"runs lie {self.residual_j:.2g} J around the line",
        ]
        return "; ".join(words) + "".join(f"\n  {note}" for note in self.notes)


def marginal(
    reports: Sequence[Report], per: str = "visual_input", part: str = "call", *, allow: Collection[str] = (),
    along: Collection[str] = (),
) -> Marginal:  # fmt: skip
    """Joules of one more token of a kind: the slope over runs with different counts, with its interval.

    reports: of one model on one device, each a run of like calls; vary images and lengths from run to run.
    per: a field of TokenCounts. part: a phase, or "call"; of the accelerator, gross. allow: kinds of obstacles to pass
    over, as in `compare`, and "model". along: counts that move only because `per` does, such as the text tokens that
    frame a picture: they are not in the line, their joules are in the slope, and a note says how many they are.
    NotResolved where the runs are too few, or their counts do not tell the slopes apart. NotComparable where the
    joules of the runs are not of one kind. ValueError for a count there is not.
    """
    if per not in COUNTS:
        raise ValueError(f"no count {per!r} to take a slope over; there are {list(COUNTS)}")
    _same_kind(reports, allow)
    counts, notes = _columns(reports, per, part)
    notes += _moved_along({name: counts.pop(name) for name in along if name in counts and name != per}, counts[per])
    held = {name: column[0] for name, column in counts.items() if len(set(column)) == 1}
    free = {name: column for name, column in counts.items() if len(set(column)) > 1}
    if per not in free:
        at = f"all at {held[per]:g} {per} tokens a call" if per in held else "so none that differ"
        raise NotResolved(
            f"{len(reports)} runs, {at}: no slope. Cure: runs with images of other sizes (or other prompts and "
            "lengths), the more different the better"
        )
    if len(reports) < len(free) + 2:
        raise NotResolved(
            f"{len(reports)} runs do not give {len(free)} slopes ({', '.join(free)}), an intercept and their errors. "
            f"Cure: {len(free) + 2} runs or more, or hold {' and '.join(name for name in free if name != per) or per} "
            "the same in all"
        )
    notes += _told_apart(free, per)
    expected = [_expected(report, part, number) for number, report in enumerate(reports, start=1)]
    points = [
        Point(tuple(column[row] for column in free.values()), each) for row, each in enumerate(expected)
    ]  # fmt: skip
    modelled = any(report.accelerator is not None and report.is_modelled(report.accelerator) for report in reports)
    return _result(fit(points), free, held, per, part, "modelled" if modelled else "measured", notes)


def _expected(report: Report, part: str, number: int) -> Expected:
    try:
        return expected_part(report, part)
    except NotResolved as error:
        raise NotResolved(
            f"run {number} of those given{f' ({report.label})' if report.label else ''} has no joules for the line: "
            f"{error} (or leave this run out)"
        ) from error


def _result(
    line: Line, free: Mapping[str, Sequence[float]], held: Mapping[str, float], per: str, part: str,
    method: Provenance, notes: Sequence[str],
) -> Marginal:  # fmt: skip
    slopes = {name: line.energy(index + 1, method) for index, name in enumerate(free)}
    return Marginal(
        per, part, slopes.pop(per), line.energy(0, method), line.runs, (min(free[per]), max(free[per])),
        line.residual_j, line.beyond_j, slopes, dict(held), tuple(notes),
    )  # fmt: skip


def _same_kind(reports: Sequence[Report], allow: Collection[str]) -> None:
    found = [each for later in reports[1:] for each in obstacles(reports[0], later) if each.kind not in allow]
    if found:
        words = dict.fromkeys(f"{each.what}: {each.effect}. Cure: {each.remedy}" for each in found)
        raise NotComparable("; ".join(words), tuple(dict.fromkeys(each.kind for each in found)))
    models = {(report.model.name, report.model.class_name, report.model.parameters) for report in reports}
    if len(models) > 1 and "model" not in allow:
        names = sorted({name or class_name or "unknown" for name, class_name, _ in models})
        raise NotComparable(
            f"the runs are of several models ({', '.join(names)}): a slope over them is no model's. "
            "Cure: runs of one model, or compare them two by two",
            ("model",),
        )


def _columns(reports: Sequence[Report], per: str, part: str) -> tuple[dict[str, list[float]], list[str]]:
    """Tokens a call of each count that a part's joules may depend on, run by run; and what a reader must know."""
    others = MATTERS.get(part, ("text_input", "output"))
    visual = () if per in VISUAL else ("visual_input",)
    found: dict[str, list[float]] = {}
    notes: list[str] = []
    for name in dict.fromkeys((per, *visual, *others)):
        column = [_a_call(report, name) for report in reports]
        known = [count for count in column if count is not None]
        if len(known) == len(column):
            found[name] = known
        elif name == per:
            raise NotResolved(
                f"{len(column) - len(known)} of {len(column)} runs do not know their {per} tokens. "
                f"Cure: m.tokens({per}=...)"
            )
        else:
            notes.append(f"{name} tokens are not known in all runs and not in the line: if they differ, slopes are off")
    cached = [_a_call(report, "cached_input") or 0.0 for report in reports]
    if any(cached) and part not in (PREPROCESS, VISION_ENCODE, PROJECTOR):
        notes.append(
            f"up to {max(cached):g} prompt tokens a call came from a prefix cache and cost no prefill: slopes are too "
            "low. Cure: a cache that is empty in each run"
        )
    return found, notes


def _moved_along(moved: Mapping[str, Sequence[float]], counts: Sequence[float]) -> list[str]:
    """What a reader must know of counts whose joules are in the slope of another."""
    span = max(counts, default=0.0) - min(counts, default=0.0)
    return [
        f"{name} moves along, by {(max(column) - min(column)) / span:.2g} a token: its joules are in the slope"
        for name, column in moved.items()
        if span and len(set(column)) > 1
    ]


def _a_call(report: Report, name: str) -> float | None:
    total: int | None = getattr(report.tokens, name)
    return None if total is None or not report.calls else total / len(report.calls)


def _told_apart(free: Mapping[str, Sequence[float]], per: str) -> list[str]:
    """A note where the counts nearly move together; NotResolved where they do and no line tells them apart."""
    notes: list[str] = []
    for name in free:
        worse = inflation(free, name)
        others = " and ".join(other for other in free if other != name)
        if worse > ONE_LINE:
            raise NotResolved(
                f"{name} moves in step with {others} over these runs, so the design cannot tell their joules apart. "
                f"Cure: vary {per} alone: the same prompt and length (min_new_tokens = max_new_tokens), other images"
            )
        if name == per and worse > NEARLY_ONE_LINE:
            notes.append(
                f"{per} nearly moves in step with {others}: its interval is {worse**0.5:.1f} times as wide as it would "
                "be if they did not"
            )
    return notes
