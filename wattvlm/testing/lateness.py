"""Whose the joules of ramps are: power that follows its work late, charged to the work that causes it."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate, pairwise

from wattvlm.units import NS_PER_S

_GONE_W = 1e-9


@dataclass(slots=True)
class _Edge:
    """A step of what work asks for: the watts by which power still lags behind it, and the joules of that so far."""

    step_w: float
    left_w: float
    late_j: float = 0.0

    @property
    def late_s(self) -> float:
        return self.late_j / self.step_w


class LateWork:
    """What work asks for, segment by segment, and how much later than that power comes at each edge.

    An edge is as late as a step that leaves the same joules over. Power that has not yet followed one edge when the
    next one comes still follows both from there on: what is left of a phase's power in a short gap, and in the rise
    after it, is that phase's. So the joules of all segments are those of the curve, none lost and none twice.
    """

    def __init__(self, before_w: float) -> None:
        self._starts_ns: list[int] = []
        self._asked_w: list[float] = [before_w]
        self._edges: list[_Edge | None] = []
        self._open: list[_Edge] = []

    def ask(self, at_ns: int, power_w: float, steps: list[tuple[int, float]], reached_w: float, until_ns: int) -> None:
        """A segment that asks for a power, the steps of power in it (ns after its start), and what these reach."""
        step_w = self._asked_w[-1] - power_w
        edge = _Edge(step_w, step_w) if step_w else None
        self._edges.append(edge)
        self._open += [edge] if edge is not None else []
        self._starts_ns.append(at_ns)
        self._asked_w.append(power_w)
        ends_ns = [*(after_ns for after_ns, _ in steps[1:]), until_ns - at_ns]
        excess_j = sum((watts - power_w) * (end - start) / NS_PER_S for (start, watts), end in zip(steps, ends_ns))
        behind_w = sum(each.left_w for each in self._open)
        for each in self._open if behind_w else ():
            each.late_j += excess_j * each.left_w / behind_w
            each.left_w *= (reached_w - power_w) / behind_w
        self._open = [each for each in self._open if behind_w and abs(each.left_w) > _GONE_W]

    def late_s(self) -> list[float]:
        """Seconds by which power is late at the beginning of each segment; where nothing steps, as the one before."""
        return list(accumulate(self._edges, _or_as_before, initial=0.0))[1:]

    def caused_j(self, start_ns: int, end_ns: int, late_s: list[float]) -> float:
        """Joules that the work between two edges causes; late_s: as above."""
        first, last = bisect_left(self._starts_ns, start_ns), bisect_left(self._starts_ns, end_ns)
        edges_ns = [*self._starts_ns[first:last], end_ns]
        return sum(
            self._asked_w[first + number + 1]
            * ((to_ns - from_ns) / NS_PER_S + late_s[first + number + 1] - late_s[first + number])
            for number, (from_ns, to_ns) in enumerate(pairwise(edges_ns))
        )


def _or_as_before(late_s: float, edge: _Edge | None) -> float:
    return late_s if edge is None else edge.late_s
