"""The cells of the accuracy table: a sensor, a prefill's length, a number of calls, and what is made hard for it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Literal

from wattvlm.units import NS_PER_MS, NS_PER_S, NS_PER_US

PREFILLS_MS = (10, 15, 45, 120, 400, 2000)
CALLS = (1, 5, 20, 100)
FEW_CALLS = 3
"""Fewer calls than are pooled, of which bounds are given."""

VARIATIONS = (0.0, 0.03, 0.1)
"""One sigma of power from call to call, one session after the other."""

Hardship = Literal["", "marks", "limit", "noise", "slopes", "ramps-2ms", "ramps-5ms"]
HARDSHIPS: dict[Hardship, str] = {
    "": "",
    "marks": "each boundary off by up to 3 ms on its own, unstated",
    "limit": "a prefill at 690 W of 700",
    "noise": "1 W of noise in each reading",
    "slopes": "power rises or falls by 15 % inside each phase",
    "ramps-2ms": "power rises with a time constant of 2 ms and falls with 1 ms",
    "ramps-5ms": "power rises with a time constant of 5 ms and falls with 2.5 ms",
}
"""What one kind of cell has beside the common conditions, in words."""

DRIFT_FRACTION = 0.15
"""By how much power rises or falls from the start of a phase to its end, where it does."""

RISES_NS: dict[Hardship, int] = {"ramps-2ms": 2 * NS_PER_MS, "ramps-5ms": 5 * NS_PER_MS}
"""Time constants of power that follows its work late; it falls in half of the time."""


@dataclass(frozen=True, slots=True)
class Sensor:
    """A virtual sensor as it is; the engine is told its kind, resolution and largest power, and not the rest.

    pair: the names of a counter and of the power field beside it, where it is not one sensor but these two.
    """

    words: str
    behaviour: dict[str, Any] = field(hash=False)
    is_counter: bool = True
    pair: tuple[str, str] | None = None


_TICKS = {"period_ns": 100 * NS_PER_MS, "jitter_ns": 3 * NS_PER_MS, "latency_ns": 150 * NS_PER_US}

SENSORS = {
    "counter-100ms": Sensor("counter, 100 ms", {"method": "counter", "resolution": 0.001, **_TICKS}),
    "counter-20ms": Sensor(
        "counter, 20 ms", {"method": "counter", "resolution": 0.001, **_TICKS, "period_ns": 20 * NS_PER_MS}
    ),
    "counter-1ms": Sensor(
        "counter, 1 ms, read at 100 Hz",
        {
            "method": "counter",
            "resolution": 15.3e-6,
            "period_ns": NS_PER_MS,
            "jitter_ns": 50 * NS_PER_US,
            "latency_ns": 100 * NS_PER_US,
        },
    ),
    "mean-1s": Sensor(
        "1 s mean each 100 ms", {"method": "power", "resolution": 0.001, "window_ns": NS_PER_S, **_TICKS}, False
    ),
    "part-25ms": Sensor(
        "25 of each 100 ms",
        {"method": "power", "resolution": 0.001, "window_ns": 25 * NS_PER_MS, **_TICKS},
        False,
    ),
}

SENSORS |= {
    f"{counter}+{power}": Sensor(
        f"{SENSORS[counter].words}, and {SENSORS[power].words}", SENSORS[counter].behaviour, pair=(counter, power)
    )
    for counter in ("counter-100ms", "counter-20ms")
    for power in ("part-25ms", "mean-1s")
}
"""Sessions of a pair are those of its counter, with a power field beside it whose gain and offset differ a little."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One row of the table."""

    sensor: str
    prefill_ms: int
    calls: int
    hardship: Hardship = ""

    @property
    def key(self) -> str:
        """A name for files and for seeds."""
        return f"{self.sensor} {self.prefill_ms}ms n{self.calls} {self.hardship}".rstrip()


