"""The rows of a report: parts of each call, pooled parts, the block, and the user's own phases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from wattvlm.attribution.calls import CallWindows, call_windows, has_device_spans, outside_of, shared, sharing_of
from wattvlm.attribution.domains import DomainCurves
from wattvlm.attribution.fewcalls import FewCalls, few_calls, windows_of
from wattvlm.attribution.gates import is_resolved, merge, sub_runs, unresolved_runs
from wattvlm.attribution.joules import PartJoules, domain_joules
from wattvlm.attribution.pooled import OutsideRow, PooledRows, pooled_rows
from wattvlm.attribution.repeating import scatters
from wattvlm.attribution.serving.rules import Rule
from wattvlm.attribution.serving.served import ServedRows, served_rows
from wattvlm.attribution.windows import Stretches, Window, columns, union
from wattvlm.recording import Recording
from wattvlm.report import WAITING, PartEnergy
from wattvlm.trace import Block, CallTrace, Phase

CALL = "call"
BETWEEN = "between phases"
BLOCK = "block"
OUTSIDE = "outside calls"

Group = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """The windows of everything that gets a row.

    times: each call's own time. calls: the same with shares where calls ran at the same time, for joules.
    order: the names of all phases in order of time. traces: the calls themselves; on_devices: whose clock it is.
    """

    times: tuple[CallWindows, ...]
    calls: tuple[CallWindows, ...]
    block: Stretches
    outside: Stretches
    own_phases: Mapping[str, tuple[Stretches, ...]]
    order: tuple[str, ...]
    is_shared: bool
    traces: tuple[CallTrace, ...]
    on_devices: bool


def layout_of(calls: Sequence[CallTrace], block: Block, own_phases: Sequence[Phase], on_devices: bool) -> Layout:
    """The windows of a block's parts on the host's or the devices' clock."""
    exclusive = [call_windows(call, on_devices) for call in calls]
    wholes = [call.whole for call in exclusive]
    sharing = sharing_of(wholes)
    own: dict[str, list[Stretches]] = {}
    for phase in own_phases:
        spans = union(Window(span.start_ns, max(span.start_ns, span.end_ns)) for span in phase.spans)
        own.setdefault(phase.name, []).append(spans)
    return Layout(
        tuple(exclusive),
        tuple(shared(call, sharing) for call in exclusive),
        (Window(block.start_ns, block.end_ns),),
        outside_of(block, wholes),
        {name: tuple(spans) for name, spans in own.items()},
        _order(exclusive),
        sharing is not None,
        tuple(calls),
        on_devices,
    )


def layouts_of(calls: Sequence[CallTrace], block: Block, own_phases: Sequence[Phase]) -> tuple[Layout, Layout]:
    """(on the host's clock, on the devices' clock); the same where no phase was timed on a device."""
    host = layout_of(calls, block, own_phases, on_devices=False)
    return host, layout_of(calls, block, own_phases, on_devices=True) if has_device_spans(calls) else host


def _order(calls: Sequence[CallWindows]) -> tuple[str, ...]:
    """Names of phases so that each call's are in order of time, as far as the calls agree (the longest call leads)."""
    order: list[str] = []
    for call in sorted(calls, key=lambda call: -len(call.phases)):
        place = 0
        for name in call.phases:
            if name in order:
                place = max(place, order.index(name) + 1)
            else:
                order.insert(place, name)
                place += 1
    return tuple(order)


@dataclass(frozen=True, slots=True)
class DomainRows:
    """One domain's joules of every row. calls: by call, name of row -> joules; pooled: means over all calls.

    lines: how the pooled rows were found, where not as bounds. by_time: calls that ran together share by time alone.
    waiting: time in which requests waited and none was at work, where it has a row WAITING among own_phases.
    """

    calls: tuple[Mapping[str, PartEnergy], ...]
    pooled: Mapping[str, PartEnergy]
    block: PartEnergy
    outside: PartEnergy
    own_phases: Mapping[str, PartEnergy]
    lines: tuple[str, ...] = ()
    by_time: bool = False
    waiting: Stretches = ()


FEWEST_ALLOWED = 0.95
"""Where readings forbid more of a block's draws than the rest of this, powers are not what the model takes them for."""

POOLED = -1
"""Stands for all calls together where a call's number is asked for."""

Key = tuple[int, Group]
Found = dict[Key, tuple[PartJoules, int]]


