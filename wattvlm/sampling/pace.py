"""How fast a counter is polled: while its ticks are learned, locked to them, or plainly where it keeps no comb."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from wattvlm.sampling.comb import LEAST_EDGES, MOST_EDGES, Comb, Edge, median, usual_distance_ns
from wattvlm.units import NS_PER_MS, format_ns

FAST_PERIOD_NS = 5 * NS_PER_MS
"""Counters that tick this often (RAPL: 1 ms) are read at 100 Hz, not at their ticks."""

_FAST_EVERY_NS = 10 * NS_PER_MS

_LEARNING_STEP_NS = NS_PER_MS
_LONGEST_LEARNING_STEP_NS = 100 * NS_PER_MS
_LEARNING_STEPS_A_TICK = 40

_LEAST_CALLS_APART = 2
"""A driver whose calls are slow is asked half of the time at most, whatever its ticks."""

_LARGEST_CALL_FRACTION = 1 / 20
"""A call longer than a twentieth of the period cannot place an edge any better than plain reading does."""

_POLLS_A_GUARD = 3.0
_POLLING_FRACTION = 0.028
"""Share of a core that polling one counter may take: what a 20 ms counter's polls are thinned out to."""

_USEFUL_STEPS_A_TICK = 200
"""A bracket of half a percent of the period is as narrow as any phase needs it; more polls would only cost."""

_POLL_OVERHEAD_NS = 100_000
_WAKING_ERROR_NS = 100_000

_GUARDS_UNTIL_GIVEN_UP = 4
_TICKS_UNTIL_RELEARNING = 6
_RELEARNINGS_UNTIL_PLAIN = 4


class Pace(Protocol):
    """When to poll a counter next."""

    @property
    def period_ns(self) -> int | None:
        """Its tick period, where it keeps one."""
        ...

    @property
    def how(self) -> str:
        """This way of reading in words."""
        ...

    @property
    def note(self) -> str:
        """What a report must say of it, if anything."""
        ...

    @property
    def due_ns(self) -> int:
        """The next read."""
        ...

    def oldest_ns(self, start_ns: int) -> int:
        """When a value that a read shows may have been counted at the earliest, if it is newer than the last."""
        ...

    def after(self, start_ns: int, end_ns: int, edge_from_ns: int | None) -> Pace:
        """The pace after a read from start to end, in which an edge may have been seen: this one, or its successor."""
        ...


