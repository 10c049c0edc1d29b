"""Joules of a prefill against the truth of simulated sessions: bias, RMS, coverage, by length, counter and calls.

    python -m benchmarks accuracy                   the record (long); SESSIONS=40 in the environment for a look

A session draws everything anew: powers of encode, prefill, decode, idle and gaps, the board's limit, the counter's
phase, tick jitter of up to 3 ms, random pauses, and a skew of up to 3 ms common to all marks. Powers vary from call to
call by 0, 3 and 10 %, one session after the other.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from math import sqrt
from multiprocessing import get_context
from statistics import median

from benchmarks.tables import show
from wattvlm.attribution import analyze
from wattvlm.recording import Recording
from wattvlm.report import PartEnergy
from wattvlm.testing import Script, ScriptedPhase, VirtualSensor, simulate
from wattvlm.trace import DECODE, PREFILL, VISION_ENCODE
from wattvlm.units import NS_PER_MS

SESSIONS = int(os.environ.get("SESSIONS", "200"))
PROCESSES = 2
PREFILLS_MS = (15, 45, 120, 400)
PERIODS_MS = (100, 20)
CALLS = (1, 5, 20, 100)
VARIATIONS = (0.0, 0.03, 0.1)
LARGEST_SKEW_NS = 3 * NS_PER_MS
LARGEST_JITTER_NS = 3 * NS_PER_MS
FAR_OFF = 3.0
"""An error beyond this many half-widths is confidently wrong."""

Cell = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One session's prefill: error and half-width over the truth, whether the interval holds it, how it was given."""

    variation: float
    error: float
    half_width: float
    covers: bool
    pooled: bool
    refused: bool


def session(prefill_ms: int, period_ms: int, calls: int, variation: float, seed: int) -> tuple[Recording, float]:
    """(a recording whose marks are off by a common skew, true mean joules of its prefills)."""
    chance = random.Random(f"{prefill_ms} {period_ms} {calls} {variation} {seed}")
    limit_w = chance.uniform(500.0, 800.0)
    powers = {
        VISION_ENCODE: chance.uniform(0.25, 0.7), PREFILL: chance.uniform(0.5, 0.99), DECODE: chance.uniform(0.2, 0.7),
    }  # fmt: skip
    lengths_ms = {VISION_ENCODE: chance.uniform(60.0, 180.0), PREFILL: prefill_ms, DECODE: chance.uniform(300.0, 700.0)}
    script = Script(
        phases=tuple(
            ScriptedPhase(name, round(lengths_ms[name] * NS_PER_MS), {"gpu": fraction * limit_w})
            for name, fraction in powers.items()
        ),
        calls=calls,
        idle_w={"gpu": chance.uniform(50.0, 90.0)},
        between_w={"gpu": chance.uniform(90.0, 140.0)},
        gap_ns=2 * NS_PER_MS,
        pause_ns=30 * NS_PER_MS,
        dither_ns=130 * NS_PER_MS,
        power_variation_fraction=variation,
    )
    sensor = VirtualSensor(
        "gpu-0/board", period_ns=period_ms * NS_PER_MS, phase_ns=chance.randrange(period_ms * NS_PER_MS),
        jitter_ns=LARGEST_JITTER_NS, latency_ns=150_000, max_power_w=limit_w, seed=chance.randrange(2**31),
    )  # fmt: skip
    played = simulate(script, [sensor], chance.randrange(2**31))
    skew_ns = chance.randint(-LARGEST_SKEW_NS, LARGEST_SKEW_NS)
    marks = tuple(replace(mark, time_ns=mark.time_ns + skew_ns) for mark in played.recording.marks)
    truth_j = sum(call[PREFILL] for call in played.truth_j["gpu"]) / calls
    return replace(played.recording, marks=marks), truth_j


def outcome(cell: Cell, seed: int) -> Outcome:
    """One session, metered and compared."""
    variation = VARIATIONS[seed % len(VARIATIONS)]
    recording, truth_j = session(*cell, variation, seed)
    found = analyze(recording).phase(PREFILL).energies["gpu"]
    low_j, high_j = _claim(found)
    energy = found.energy if found.stands_alone else None
    middle_j = (low_j + high_j) / 2 if energy is None else energy.middle_j
    return Outcome(
        variation,
        middle_j / truth_j - 1.0,
        max(high_j - middle_j, middle_j - low_j) / truth_j,
        low_j <= truth_j <= high_j,
        energy is not None and not energy.is_bounds,
        energy is None,
    )


def _claim(found: PartEnergy) -> tuple[float, float]:
    """What is said of the prefill alone: its interval, or where it is refused its bounds."""
    return found.energy.interval_j if found.stands_alone else found.bounds_j


def run() -> None:
    """All cells, and the sums over them."""
    cells = [(prefill, period, calls) for period in PERIODS_MS for prefill in PREFILLS_MS for calls in CALLS]
    rows: list[Sequence[str]] = []
    drawn: list[Outcome] = []
    bounds: list[Outcome] = []
    at_goal: list[Sequence[str]] = []
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        for cell in cells:
            found = list(pool.map(outcome, [cell] * SESSIONS, range(SESSIONS), chunksize=5))
            rows.append(_row(cell, found))
            print(" | ".join(rows[-1]), flush=True)
            drawn += [each for each in found if each.pooled]
            bounds += [each for each in found if not each.pooled]
            if cell[2] == 20:
                at_goal += [_by_variation(cell, found, variation) for variation in VARIATIONS]
    header = (
        "counter", "prefill", "calls", "bias %", "RMS %", "p95 %", "covered %", "half-width % (median)",
        "half-width / RMS", "refused %",
    )  # fmt: skip
    show("The joules of a prefill", header, rows, f"{SESSIONS} sessions a cell; refused ones count with their middle.")
    show("20 calls, by variation", ("counter", "prefill", "variation", "RMS %", "covered %"), at_goal)
    far = sum(1 for each in drawn if abs(each.error) > FAR_OFF * each.half_width)
    print(f"\npooled figures: {len(drawn)}, covered {_covered(drawn):.1f} %; off by more than three half-widths: {far}")
    print(f"figures as bounds: {len(bounds)}, covered {_covered(bounds):.1f} %")


def _row(cell: Cell, found: Sequence[Outcome]) -> tuple[str, ...]:
    prefill_ms, period_ms, calls = cell
    errors = sorted(abs(each.error) for each in found)
    rms, half_width = _rms(found), median(each.half_width for each in found)
    numbers = (
        f"{100 * sum(each.error for each in found) / len(found):+.2f}", f"{100 * rms:.2f}",
        f"{100 * errors[int(0.95 * len(errors))]:.2f}", f"{_covered(found):.1f}", f"{100 * half_width:.2f}",
        f"{half_width / rms:.1f}", f"{100 * sum(each.refused for each in found) / len(found):.0f}",
    )  # fmt: skip
    return (f"{period_ms} ms", f"{prefill_ms} ms", str(calls), *numbers)


def _by_variation(cell: Cell, found: Sequence[Outcome], variation: float) -> tuple[str, ...]:
    own = [each for each in found if each.variation == variation]
    return f"{cell[1]} ms", f"{cell[0]} ms", f"{variation:.0%}", f"{100 * _rms(own):.2f}", f"{_covered(own):.1f}"


def _rms(found: Sequence[Outcome]) -> float:
    return sqrt(sum(each.error**2 for each in found) / len(found))


def _covered(found: Sequence[Outcome]) -> float:
    return 100 * sum(each.covers for each in found) / max(len(found), 1)


if __name__ == "__main__":
    run()
