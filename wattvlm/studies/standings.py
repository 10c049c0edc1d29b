"""`standings`: several runs side by side, each with its metrics for the expected call, and its score."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from wattvlm.comparison import Expected, Identity, Score, Standing, Standings
from wattvlm.errors import NotResolved
from wattvlm.report import Report
from wattvlm.studies.comparable import identity_of, obstacles_between
from wattvlm.studies.compare import TIMES, notes_on_counts, per_request, refuse, seconds
from wattvlm.studies.expected import expected_of, expected_ratio

RATIOS = {
    "request": "joules_per_request",
    "image": "joules_per_image",
    "visual_token": "joules_per_visual_token",
    "output_token": "joules_per_output_token",
}


def standings(
    reports: Mapping[str, Report], *, scores: Mapping[str, Score] | None = None, allow: Collection[str] = ()
) -> Standings:
    """Runs by name, side by side. allow: kinds of obstacles between any two of them to pass over, as in `compare`.

    NotComparable where there are others. Runs whose joules are of another provenance than the first one's have no
    joules here, also where that is allowed. scores: by the name of the run.
    """
    identities = {name: identity_of(report) for name, report in reports.items()}
    first, *others = identities.values()
    found = tuple(dict.fromkeys(each for other in others for each in obstacles_between(first, other)))
    refuse(found, allow)
    runs = tuple(
        _standing(name, report, identities[name], first, (scores or {}).get(name)) for name, report in reports.items()
    )
    return Standings(runs, found, notes_on_counts(list(reports.values())))


def _standing(name: str, report: Report, identity: Identity, first: Identity, score: Score | None) -> Standing:
    calls, model = len(report.calls), report.model
    metrics = _times(report)
    if identity.provenance == first.provenance:
        metrics |= _joules(report)
    return Standing(
        name, identity, calls, model.parameters, model.active_parameters,
        per_request(report, "visual_input"), per_request(report, "output"), metrics, score,
    )  # fmt: skip


def _joules(report: Report) -> dict[str, Expected]:
    found: dict[str, Expected] = {}
    for what, metric in RATIOS.items():
        try:
            found[metric] = expected_ratio(report, what)
        except NotResolved:
            continue
    return found


def _times(report: Report) -> dict[str, Expected]:
    known = ((metric, expected_of(seconds(report, name))) for metric, name in TIMES.items())
    return {metric: each for metric, each in known if each is not None}
