"""Real recordings of GPU sensors beside an external power meter: what the engine says, and what was true.

    python -m benchmarks recordings                 reads the recordings from ../shared/data/gpu_meter
    RECORDINGS=/another/folder python -m benchmarks recordings

Each recording is three files: NAME_nvsmi.csv.gz (t_ms, power fields as polled), NAME_truth.csv.gz (t_ms, board power by
an external meter of some kHz) and NAME_edges.json (when the load switched between high and low, by the host's clock).
Cycles of high and low become calls with two phases, and the polled field a Recording whose window is not known. The
board's published gain and offset are taken out of the readings first, as a calibration record would do. The engine was
developed with the first three of these files in view; only other recordings are an independent check. The
meter's clock is good to some 3 ms only, so that a second truth is
given, with the meter moved so that its edges lie on the host's.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.tables import show
from wattvlm.attribution import analyze
from wattvlm.attribution.identify import SensorIdentity, identify
from wattvlm.recording import Readings, Recording
from wattvlm.report import PartEnergy
from wattvlm.sensing import Channel
from wattvlm.trace import Mark
from wattvlm.units import NS_PER_MS, NS_PER_S

FOLDER = Path(os.environ.get("RECORDINGS", Path(__file__).parents[2] / "shared/data/gpu_meter"))
NAME = "gpu-0/power"
HIGH, LOW = "high", "low"
NAMES = HIGH, LOW

Floats = NDArray[np.float64]
Times = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Board:
    """Published errors of a kind of board's sensor: reading = gain x power + offset [arXiv 2312.02741].

    gain_std_fraction: how far boards of this kind are from it. max_power_w: what the board cannot pass.
    """

    gain: float
    offset_w: float
    gain_std_fraction: float
    max_power_w: float


BOARDS = {"A100": Board(0.954, -1.18, 0.0145, 300.0), "3090": Board(0.948, 1.4, 0.0145, 525.0)}
"""The spread of the gain is the published one of the A100's energy error (-5.78 +- 1.45 %). The largest power is what
the maker states: 300 W for an A100 PCIe; 1.5 times 350 W for a 3090, whose power passes its limit for milliseconds."""


@dataclass(frozen=True, slots=True)
class Vector:
    """One recording. edges_ns: of the load, the first one to the high level where first_high. meter: ns and watts."""

    name: str
    readings: Readings
    edges_ns: Times
    first_high: bool
    meter_ns: Times
    meter_w: Floats

    @property
    def board(self) -> Board:
        return BOARDS[self.name.split("_")[0]]

    @property
    def calibrated(self) -> Readings:
        """The readings with the board's published gain and offset taken out."""
        own = self.readings
        value = (own.value - self.board.offset_w) / self.board.gain
        return Readings(own.channel, own.time_ns, own.unchanged_at_ns, own.took_ns, value)

    def energy_j(self, start_ns: float, end_ns: float, moved_ns: float = 0.0) -> float:
        """What the meter says, its clock moved by some ns."""
        time_s = (self.meter_ns + moved_ns) / NS_PER_S
        summed_j = np.concatenate([[0.0], np.cumsum(np.diff(time_s) * (self.meter_w[1:] + self.meter_w[:-1]) / 2)])
        ends_j = np.interp([start_ns / NS_PER_S, end_ns / NS_PER_S], time_s, summed_j)
        return float(ends_j[1] - ends_j[0])


def vector(name: str, folder: Path = FOLDER, column: str = "power.draw.instant") -> Vector:
    """One recording of the folder; FileNotFoundError where it is not there."""
    edges = json.loads((folder / f"{name}_edges.json").read_text())
    polled, meter = _table(folder / f"{name}_nvsmi.csv.gz"), _table(folder / f"{name}_truth.csv.gz")
    time_ns = _ns(polled["t_ms"])
    readings = Readings(NAME, time_ns, time_ns, np.zeros_like(time_ns), polled[column])
    return Vector(
        name, readings, _ns(np.array(edges["edges_ms"])), edges["first_interval"] == HIGH, _ns(meter["t_ms"]),
        meter["board_power_w"],
    )  # fmt: skip


def _table(path: Path) -> Mapping[str, Floats]:
    with gzip.open(path, "rt", newline="") as lines:
        header, *rows = list(csv.reader(lines))
    columns = np.array(rows, dtype=np.float64)
    return {name: columns[:, index] for index, name in enumerate(header)}


def _ns(time_ms: Floats) -> Times:
    """Times on a clock that begins at 1,000 s, so that none is negative."""
    return np.rint(time_ms * NS_PER_MS).astype(np.int64) + 1_000 * NS_PER_S


def cycles_of(own: Vector) -> list[tuple[int, int, int]]:
    """(start, middle, end) of each cycle of high and low that the meter and the readings saw to its end."""
    first = 0 if own.first_high else 1
    edges = own.edges_ns[first:]
    last_ns = min(int(own.meter_ns[-1]), int(own.readings.time_ns[-1])) - 10 * NS_PER_MS
    whole = zip(edges[::2], edges[1::2], edges[2::2])
    return [(int(start), int(middle), int(end)) for start, middle, end in whole if end < last_ns]


