"""A chip that obeys its power limit and its locked clock: how long work takes there, and what it draws.

    chip = CappedChip(static_w=150.0)
    prefill = Work("prefill", 120_000_000, 640.0, memory_fraction=0.1)
    chip.phase(prefill, Setting(power_limit_w=300.0))       # a ScriptedPhase, longer and at 300 W

Power above the static part goes with the third power of the clock (its voltage goes with it), and time with its
inverse, but for the part that waits for memory, which has a clock of its own. A limit lowers the clock until the power
is under it. So a lower limit saves joules until the static power, over the longer time, costs more than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wattvlm.sweep import Setting
from wattvlm.testing.sessions import ScriptedPhase
from wattvlm.units import HZ_PER_MHZ, NS_PER_S

_POWER_OF_CLOCK = 3.0


@dataclass(frozen=True, slots=True)
class Work:
    """A phase at the chip's full clock: its time, its watts, and the part of the time that memory takes."""

    name: str
    duration_ns: int
    power_w: float
    memory_fraction: float = 0.0


@dataclass(frozen=True, slots=True)
class CappedChip:
    """static_w: drawn whatever the clock is. full_clock_hz, lowest_clock_hz: between which the clock goes."""

    static_w: float = 150.0
    full_clock_hz: float = 1980.0 * HZ_PER_MHZ
    lowest_clock_hz: float = 210.0 * HZ_PER_MHZ

    def clock_hz(self, work: Work, setting: Setting) -> float:
        """The clock at which some work runs at a setting."""
        clock_hz = min(self.full_clock_hz, setting.core_clock_hz or self.full_clock_hz)
        dynamic_w = work.power_w - self.static_w
        if setting.power_limit_w is not None and dynamic_w > 0.0:
            left_w = max(setting.power_limit_w - self.static_w, 0.0)
            clock_hz = min(clock_hz, self.full_clock_hz * (left_w / dynamic_w) ** (1.0 / _POWER_OF_CLOCK))
        return max(clock_hz, self.lowest_clock_hz)

    def phase(self, work: Work, setting: Setting) -> ScriptedPhase:
        """The work as it runs at a setting: longer, and with less power."""
        part = self.clock_hz(work, setting) / self.full_clock_hz
        power_w = self.static_w + (work.power_w - self.static_w) * part**_POWER_OF_CLOCK
        longer = work.memory_fraction + (1.0 - work.memory_fraction) / part
        return ScriptedPhase(work.name, round(work.duration_ns * longer), {"gpu": power_w})

    def energy_j(self, works: Sequence[Work], setting: Setting) -> float:
        """Joules of some work, one after the other."""
        phases = [self.phase(work, setting) for work in works]
        return sum(each.power_w["gpu"] * each.duration_ns / NS_PER_S for each in phases)
