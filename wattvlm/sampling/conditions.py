"""When a probe is asked for the state of its devices: about once a second, a question at a time, between reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from wattvlm.clock import Clock
from wattvlm.sensing import Condition, KnowsConditions, Probe
from wattvlm.units import NS_PER_MS, NS_PER_S

ASK_EVERY_NS = NS_PER_S

_FIRST_GUESS_NS = 2 * NS_PER_MS
_ROOM_FOR_QUESTIONS = 3
_OVERDUE_NS = 3 * NS_PER_S
_FAILURES_UNTIL_SILENT = 5


class ConditionSink(Protocol):
    """Where conditions go."""

    def condition(self, condition: Condition) -> None:
        """One value to keep."""
        ...


class ConditionPlan:
    """The questions to one probe. A question is asked where its answer comes well before the next read is due.

    Where reads leave no such room for seconds, it is asked all the same. A probe whose looks keep failing is asked no
    more: its readings matter more than its state.
    """

    def __init__(self, probe: Probe, clock: Clock, sink: ConditionSink) -> None:
        self._probe = probe if isinstance(probe, KnowsConditions) else None
        self._clock = clock
        self._sink = sink
        self._due_ns = clock.monotonic_ns()
        self._longest_ns = _FIRST_GUESS_NS
        self._look: Iterator[Condition] | None = None
        self._failures = 0

    def ask(self, wait_ns: int) -> bool:
        """Ask one question if one is due and fits before the next read, `wait_ns` from now; True where it was asked."""
        if self._probe is None or self._failures >= _FAILURES_UNTIL_SILENT:
            return False
        start_ns = self._clock.monotonic_ns()
        late_ns = start_ns - self._due_ns
        if late_ns < 0 or (wait_ns < _ROOM_FOR_QUESTIONS * self._longest_ns and late_ns < _OVERDUE_NS):
            return False
        self._step(self._probe)
        took_ns = self._clock.monotonic_ns() - start_ns
        # An unusually slow answer is forgotten within a minute, so that it does not end the questions for good.
        self._longest_ns = max(took_ns, self._longest_ns - self._longest_ns // 100, NS_PER_MS // 10)
        return True

    def _step(self, probe: KnowsConditions) -> None:
        try:
            if self._look is None:
                self._look = probe.conditions()
            condition = next(self._look, None)
        except Exception:  # whatever it was, the next look may work, and the readings go on
            self._failures += 1
            self._end_look()
            return
        if condition is None:
            self._failures = 0
            self._end_look()
        else:
            self._sink.condition(condition)

    def _end_look(self) -> None:
        self._look = None
        self._due_ns = self._clock.monotonic_ns() + ASK_EVERY_NS
