"""What all meters are given alike: sessions of calls drawn from seeds, on a virtual GPU with a stated sensor."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from wattvlm.trace import DECODE, PREFILL, VISION_ENCODE
from wattvlm.units import NS_PER_MS, NS_PER_US

LIMIT_W = 700.0
BETWEEN_W = 110.0
IDLE_W = 70.0
VARIATION = 0.03
REST_NS = 1500 * NS_PER_MS
"""Before each session, so that a mean over 1 s shows the calls of one session at a time."""

CALL_LATENCY_NS = 150 * NS_PER_US
"""What one NVML call takes: 0.15-0.4 ms was reported of real boards."""


@dataclass(frozen=True, slots=True)
class Sensor:
    """What the virtual GPU can be asked: words for a row, and settings of a VirtualGpu."""

    words: str
    settings: dict[str, Any] = field(hash=False)


_NO_COUNTER = {"has_counter": False, "has_fields": False, "power_noise_w": 0.05}
"""Readings of boards change at each update, even at idle; these by at most so much."""

SENSORS = {
    "counter-100ms": Sensor(
        "counter, 100 ms", {"counter_period_ns": 100 * NS_PER_MS, "counter_jitter_ns": 2 * NS_PER_MS}
    ),
    "counter-20ms": Sensor("counter, 20 ms", {"counter_period_ns": 20 * NS_PER_MS, "counter_jitter_ns": NS_PER_MS}),
    "mean-1s": Sensor("no counter, 1 s mean each 100 ms", {**_NO_COUNTER}),
    "part-25ms": Sensor("no counter, 25 of each 100 ms", {**_NO_COUNTER, "usage": "instant"}),
}


def sessions(prefill_ms: int, calls: int, count: int, first_seed: int = 0) -> list[dict[str, Any]]:
    """Sessions of so many calls each: powers anew in each session, and by 3 % in each call; pauses of 30 to 130 ms."""
    return [_session(prefill_ms, calls, seed) for seed in range(first_seed, first_seed + count)]


def _session(prefill_ms: int, calls: int, seed: int) -> dict[str, Any]:
    chance = random.Random(f"{prefill_ms} {calls} {seed}")
    powers_w = {
        VISION_ENCODE: chance.uniform(0.25, 0.7) * LIMIT_W,
        PREFILL: chance.uniform(0.5, 0.9) * LIMIT_W,
        DECODE: chance.uniform(0.25, 0.7) * LIMIT_W,
    }
    lengths_ms = {VISION_ENCODE: min(prefill_ms, 120), PREFILL: prefill_ms, DECODE: min(prefill_ms, 400)}
    return {
        "seed": f"n{calls}-{seed}",
        "rest_ns": REST_NS,
        "calls": [
            {
                "pause_ns": round(chance.uniform(30.0, 130.0) * NS_PER_MS),
                "phases": [
                    (name, lengths_ms[name] * NS_PER_MS, min(chance.gauss(1.0, VARIATION) * power_w, LIMIT_W))
                    for name, power_w in powers_w.items()
                ],
            }
            for _ in range(calls)
        ],
    }
