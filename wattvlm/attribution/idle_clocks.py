"""At which clock a device was idle: right after work it keeps its clock, and draws more than in deep idle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattvlm.attribution.windows import Stretches, Window, difference, duration_ns, union
from wattvlm.recording import Recording
from wattvlm.trace import Block, CallTrace
from wattvlm.units import HZ_PER_MHZ, NS_PER_S

SAME_CLOCK_FRACTION = 0.8
"""A clock of at least this part of the calls' own is the calls' state."""

LEAST_QUIET_NS = NS_PER_S // 2
"""Quiet at the calls' own clock is preferred from this length on."""

_LONGEST_BETWEEN_NS = 2 * NS_PER_S


@dataclass(frozen=True, slots=True)
class IdleClocks:
    """The clock of one device in calls, and in quiet (its median; None where no look fell into it).

    quiet_as_in_calls: the quiet time between two looks that both showed the calls' own clock. fell: some look in quiet
    showed a lower one.
    """

    board: str
    calls_hz: float
    quiet_hz: float | None
    quiet_as_in_calls: Stretches
    fell: bool

    @property
    def is_preferred(self) -> bool:
        """There is enough quiet at the calls' own clock, and other quiet."""
        return self.fell and duration_ns(self.quiet_as_in_calls) >= LEAST_QUIET_NS

    @property
    def idle_hz(self) -> float | None:
        """The clock at which idle power was seen, as far as it is known."""
        return self.calls_hz if self.is_preferred else self.quiet_hz


def idle_clocks(
    recording: Recording, board: str, quiet: Stretches, block: Block, calls: Sequence[CallTrace]
) -> IdleClocks | None:
    """The clocks of one device, in calls (without any, in the block) and in quiet; None where no call's was seen."""
    seen = [each for each in recording.conditions if each.device == board and each.quantity == "core_clock_hz"]
    if not seen:
        return None
    time_ns = np.concatenate([each.time_ns for each in seen])
    order = np.argsort(time_ns, kind="stable")
    time_ns, clock_hz = time_ns[order], np.concatenate([each.value for each in seen])[order]
    busy = tuple(Window(call.start_ns, call.end_ns) for call in calls) or (Window(block.start_ns, block.end_ns),)
    in_calls = clock_hz[_inside(time_ns, busy)]
    if not len(in_calls):
        return None
    calls_hz = float(np.median(in_calls))
    as_in_calls = clock_hz >= SAME_CLOCK_FRACTION * calls_hz
    is_quiet = _inside(time_ns, quiet)
    sure = as_in_calls[:-1] & as_in_calls[1:] & (np.diff(time_ns) <= _LONGEST_BETWEEN_NS)
    high = union(Window(int(time_ns[index]), int(time_ns[index + 1])) for index in np.flatnonzero(sure))
    quiet_hz = float(np.median(clock_hz[is_quiet])) if is_quiet.any() else None
    fell = bool(np.any(is_quiet & ~as_in_calls))
    return IdleClocks(board, calls_hz, quiet_hz, difference(quiet, difference(quiet, high)), fell)


def idle_clock_line(clocks: IdleClocks) -> str:
    """A line where only a part of the quiet was taken; "" else."""
    if not clocks.is_preferred:
        return ""
    return (
        f"{clocks.board}: its idle power is that at the clock of the calls ({clocks.calls_hz / HZ_PER_MHZ:,.0f} MHz), "
        "from the quiet right around them; in deep idle, at lower clocks, it draws less"
    )


def _inside(time_ns: NDArray[np.int64], windows: Stretches) -> NDArray[np.bool_]:
    inside = np.zeros(len(time_ns), dtype=np.bool_)
    for window in windows:
        inside |= (time_ns >= window.start_ns) & (time_ns < window.end_ns)
    return inside