FEW_PREFILLS_MS = (15, 45, 120, 400)
FEW_HARDSHIPS: tuple[Hardship, ...] = ("marks", "slopes", "ramps-2ms")
"""What one call and a few on counters are tried with."""


def all_cells() -> list[Cell]:
    """Every cell, the common conditions first."""
    single = [name for name, own in SENSORS.items() if own.pair is None]
    cells = [Cell(sensor, prefill_ms, calls) for sensor in single for calls in CALLS for prefill_ms in PREFILLS_MS]
    cells += [Cell(sensor, ms, calls, "limit") for sensor in single for ms in (15, 45, 120) for calls in (1, 20)]
    cells += [Cell(sensor, ms, 20, "marks") for sensor in single for ms in (15, 45, 120)]
    cells += [Cell(name, 45, 20, hardship) for hardship in RISES_NS for name in single if SENSORS[name].is_counter]
    pairs = [name for name in SENSORS if name not in single]
    cells += [Cell(pair, ms, 1) for pair in pairs for ms in PREFILLS_MS]
    cells += [Cell(pair, ms, 1, "limit") for pair in pairs for ms in (15, 45, 120)]
    pooled = [pair for pair in pairs if pair.endswith("part-25ms")]
    cells += [Cell(pair, ms, calls) for pair in pooled for ms in (15, 45, 120) for calls in (5, 20)]
    cells += [Cell(pair, 45, 20, hardship) for pair in pooled for hardship in ("marks", *RISES_NS)]
    counters = [name for name, own in SENSORS.items() if own.is_counter]
    cells += [Cell(name, ms, FEW_CALLS) for name in counters for ms in FEW_PREFILLS_MS]
    cells += [
        Cell(name, ms, calls, hardship)
        for hardship in FEW_HARDSHIPS
        for name in counters
        for ms in FEW_PREFILLS_MS
        for calls in (1, FEW_CALLS)
    ]
    cells += [
        Cell(name, ms, calls, "noise")
        for name, sensor in SENSORS.items()
        if not sensor.is_counter
        for ms in (45, 120)
        for calls in (1, 20)
    ]
    return cells


NAMED_BY_A_GOAL = frozenset({
    Cell("counter-100ms", 15, 20), Cell("counter-100ms", 45, 20), Cell("mean-1s", 45, 1),
})  # fmt: skip
"""Cells whose RMS error has a goal of its own."""

_DOCS_SESSIONS = {1: 100, FEW_CALLS: 60, 5: 60, 20: 100, 100: 24}
_DOCS_SESSIONS_OF_POWERS = {1: 150, FEW_CALLS: 60, 5: 12, 20: 16, 100: 4}
"""Pooling over powers takes seconds a session, over counters a tenth of a second."""


def docs_sessions(cell: Cell, most: int) -> int:
    """How many sessions of a cell the docs' table has: all where a goal names the cell, else fewer of longer ones."""
    if cell in NAMED_BY_A_GOAL:
        return most
    if SENSORS[cell.sensor].is_counter:
        return min(_DOCS_SESSIONS[cell.calls], most)
    if (cell.calls > 1 and cell.prefill_ms in (10, 2000)) or (cell.calls == 100 and cell.prefill_ms != 45):
        return 0
    return min(8 if cell.hardship and cell.calls > 1 else _DOCS_SESSIONS_OF_POWERS[cell.calls], most)


def chosen(
    sensors: Collection[str], prefills_ms: Collection[int], calls: Collection[int], hardships: Collection[str]
) -> list[Cell]:
    """The cells that pass all filters; an empty filter lets everything pass ("none" = the common conditions)."""
    return [
        cell
        for cell in all_cells()
        if (not sensors or cell.sensor in sensors)
        and (not prefills_ms or cell.prefill_ms in prefills_ms)
        and (not calls or cell.calls in calls)
        and (not hardships or (cell.hardship or "none") in hardships)
    ]
