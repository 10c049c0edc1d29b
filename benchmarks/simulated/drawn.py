"""One session of a cell, everything in it drawn anew: powers, idle, limit, gain, pauses, ticks, skew."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.simulated.cells import DRIFT_FRACTION, RISES_NS, SENSORS, VARIATIONS, Cell
from wattvlm.recording import Recording
from wattvlm.testing import Script, ScriptedPhase, VirtualSensor, simulate
from wattvlm.trace import DECODE, PREFILL, VISION_ENCODE, Mark
from wattvlm.units import NS_PER_MS

LARGEST_SKEW_NS = 3 * NS_PER_MS
GAIN_STD_FRACTION = 0.045
"""What the NVML probe states of a board that was not calibrated."""

GAIN_RATIO_STD, OFFSET_STD_W = 0.02, 2.0
"""By how much a power field differs from the counter of its board, one sigma."""

SURELY_WITHIN = 3.5
"""The drawn mean power leaves this many sigmas of variation below the limit, which no phase may pass."""

NEAR_THE_LIMIT = 690.0, 700.0


@dataclass(frozen=True, slots=True)
class Session:
    """A recording whose Channel hides its period and window, and the truth.

    truth_j: mean joules of its prefills as an ideal meter counts them; where power follows its work late, those that
    its work causes. between_marks_j: those between its marks. gain: what the sensor shows for each of them.
    """

    recording: Recording
    truth_j: float
    between_marks_j: float
    gain: float
    limit_w: float
    variation: float


def session(cell: Cell, seed: int) -> Session:
    """The session of a cell and a seed: the same one each time, another one for each other seed."""
    counter, power = SENSORS[cell.sensor].pair or (cell.sensor, "")
    cell = replace(cell, sensor=counter)
    chance = random.Random(f"{cell.key} {seed}")
    variation = 0.0 if cell.hardship == "limit" else VARIATIONS[seed % len(VARIATIONS)]
    limit_w = NEAR_THE_LIMIT[1] if cell.hardship == "limit" else chance.uniform(500.0, 800.0)
    gain = max(chance.gauss(1.0, GAIN_STD_FRACTION), 0.5)
    sensor = VirtualSensor(
        "gpu-0/board", **{**SENSORS[cell.sensor].behaviour, "phase_ns": chance.randrange(100 * NS_PER_MS)},
        gain=gain, max_power_w=limit_w, gain_std_fraction=GAIN_STD_FRACTION, seed=chance.randrange(2**31),
        noise_w=1.0 if cell.hardship == "noise" else 0.0,
    )  # fmt: skip
    script = _script(cell, chance, limit_w, gain, variation)
    sensors = [sensor, *([_beside(sensor, power, seed)] if power else [])]
    played = simulate(script, sensors, chance.randrange(2**31))
    marks = _moved(played.recording.marks, cell, chance)
    hidden = tuple(replace(each.channel, update_period_ns=None, window_ns=None) for each in sensors)
    truth_j, between_marks_j = (
        sum(call[PREFILL] for call in of_calls["gpu"]) / cell.calls for of_calls in (played.caused_j, played.truth_j)
    )
    recording = replace(played.recording, channels=hidden, marks=marks)
    return Session(recording, truth_j, between_marks_j, gain, limit_w, variation)


def _beside(counter: VirtualSensor, power: str, seed: int) -> VirtualSensor:
    """A power field of the counter's board, with ticks of its own."""
    chance = random.Random(f"{power} beside {counter.seed} {seed}")
    return VirtualSensor(
        "gpu-0/power", **{**SENSORS[power].behaviour, "phase_ns": chance.randrange(100 * NS_PER_MS)},
        gain=counter.gain * (1.0 + chance.gauss(0.0, GAIN_RATIO_STD)), offset_w=chance.gauss(0.0, OFFSET_STD_W),
        max_power_w=counter.max_power_w, gain_std_fraction=GAIN_STD_FRACTION, seed=chance.randrange(2**31),
        contained_in=counter.name, noise_w=counter.noise_w,
    )  # fmt: skip


def _script(cell: Cell, chance: random.Random, limit_w: float, gain: float, variation: float) -> Script:
    """Powers are drawn as the board's own sensor shows them, since that is what holds the board at its limit."""
    encode, prefill, decode = chance.uniform(0.25, 0.7), chance.uniform(0.5, 0.99), chance.uniform(0.2, 0.7)
    drift = DRIFT_FRACTION if cell.hardship == "slopes" else 0.0
    most = 0.99 / (1.0 + SURELY_WITHIN * variation) / (1.0 + drift / 2)
    shown_w = {
        VISION_ENCODE: encode * limit_w,
        PREFILL: NEAR_THE_LIMIT[0] if cell.hardship == "limit" else min(prefill, most) * limit_w,
        DECODE: decode * limit_w,
    }
    lengths_ms = {
        VISION_ENCODE: chance.uniform(60.0, 180.0),
        PREFILL: cell.prefill_ms,
        DECODE: chance.uniform(300, 700),
    }
    return Script(
        phases=tuple(
            ScriptedPhase(
                name,
                round(lengths_ms[name] * NS_PER_MS),
                {"gpu": power_w / gain},
                drift * chance.choice((-1.0, 1.0)) if drift else 0.0,
            )
            for name, power_w in shown_w.items()
        ),
        calls=cell.calls,
        idle_w={"gpu": chance.uniform(50.0, 90.0) / gain},
        between_w={"gpu": chance.uniform(90.0, 140.0) / gain},
        gap_ns=2 * NS_PER_MS,
        pause_ns=30 * NS_PER_MS,
        dither_ns=130 * NS_PER_MS,
        power_variation_fraction=variation,
        rise_ns=RISES_NS.get(cell.hardship, 0),
        fall_ns=RISES_NS.get(cell.hardship, 0) // 2,
    )


def _moved(marks: Sequence[Mark], cell: Cell, chance: random.Random) -> tuple[Mark, ...]:
    """The marks off by one skew, or each boundary on its own (and still in their order)."""
    if cell.hardship != "marks":
        skew_ns = chance.randint(-LARGEST_SKEW_NS, LARGEST_SKEW_NS)
        return tuple(replace(mark, time_ns=mark.time_ns + skew_ns) for mark in marks)
    latest_ns = 0
    moved: list[Mark] = []
    for mark in marks:
        if mark.kind in ("phase_start", "phase_end"):
            off_ns = chance.randint(-LARGEST_SKEW_NS, LARGEST_SKEW_NS)
            mark = replace(mark, time_ns=mark.time_ns + off_ns)
        latest_ns = max(latest_ns, mark.time_ns)
        moved.append(replace(mark, time_ns=latest_ns))
    return tuple(moved)
