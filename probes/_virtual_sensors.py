"""Formulas of virtual sensors: a power curve of steps, and what a stated sensor would show of it at any time.

Pure and exact: the same sensor shows the same at the same time in every process, since its jitter, noise and failures
are drawn from its seed and the number of the tick, not from a state.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import exp, floor
from typing import Protocol

from wattvlm.sensing import Absence, Channel, Domain, Method
from wattvlm.units import NS_PER_S

_FILTER_STEPS = 200
_FILTER_LENGTHS = 10.0
"""A first-order sensor forgets all but exp(-10) = 0.005 % of what was this many time constants ago."""


class Load(Protocol):
    """True power over time: monotonic ns to watts and joules."""

    def power_w(self, time_ns: int) -> float: ...

    def energy_j(self, start_ns: int, end_ns: int) -> float: ...


class PowerSteps:
    """Power that changes in steps, with its exact integral. before_w: the power before the first step."""

    def __init__(self, steps: Iterable[tuple[int, float]] = (), before_w: float = 0.0) -> None:
        self.before_w = before_w
        self._times_ns: list[int] = []
        self._powers_w: list[float] = []
        self._summed_j: list[float] = []
        for time_ns, power_w in steps:
            self.append(time_ns, power_w)

    def append(self, time_ns: int, power_w: float) -> None:
        """From `time_ns` on the power is `power_w` watts; ValueError for a time before the last step."""
        if self._times_ns and time_ns < self._times_ns[-1]:
            raise ValueError(f"a step at {time_ns} ns comes after one at {self._times_ns[-1]} ns")
        summed_j = self._since_first_j(time_ns) if self._times_ns else 0.0
        self._times_ns.append(time_ns)
        self._powers_w.append(power_w)
        self._summed_j.append(summed_j)

    @property
    def steps(self) -> tuple[tuple[int, float], ...]:
        """(time in ns, watts from then on) of each step."""
        return tuple(zip(self._times_ns, self._powers_w))

    def power_w(self, time_ns: int) -> float:
        """Watts at a time."""
        index = bisect_right(self._times_ns, time_ns) - 1
        return self._powers_w[index] if index >= 0 else self.before_w

    def energy_j(self, start_ns: int, end_ns: int) -> float:
        """Exact joules between two times."""
        return self._since_first_j(end_ns) - self._since_first_j(start_ns)

    def _since_first_j(self, time_ns: int) -> float:
        index = bisect_right(self._times_ns, time_ns) - 1
        if index < 0:
            first_ns = self._times_ns[0] if self._times_ns else 0
            return self.before_w * (time_ns - first_ns) / NS_PER_S
        return self._summed_j[index] + self._powers_w[index] * (time_ns - self._times_ns[index]) / NS_PER_S


@dataclass(frozen=True, slots=True)
class VirtualSensor:
    """One virtual channel, what it is said to be, and how it really behaves.

    name, domain, method, device, sensor, contained_in, max_power_w, gain_std_fraction: as in Channel.
    period_ns, phase_ns, jitter_ns: ticks at phase + k period, each moved by up to +- jitter (under half a period).
    window_ns: a power is the mean over this time before its tick; 0 is the power at the tick. rise_ns: time constant
        of a first-order sensor (Kepler, Maxwell), in place of the window.
    gain, offset_w, noise_w: shown = gain x true + offset + noise (noise is one sigma, powers only).
    resolution: joules of a counter, watts of a power; values are rounded down to it. latency_ns: how long a read takes.
    stamped: powers carry the time of their tick, as NVML's samples do, not the time of the read.
    counts_from_ns: when the counter was zero. wraps_at_j: where it starts again. resets_at_ns: it starts again from
        zero then. falls_at_ns, falls_by_j: it goes backwards then. stuck_ns: from when to when it does not change;
        stuck_loses: what was used then is never counted.
    flaky_fraction: share of reads that fail. lost_at_ns: it is gone from then on. denied, supported: whether it may
        and can be read at all. facts_known: False keeps period, window, resolution and power limit from the Channel.
    """

    name: str
    domain: Domain = "gpu"
    method: Method = "counter"
    device: str = "virtual device"
    sensor: str = "virtual sensor"
    period_ns: int = 100_000_000
    phase_ns: int = 0
    jitter_ns: int = 0
    window_ns: int = 0
    rise_ns: int = 0
    gain: float = 1.0
    offset_w: float = 0.0
    noise_w: float = 0.0
    resolution: float = 0.001
    latency_ns: int = 0
    stamped: bool = True
    max_power_w: float | None = None
    gain_std_fraction: float = 0.0
    contained_in: str | None = None
    counts_from_ns: int = 0
    wraps_at_j: float | None = None
    resets_at_ns: int | None = None
    falls_at_ns: int | None = None
    falls_by_j: float = 0.0
    stuck_ns: tuple[int, int] | None = None
    stuck_loses: bool = False
    flaky_fraction: float = 0.0
    lost_at_ns: int | None = None
    denied: bool = False
    supported: bool = True
    facts_known: bool = True
    seed: int = 0
    source: dict[str, str] = field(default_factory=lambda: {"all": "virtual: stated, not measured"})

    def __post_init__(self) -> None:
        if not 0 <= 2 * self.jitter_ns < self.period_ns:
            raise ValueError(f"{self.name}: jitter must be under half of the period")

    @property
    def channel(self) -> Channel:
        """The Channel that a probe would give for this sensor."""
        known, is_counter = self.facts_known, self.method == "counter"
        return Channel(
            name=self.name,
            sensor=self.sensor,
            device=self.device,
            domain=self.domain,
            method=self.method,
            update_period_ns=self.period_ns if known else None,
            window_ns=(self.window_ns if not self.rise_ns else None) if known else None,
            resolution_j=self.resolution if known and is_counter else None,
            resolution_w=self.resolution if known and not is_counter else None,
            max_power_w=self.max_power_w if known else None,
            gain_std_fraction=self.gain_std_fraction,
            wraps_at_j=self.wraps_at_j,
            contained_in=self.contained_in,
            source=self.source,
        )

    @property
    def absence(self) -> Absence | None:
        """Why it cannot be read, or None where it can."""
        if self.supported and not self.denied:
            return None
        why = "permission denied" if self.supported else "not supported by this device"
        remedy = "denied=False" if self.supported else "supported=True"
        what = f"{self.sensor} ({self.name}): {why}"
        effect = f"its {self.domain} joules are not measured"
        return Absence(self.domain, what, effect, f"give the virtual sensor {remedy}")

    def tick_at(self, time_ns: int) -> int:
        """The number of the last tick at or before a time."""
        tick = (time_ns - self.phase_ns) // self.period_ns + 1
        while self.tick_ns(tick) > time_ns:
            tick -= 1
        return tick

    def tick_ns(self, tick: int) -> int:
        """When a tick happens."""
        moved_ns = round(self.jitter_ns * (2.0 * self._uniform(tick, 0) - 1.0))
        return self.phase_ns + tick * self.period_ns + moved_ns

    def shown(self, load: Load, time_ns: int) -> float:
        """What it shows at a time: joules of a counter, watts otherwise."""
        read_ns = time_ns
        if self.stuck_ns is not None and self.stuck_ns[0] <= time_ns < self.stuck_ns[1]:
            read_ns = self.stuck_ns[0] - 1
        tick = self.tick_at(read_ns)
        if self.method == "counter":
            return self._counted_j(load, self.tick_ns(tick))
        noise_w = self.noise_w * self._normal(tick)
        return self._rounded(max(self.gain * self._mean_w(load, self.tick_ns(tick)) + self.offset_w + noise_w, 0.0))

    def fails(self, attempt: int) -> bool:
        """True where a flaky sensor's read of this number fails."""
        return self._uniform(attempt, 3) < self.flaky_fraction

    def _counted_j(self, load: Load, tick_ns: int) -> float:
        from_ns = self.counts_from_ns
        if self.resets_at_ns is not None and tick_ns >= self.resets_at_ns:
            from_ns = self.resets_at_ns
        true_j = load.energy_j(from_ns, tick_ns)
        if self.stuck_loses and self.stuck_ns is not None and tick_ns >= self.stuck_ns[0]:
            true_j -= load.energy_j(self.stuck_ns[0], min(tick_ns, self.stuck_ns[1]))
        shown_j = self.gain * true_j + self.offset_w * (tick_ns - from_ns) / NS_PER_S
        if self.falls_at_ns is not None and tick_ns >= self.falls_at_ns:
            shown_j -= self.falls_by_j
        return self._rounded(shown_j if self.wraps_at_j is None else shown_j % self.wraps_at_j)

    def _mean_w(self, load: Load, tick_ns: int) -> float:
        if self.rise_ns:
            return self._filtered_w(load, tick_ns)
        if self.window_ns:
            return load.energy_j(tick_ns - self.window_ns, tick_ns) / self.window_ns * NS_PER_S
        return load.power_w(tick_ns)

    def _filtered_w(self, load: Load, tick_ns: int) -> float:
        """Power through a first-order filter: mean powers of short steps, each with its weight in the exponential."""
        step_ns = max(round(_FILTER_LENGTHS * self.rise_ns / _FILTER_STEPS), 1)
        fade = exp(-step_ns / self.rise_ns)
        filtered_w = load.power_w(tick_ns - _FILTER_STEPS * step_ns)
        for step in range(_FILTER_STEPS, 0, -1):
            start_ns = tick_ns - step * step_ns
            mean_w = load.energy_j(start_ns, start_ns + step_ns) / step_ns * NS_PER_S
            filtered_w = fade * filtered_w + (1.0 - fade) * mean_w
        return filtered_w

    def _rounded(self, value: float) -> float:
        return floor(value / self.resolution + 1e-9) * self.resolution if self.resolution else value

    def _uniform(self, number: int, purpose: int) -> float:
        """A number in [0, 1) drawn from the seed, the tick and the purpose (splitmix64)."""
        state = (number * 4 + purpose + self.seed * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        return (state ^ (state >> 31)) / 2**64

    def _normal(self, tick: int) -> float:
        """Close to a standard normal: the sum of twelve uniforms less six."""
        return sum(self._uniform(tick * 16 + index, 1) for index in range(12)) - 6.0


_MASK = 2**64 - 1
