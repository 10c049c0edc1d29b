"""What is kept of a measured test: its metrics for the expected call, its counts, and what its joules are of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from wattvlm.comparison import Expected, Identity, Kind
from wattvlm.report import Report
from wattvlm.studies.comparable import identity_of
from wattvlm.studies.compare import compare


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of a test under its one name; expected is None where it is not known, and why says so."""

    kind: Kind
    unit: str
    expected: Expected | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """The metrics of one test. too_short: why its joules say nothing, or "". rounds: how many calls they are of."""

    identity: Identity
    metrics: Mapping[str, Metric] = field(default_factory=dict[str, Metric])
    too_short: str = ""

    @property
    def has_sensor(self) -> bool:
        """True where the accelerator's joules are measured; modelled ones are checked against nothing."""
        return self.identity.provenance.startswith("measured")


def summarise(report: Report, too_short: str = "") -> Summary:
    """The metrics that `compare` would hold against another run's, of one run."""
    metrics = {
        each.metric: Metric(
            each.kind, each.unit, each.before, each.why.removeprefix("before: ").partition("; after")[0]
        )
        for each in compare(report, report).differences
    }
    return Summary(identity_of(report), metrics, too_short)