def domain_rows(found: DomainCurves, layout: Layout, recording: Recording, rule: Rule = "time") -> DomainRows:
    """The joules of every row in one domain: single rows first, then the sums of neighbours that need them.

    rule: how requests that ran together share what none of them causes alone.
    """
    singles: dict[Key, Stretches] = {
        (index, (name,)): windows
        for index, call in enumerate(layout.calls)
        for name, windows in ((CALL, call.whole), (BETWEEN, call.between), *call.phases.items())
    }
    known = _looked_up(found, singles)
    known |= _pooled(known, [(name,) for name in (CALL, BETWEEN, *layout.order)], len(layout.calls))
    served = _served(found, layout, rule)
    known |= _with_served(known, served, layout)
    drawn = _drawn(found, layout, recording, known)
    known |= _with_draws(known, drawn, layout)
    few = few_calls(found, layout.calls, BETWEEN, layout.block, recording)
    known = _narrowed(known, few, layout)
    names = {index: tuple(n for n in layout.order if n in call.phases) for index, call in enumerate(layout.calls)}
    names[POOLED] = layout.order
    runs = {index: unresolved_runs(own, _Gate(known, index).single) for index, own in names.items()}
    groups = {index: [group for run in own for group in sub_runs(run)] for index, own in runs.items()}
    for index, own in names.items():
        if index != POOLED:
            wanted = [tuple(name for name in group if name in own) for group in groups[POOLED]]
            groups[index] = list(dict.fromkeys([*groups[index], *(group for group in wanted if len(group) > 1)]))
    joined = {
        (index, group): union(window for name in group for window in layout.calls[index].phases[name])
        for index, own in groups.items()
        if index != POOLED
        for group in own
    }
    summed = _looked_up(found, joined)
    summed |= _pooled(known | summed, groups[POOLED], len(layout.calls))
    known |= _narrowed(summed, few, layout)
    known |= _with_served(summed, served, layout)
    known |= _with_draws(known, drawn, layout)
    rows = {index: _rows(known, index, own, runs[index]) for index, own in names.items()}
    pooled = rows.pop(POOLED) if layout.calls else {}
    pooled = _with_scatter(pooled, found, layout, recording, drawn, known)
    lines = (drawn.line,) if drawn is not None and _has_draws(pooled) else ()
    lines = (few.line,) if few is not None else lines
    lines = (served.line,) if served is not None else lines
    block, outside, own_phases = _other_rows(found, layout, few, drawn)
    own_phases |= _waiting(found, served)
    by_time, waiting = layout.is_shared and served is None, () if served is None else served.waiting
    return DomainRows(tuple(rows.values()), pooled, block, outside, own_phases, lines, by_time, waiting)


def _served(found: DomainCurves, layout: Layout, rule: Rule) -> ServedRows | None:
    if not layout.is_shared:
        return None
    wholes = [call.whole for call in layout.times]
    return served_rows(found, layout.traces, wholes, layout.block[0], layout.on_devices, rule)


def _waiting(found: DomainCurves, served: ServedRows | None) -> dict[str, PartEnergy]:
    """The row of time in which requests waited and none was at work, where there was such."""
    if served is None or not served.waiting:
        return {}
    joules = served.waited(_looked_up(found, {(0, (WAITING,)): served.waiting})[0, (WAITING,)][0])
    return {WAITING: _part_energy((joules, 0), (joules, 0), (WAITING,), True)}


def _with_served(known: Found, served: ServedRows | None, layout: Layout) -> Found:
    """The rows of requests that ran together, by what each did; waiting has no joules."""
    found: Found = {}
    if served is None:
        return found
    for (index, group), (joules, number) in known.items():
        calls = range(len(layout.calls)) if index == POOLED else (index,)
        names = {CALL: layout.order, BETWEEN: ()}.get(group[0], group)
        found[index, group] = served.part(joules, number, calls, names), 0
    return found


def _drawn(found: DomainCurves, layout: Layout, recording: Recording, known: Found) -> PooledRows | None:
    """Joint draws of the pooled rows, where the calls and the sensors allow them and bounds do not speak against."""
    drawn = pooled_rows(found, layout.calls, BETWEEN, layout.block, recording)
    if drawn is None:
        return None
    bounds = {name: joules.bounds(number) for name in drawn.draws_j for joules, number in [known[POOLED, (name,)]]}
    return drawn.within(bounds)


def _with_draws(known: Found, drawn: PooledRows | None, layout: Layout) -> Found:
    """The pooled rows that draws resolve; bounds stay where they do not."""
    found: Found = {}
    for (index, group), (joules, _) in known.items():
        if drawn is None or index != POOLED or joules.draws_j is not None:
            continue
        names = [name for name in (*layout.order, BETWEEN) if name in drawn.draws_j] if group == (CALL,) else group
        draws_j = drawn.sum_of(names)
        if draws_j is not None:
            pooled = joules.with_draws(draws_j, drawn.gains_of(names))
            if is_resolved(float(pooled.middle_j[0]), float(pooled.low_j[0]), float(pooled.high_j[0])):
                found[index, group] = pooled, 0
    return found


def _narrowed(known: Found, few: FewCalls | None, layout: Layout) -> Found:
    """The rows of few calls, where even powers inside phases narrow their bounds."""
    if few is None:
        return known
    found: Found = {}
    for (index, group), (joules, number) in known.items():
        calls = layout.calls if index == POOLED else layout.calls[index : index + 1]
        windows = windows_of(calls, group, CALL, BETWEEN)
        found[index, group] = few.narrowed(joules, number, windows, len(calls)), 0
    return found


