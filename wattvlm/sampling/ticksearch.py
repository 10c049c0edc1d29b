"""Where a power is renewed that nobody stamps: found by halving, at two reads a period.

Reads that keep step with the ticks see every new value equally late and never learn how late. So one read of each
period is put where the tick is thought to be, and the other half a period later. The read that shows the new value
first tells on which side the tick was, and the next place lies a step that way; steps halve while sides alternate and
grow while they do not, which follows a period that is a little off. A value that was renewed with itself tells nothing.
"""

from __future__ import annotations

from wattvlm.units import NS_PER_US

SMALLEST_STEP_NS = 250 * NS_PER_US
"""Ticks of boards are jittery by more than this."""

FOLLOWED_AFTER = 3
"""So many ticks on the same side in a row: the place is behind, and steps grow."""


class TickSearch:
    """When to read a power next that is renewed about each period."""

    def __init__(self, period_ns: int, now_ns: int) -> None:
        self._period_ns = period_ns
        self._place_ns = now_ns
        self._step_ns = period_ns // 4
        self._is_at_place = False
        self._changed_at_place = False
        self._side = 0
        self._in_a_row = 0
        self._value: float | None = None

    def due_after(self, end_ns: int, value: float) -> int:
        """When to read next, after a read that ended and showed a value."""
        changed = self._value is not None and value != self._value
        self._value = value
        self._is_at_place = not self._is_at_place
        if self._is_at_place:
            self._changed_at_place = changed
        else:
            if changed != self._changed_at_place:
                self._move(-1 if self._changed_at_place else 1)
            self._place_ns += self._period_ns
        due_ns = self._place_ns + (self._period_ns // 2 if self._is_at_place else 0)
        if due_ns < end_ns:
            missed_ns = -(-(end_ns - due_ns) // self._period_ns) * self._period_ns
            self._place_ns, due_ns = self._place_ns + missed_ns, due_ns + missed_ns
        return due_ns

    def _move(self, side: int) -> None:
        """The place a step to the side of it on which the tick was."""
        self._place_ns += side * self._step_ns
        self._in_a_row = self._in_a_row + 1 if side == self._side else 1
        self._side = side
        if self._in_a_row >= FOLLOWED_AFTER:
            self._step_ns = min(2 * self._step_ns, self._period_ns // 4)
        else:
            self._step_ns = max(self._step_ns // 2, SMALLEST_STEP_NS)