class FastPace:
    """A counter that ticks faster than it pays to follow: read at 100 Hz."""

    note = ""
    how = "read at 100 Hz"

    def __init__(self, period_ns: int) -> None:
        self.period_ns: int | None = period_ns
        self.due_ns = 0

    def oldest_ns(self, start_ns: int) -> int:
        # RAPL's ticks are jittery (Intel SDM: "approximately" 1 ms): two periods, not one.
        return start_ns - 2 * (self.period_ns or FAST_PERIOD_NS)

    def after(self, start_ns: int, end_ns: int, edge_from_ns: int | None) -> Pace:
        # On a common grid, so that the channels of one probe share a wake-up.
        self.due_ns = (end_ns // _FAST_EVERY_NS + 1) * _FAST_EVERY_NS
        return self


class PlainPace:
    """A counter that keeps no comb, or whose calls take too long to follow one: read five times a period."""

    period_ns: int | None = None

    def __init__(self, every_ns: int, note: str) -> None:
        self.note = note
        self.how = f"read every {format_ns(every_ns)}"
        self._every_ns = every_ns
        self.due_ns = 0

    def oldest_ns(self, start_ns: int) -> int:
        return 0

    def after(self, start_ns: int, end_ns: int, edge_from_ns: int | None) -> Pace:
        self.due_ns = max(start_ns + self._every_ns, end_ns + self._every_ns // 2)
        return self


class LearningPace:
    """Polls in small steps until the edges show a comb or show that there is none.

    The step grows with the time since the last edge, so that a counter that stands still costs next to nothing.
    """

    period_ns: int | None = None
    note = ""
    how = "learning its ticks"

    def __init__(self, channel: str, nominal_ns: int | None, relearnings: int = 0) -> None:
        self._channel = channel
        self._nominal_ns = nominal_ns
        self._relearnings = relearnings
        self._edges: list[Edge] = []
        self._calls_ns: deque[int] = deque(maxlen=MOST_EDGES)
        self._since_ns: int | None = None
        self.due_ns = 0

    def oldest_ns(self, start_ns: int) -> int:
        return 0

    def after(self, start_ns: int, end_ns: int, edge_from_ns: int | None) -> Pace:
        self._calls_ns.append(end_ns - start_ns)
        if self._since_ns is None:
            self._since_ns = start_ns
        if edge_from_ns is not None:
            self._since_ns = end_ns
            self._remember(Edge(edge_from_ns, end_ns))
            successor = self._verdict()
            if successor is not None:
                return successor.after(start_ns, end_ns, None)
        step_ns = max(_LEARNING_STEP_NS, (end_ns - self._since_ns) // _LEARNING_STEPS_A_TICK, end_ns - start_ns)
        self.due_ns = end_ns + min(step_ns, _LONGEST_LEARNING_STEP_NS)
        return self

    def _remember(self, edge: Edge) -> None:
        """Add an edge; one after a long rest begins anew, since a comb need not go on across it."""
        if len(self._edges) >= 3 and edge.middle_ns - self._edges[-1].middle_ns > 8 * usual_distance_ns(self._edges):
            self._edges.clear()
        self._edges.append(edge)

    def _verdict(self) -> Pace | None:
        if len(self._edges) < LEAST_EDGES:
            return None
        distance_ns = usual_distance_ns(self._edges)
        if distance_ns <= FAST_PERIOD_NS:
            return FastPace(round(distance_ns))
        call_ns = median(self._calls_ns)
        every_ns = int(max(distance_ns / 5, _LEAST_CALLS_APART * call_ns))
        if call_ns > _LARGEST_CALL_FRACTION * distance_ns:
            return self._plain(every_ns, f"one read takes {format_ns(call_ns)}, too long to wait for its ticks with")
        comb = Comb.through(self._edges)
        if comb is not None and self._relearnings < _RELEARNINGS_UNTIL_PLAIN:
            return LockedPace(self._channel, comb, int(call_ns), self._relearnings)
        if len(self._edges) >= MOST_EDGES:
            return self._plain(every_ns, "its ticks keep no steady period")
        return None

    def _plain(self, every_ns: int, why: str) -> PlainPace:
        note = (
            f"{self._channel}: {why}; it is read every {format_ns(every_ns)}, so that intervals of short phases are "
            "wider. Cure: more calls in one meter"
        )
        return PlainPace(every_ns, note)


class LockedPace:
    """Sleeps until just before the next tick, then polls until the counter changes.

    A tick that does not come within a few guards is given up: the bracket of the next edge is then wide, which is true.
    """

    note = ""

    def __init__(self, channel: str, comb: Comb, call_ns: int, relearnings: int) -> None:
        self._channel = channel
        self._comb = comb
        self._call_ns = float(call_ns)
        self._relearnings = relearnings
        self._caught = 0
        self._missed = 0
        self._tick_ns: int | None = None
        self.due_ns = 0

    @property
    def period_ns(self) -> int | None:
        return self._comb.period_ns

    @property
    def how(self) -> str:
        return "read at its ticks"

    def oldest_ns(self, start_ns: int) -> int:
        return 0

    def after(self, start_ns: int, end_ns: int, edge_from_ns: int | None) -> Pace:
        self._call_ns += 0.05 * (end_ns - start_ns - self._call_ns)
        if edge_from_ns is not None:
            self._catch(Edge(edge_from_ns, end_ns), is_late=start_ns - self.due_ns > self._guard_ns())
            if self._missed >= _TICKS_UNTIL_RELEARNING:
                return self._relearn(end_ns)
        if self._tick_ns is None or edge_from_ns is not None:
            self._await_tick_after(end_ns)
            return self
        return self._poll_again(end_ns, self._tick_ns)

    def _catch(self, edge: Edge, is_late: bool) -> None:
        self._caught += 1
        if self._comb.caught(edge):
            self._missed = 0
        elif not is_late:  # a poll in time that comes too late for its tick: the comb is not where it was thought
            self._comb.missed()
            self._missed += 1

    def _guard_ns(self) -> int:
        return max(self._comb.guard_ns, int(2 * self._call_ns))

    def _await_tick_after(self, end_ns: int) -> None:
        guard_ns = self._guard_ns()
        # From a quarter of a period on: an edge that came early must not have its own tick awaited once more.
        self._tick_ns = self._comb.tick_after(end_ns + self._comb.period_ns // 4)
        self.due_ns = self._tick_ns - guard_ns - _WAKING_ERROR_NS

    def _poll_again(self, end_ns: int, tick_ns: int) -> Pace:
        """The next poll of this tick; the next tick's, where this one is given up."""
        guard_ns = self._guard_ns()
        step_ns = self._step_ns(guard_ns)
        if end_ns > tick_ns + _GUARDS_UNTIL_GIVEN_UP * guard_ns:
            self._missed += 1
            if self._missed >= _TICKS_UNTIL_RELEARNING:
                return self._relearn(end_ns)
            self._comb.missed()
            self._await_tick_after(end_ns)
            return self
        self.due_ns = end_ns + (step_ns if end_ns < tick_ns + guard_ns else 2 * step_ns)
        return self

    def _step_ns(self, guard_ns: int) -> int:
        """The time between polls: a few a guard, fewer where the period leaves no time for them."""
        affordable = _POLLING_FRACTION * self._comb.period_ns / (self._call_ns + _POLL_OVERHEAD_NS) - 1
        polls = min(_POLLS_A_GUARD, max(1.5, affordable))
        least_ns = max(self._comb.period_ns // _USEFUL_STEPS_A_TICK, int(2 * self._call_ns), _WAKING_ERROR_NS)
        return max(int(guard_ns / polls - self._call_ns), least_ns)

    def _relearn(self, end_ns: int) -> Pace:
        # A comb that held for a minute was right: what came after it (a pause, a new clock state) is a new one.
        relearnings = 0 if self._caught > 600 else self._relearnings + 1
        learning = LearningPace(self._channel, self._comb.period_ns, relearnings)
        learning.due_ns = end_ns + _LEARNING_STEP_NS
        return learning