def recording_of(own: Vector) -> Recording:
    """A Recording whose calls are the load's cycles, each with a high and a low phase; its window is not known."""
    cycles = cycles_of(own)
    marks = [Mark(cycles[0][0], "block_start", 1)]
    for call, (start_ns, middle_ns, end_ns) in enumerate(cycles, start=1):
        marks += [
            Mark(start_ns, "call_start", call, "recorded"),
            Mark(start_ns, "phase_start", call, HIGH), Mark(middle_ns, "phase_end", call, HIGH),
            Mark(middle_ns, "phase_start", call, LOW), Mark(end_ns, "phase_end", call, LOW),
            Mark(end_ns, "call_end", call, text="returned"),
        ]  # fmt: skip
    marks.append(Mark(cycles[-1][2], "block_end", 1))
    channel = Channel(
        NAME, "NVML instant power", own.name.split("_")[0], "gpu", "power", resolution_w=0.01,
        max_power_w=own.board.max_power_w, gain_std_fraction=own.board.gain_std_fraction,
    )  # fmt: skip
    readings = own.calibrated
    return Recording(
        int(readings.time_ns[0]), int(readings.time_ns[-1]), (channel,), {NAME: readings}, marks=tuple(marks)
    )


def truth_j(own: Vector, moved_ns: float = 0.0) -> dict[str, float]:
    """Mean joules of the phases of all cycles, and of the cycle, by the meter moved by some ns."""
    cycles = cycles_of(own)
    high = [own.energy_j(start, middle, moved_ns) for start, middle, _ in cycles]
    low = [own.energy_j(middle, end, moved_ns) for _, middle, end in cycles]
    return {HIGH: float(np.mean(high)), LOW: float(np.mean(low)), "call": float(np.mean(high) + np.mean(low))}


def meter_late_ns(own: Vector) -> float:
    """By how much the meter's edges of power lie before the host's (to be added to its clock): the largest swing."""
    moves_ns = [quarter * NS_PER_MS / 4 for quarter in range(-32, 33)]

    def swing_j(moved_ns: float) -> float:
        found = truth_j(own, moved_ns)
        return found[HIGH] - found[LOW]

    return float(max(moves_ns, key=swing_j))


def identity_of(own: Vector, *, with_meter: bool = False) -> SensorIdentity:
    """What kind of sensor the readings show."""
    edges_ns = own.edges_ns if own.first_high else own.edges_ns[1:]
    return identify(own.readings, edges_ns, meter=(own.meter_ns, own.meter_w) if with_meter else None)


def run() -> None:
    """The recordings that are there: sensors identified, phases and totals against the meter."""
    names = sorted(path.name.removesuffix("_edges.json") for path in FOLDER.glob("*_edges.json"))
    names = [name for name in names if name.split("_")[0] in BOARDS]
    if not names:
        print(f"\nrecordings: skipped, since {FOLDER} holds none (give a folder by RECORDINGS=...)")
        return
    vectors = [vector(name) for name in names]
    rows = [row for own in vectors for row in _identity_rows(own)]
    header = (
        "recording",
        "found by",
        "period, ms",
        "response",
        "window, ms",
        "lag, ms",
        "left over, %",
        "gain",
        "reason",
    )
    show("Sensors identified", header, rows)
    rows = [row for own in vectors if len(own.edges_ns) > 8 for row in _energy_rows(own)]
    joules_header = (
        "recording",
        "part",
        "true J (re-aligned)",
        "found J",
        "95 % J",
        "with the gain's spread",
        "error % (re-aligned)",
        "given as",
    )
    show("Joules of a high, of a low, and of all, after the published gain and offset", joules_header, rows)


def _identity_rows(own: Vector) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for with_meter in (False, True):
        found = identity_of(own, with_meter=with_meter)
        rows.append((
            own.name, "the load and the meter" if with_meter else "the load's edges",
            "-" if found.update_period_ns is None else f"{found.update_period_ns / NS_PER_MS:.2f}", found.response,
            _range_ms(found.window_ns), _range_ms(found.lag_ns),
            "-" if found.residual_fraction is None else f"{100 * found.residual_fraction:.1f}",
            "-" if found.gain is None else f"{found.gain:.3f}", found.reason,
        ))  # fmt: skip
    return rows


def _range_ms(ends_ns: tuple[int, int] | None) -> str:
    return "-" if ends_ns is None else f"{ends_ns[0] / NS_PER_MS:.1f} to {ends_ns[1] / NS_PER_MS:.1f}"


def _energy_rows(own: Vector) -> list[tuple[str, ...]]:
    report = analyze(recording_of(own))
    plain, moved = truth_j(own), truth_j(own, meter_late_ns(own))
    rows = [_energy_row(own.name, name, report.phase(name).energies["gpu"], plain[name], moved[name]) for name in NAMES]
    cycles = cycles_of(own)
    true_j, moved_j = (own.energy_j(cycles[0][0], cycles[-1][2], ns) for ns in (0.0, meter_late_ns(own)))
    return [*rows, _energy_row(own.name, "all cycles", report.block.energies["gpu"], true_j, moved_j)]


def _energy_row(recording: str, name: str, found: PartEnergy, true_j: float, moved_j: float) -> tuple[str, ...]:
    true = f"{true_j:.2f} ({moved_j:.2f})"
    if not found.stands_alone:
        low_j, high_j = found.bounds_j
        return recording, name, true, "-", f"{low_j:.2f} to {high_j:.2f}", "-", "-", "refused"
    energy = found.energy
    middle_j = energy.middle_j
    errors = f"{100 * (middle_j / true_j - 1):+.1f} ({100 * (middle_j / moved_j - 1):+.1f})"
    interval = f"{energy.interval_j[0]:.2f} to {energy.interval_j[1]:.2f}"
    absolute = f"{energy.absolute_interval_j[0]:.2f} to {energy.absolute_interval_j[1]:.2f}"
    return (
        recording,
        name,
        true,
        f"{middle_j:.2f}",
        interval,
        absolute,
        errors,
        "bounds" if energy.is_bounds else "pooled",
    )


if __name__ == "__main__":
    run()
