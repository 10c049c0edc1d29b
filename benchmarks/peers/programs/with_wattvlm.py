"""wattvlm: a meter around each session, its phases marked by hand. Recordings are kept, to be analyzed again."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import wattvlm
from benchmarks.peers.programs.work import play


class Wattvlm:
    told: dict[str, Any]

    def __init__(self, recordings: Path) -> None:
        self._recordings = recordings
        self._meter = wattvlm.meter()
        self._phase: AbstractContextManager[None] | None = None

    def open(self) -> None:
        self._meter = wattvlm.meter()
        self._meter.__enter__()

    def begin(self, name: str) -> None:
        self._phase = self._meter.phase(name)
        self._phase.__enter__()

    def end(self, name: str) -> None:
        assert self._phase is not None
        self._phase.__exit__(None, None, None)

    def close(self) -> dict[str, Any]:
        self._meter.__exit__(None, None, None)
        kept = self._recordings / f"{self.told['seed']}.json.gz"
        self._recordings.mkdir(parents=True, exist_ok=True)
        self._meter.recording.save(kept)
        self.told["recording"] = str(kept)
        return said_of(self._meter.report)


def said_of(report: Any) -> dict[str, Any]:
    """What a report says of each phase (pooled), and of each phase of each call: joules, low, high, whether refused."""
    return {
        "pooled": {part.name: _figure(part) for part in report.phases},
        "each": [{part.name: _figure(part) for part in call.phases} for call in report.calls],
        "notes": [*report.notes, *(absence.what for absence in report.absent)],
    }


def _figure(part: Any) -> list[float | bool] | None:
    found = part.energies.get("gpu")
    if found is None:
        return None
    if found.stands_alone:
        return [found.energy.middle_j, *found.energy.interval_j, False]
    return [sum(found.bounds_j) / 2, *found.bounds_j, True]


if __name__ == "__main__":
    play(Wattvlm(Path(sys.argv[3])))