def _with_scatter(
    rows: dict[str, PartEnergy],
    found: DomainCurves,
    layout: Layout,
    recording: Recording,
    drawn: PooledRows | None,
    known: Found,
) -> dict[str, PartEnergy]:
    """Pooled rows with what more calls would do for them."""
    resolved = {name for name in rows if known[POOLED, (name,)][0].draws_j is not None}
    own = scatters(found, layout.calls, (BETWEEN, CALL), layout.block, recording, drawn, resolved)
    return {name: replace(row, scatter=own.get(name)) for name, row in rows.items()}


def _has_draws(rows: Mapping[str, PartEnergy]) -> bool:
    return any(not row.energy.is_bounds for row in rows.values())


def _looked_up(found: DomainCurves, windows: Mapping[Key, Stretches]) -> Found:
    joules = domain_joules(found.curves, found.method, columns(list(windows.values())))
    return {key: (joules, number) for number, key in enumerate(windows)}


def _pooled(known: Found, groups: Sequence[Group], calls: int) -> Found:
    """Means over all calls; a call without a phase counts with 0 J, since it spent none on it."""
    if not groups or not calls:
        return {}
    pooled: Found = {}
    for group in groups:
        members: dict[int, tuple[PartJoules, list[int]]] = {}
        for index in range(calls):
            here = tuple(name for name in group if (index, (name,)) in known)
            if here:
                joules, number = known[index, here]
                members.setdefault(id(joules), (joules, []))[1].append(number)
        sums = [joules.summed([numbers], calls) for joules, numbers in members.values()]
        pooled[POOLED, group] = (_added(sums), 0)
    return pooled


def _added(sums: Sequence[PartJoules]) -> PartJoules:
    first, *others = sums
    for other in others:
        first = first.plus(other)
    return first


@dataclass(frozen=True, slots=True)
class _Gate:
    """Whether phases of one call (or of all) are resolved. A model's error is in its interval; it is not refused."""

    known: Found
    index: int

    def single(self, name: str) -> bool:
        return self.group((name,))

    def group(self, group: Group) -> bool:
        joules, number = self.known[self.index, group]
        return joules.method == "modelled" or is_resolved(
            float(joules.middle_j[number]), float(joules.low_j[number]), float(joules.high_j[number])
        )


def _rows(known: Found, index: int, names: Group, runs: Sequence[Group]) -> dict[str, PartEnergy]:
    gate = _Gate(known, index)
    covers: dict[str, Group] = {name: (name,) for name in (CALL, BETWEEN, *names)}
    for run in runs:
        covers |= {name: group for group in merge(run, gate.group) for name in group}
    return {
        name: _part_energy(known[index, (name,)], known[index, group], group, gate.group(group))
        for name, group in covers.items()
        if (index, (name,)) in known
    }


def _part_energy(
    own: tuple[PartJoules, int], together: tuple[PartJoules, int], covers: Group, resolved: bool
) -> PartEnergy:
    joules, number = own
    return PartEnergy(together[0].energy(together[1]), covers, resolved, joules.bounds(number), joules.ticks_of(number))


def _with_outside(known: Found, drawn: Mapping[str, OutsideRow]) -> Found:
    """The rows of the block and of its time outside of calls as draws, where what the readings allow holds them."""
    found: Found = {}
    for name, own in drawn.items():
        joules, number = known[0, (name,)]
        least_j, most_j = joules.bounds(number)
        if float(np.mean((own.draws_j >= least_j) & (own.draws_j <= most_j))) > FEWEST_ALLOWED:
            found[0, (name,)] = joules.alone(number).with_draws(own.draws_j, own.gains_j), 0
    return found


def _other_rows(
    found: DomainCurves, layout: Layout, few: FewCalls | None, drawn: PooledRows | None
) -> tuple[PartEnergy, PartEnergy, dict[str, PartEnergy]]:
    """The block, its time outside of calls, and the user's own phases (means over their occurrences)."""
    windows: dict[Key, Stretches] = {(0, (BLOCK,)): layout.block, (0, (OUTSIDE,)): layout.outside}
    known = _looked_up(found, windows)
    if few is not None:
        known = {key: (few.narrowed(joules, number, [windows[key]], 1.0), 0) for key, (joules, number) in known.items()}
    if drawn is not None and drawn.outside is not None and drawn.block is not None:
        known |= _with_outside(known, {BLOCK: drawn.block, OUTSIDE: drawn.outside})
    for name, occurrences in layout.own_phases.items():
        each = domain_joules(found.curves, found.method, columns(list(occurrences)))
        known[0, (name,)] = each.summed([range(len(occurrences))], len(occurrences)), 0
    gate = _Gate(known, 0)
    rows = {
        name: _part_energy(known[0, (name,)], known[0, (name,)], (name,), gate.single(name))
        for name in (BLOCK, OUTSIDE, *layout.own_phases)
    }
    return rows.pop(BLOCK), rows.pop(OUTSIDE), rows
