"""What a report says of the state of its devices: throttling, changed limits and clocks, and who else used them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from wattvlm.attribution.cpu_time import COUNTED, cpu_time_seen
from wattvlm.attribution.others import process_lines
from wattvlm.recording import Recording, States
from wattvlm.report import Seen
from wattvlm.sensing import Quantity
from wattvlm.trace import Block, CallTrace
from wattvlm.units import HZ_PER_MHZ, NS_PER_S

LONGEST_HOLD_NS = 2 * NS_PER_S
"""A look stands for the time until the next one, for two seconds at most: looks come about once a second."""

POWER_CAP_WORTH_SAYING_FRACTION = 0.1
CLOCK_DRIFT_FRACTION = 0.05
LEAST_LOOKS_FOR_DRIFT = 8

_WHY: Mapping[Quantity, str] = {
    "slowed_by_heat": "heat",
    "slowed_by_hardware": "the hardware's own protection (power brake or slowdown)",
    "slowed_by_power": "its power limit",
}
_CURES: Mapping[Quantity, str] = {
    "slowed_by_heat": "cool it better, or pause between calls",
    "slowed_by_hardware": "check its power supply and cables, and `dmesg`",
    "slowed_by_power": "state the limit with the result, or raise it",
}


@dataclass(frozen=True, slots=True)
class _Device:
    """The values of one device in a block, of the device as a whole by quantity."""

    name: str
    states: tuple[States, ...]

    def of(self, quantity: Quantity) -> States | None:
        """All values of one quantity of the device as a whole."""
        return next((each for each in self.states if each.quantity == quantity and not each.pid), None)


def condition_lines(recording: Recording, block: Block, calls: Sequence[CallTrace]) -> list[str]:
    """One line for each thing that makes the joules of this block mean less than they seem to."""
    lines: list[str] = []
    for device in _devices(recording, block):
        lines += _slowed_lines(device, block, calls)
        lines += _limit_lines(device)
        lines += _clock_lines(device, calls)
        lines += process_lines(device.name, device.states)
    return lines


def seen_of(recording: Recording, block: Block) -> tuple[Seen, ...]:
    """The range of every condition in the block."""
    ranges = (
        Seen(
            each.device, each.quantity, len(each), float(np.min(each.value)), float(np.mean(each.value)),
            float(np.max(each.value)), each.pid, each.process, each.is_own,
        )
        for device in _devices(recording, block)
        for each in device.states
    )  # fmt: skip
    return (*ranges, *cpu_time_seen(recording, block))


def _devices(recording: Recording, block: Block) -> Iterator[_Device]:
    """The devices whose state was seen in the block; a short block takes the looks just before and after it too."""
    reach_ns = max(0, NS_PER_S - (block.end_ns - block.start_ns))
    looked_at = [each for each in recording.conditions if each.quantity != COUNTED]
    inside = [each.between(block.start_ns - reach_ns, block.end_ns + reach_ns) for each in looked_at]
    inside = sorted((each for each in inside if len(each)), key=_identity)
    merged = [_joined(list(group)) for _, group in groupby(inside, _identity)]
    for name, states in groupby(merged, lambda each: each.device):
        yield _Device(name, tuple(states))


def _identity(states: States) -> tuple[str, str, int]:
    return states.device, states.quantity, states.pid


def _joined(pieces: Sequence[States]) -> States:
    """What several sampling processes saw of one condition."""
    if len(pieces) == 1:
        return pieces[0]
    time_ns = np.concatenate([each.time_ns for each in pieces])
    value = np.concatenate([each.value for each in pieces])
    order = np.argsort(time_ns, kind="stable")
    last = pieces[-1]
    return States(
        last.device, last.quantity, time_ns[order], value[order], last.pid, last.process, last.is_own
    )  # fmt: skip


def _holds_ns(states: States) -> NDArray[np.int64]:
    """Until when each look stands."""
    after_ns = np.append(states.time_ns[1:], states.time_ns[-1] + LONGEST_HOLD_NS)
    held_ns: NDArray[np.int64] = np.minimum(after_ns, states.time_ns + LONGEST_HOLD_NS)
    return held_ns


def _slowed_lines(device: _Device, block: Block, calls: Sequence[CallTrace]) -> Iterator[str]:
    for quantity, why in _WHY.items():
        states = device.of(quantity)
        if states is None or not np.any(states.value > 0):
            continue
        touched = _touched(states, calls)
        if quantity == "slowed_by_power":
            inside = _inside(states, calls) if calls else np.ones(len(states), dtype=np.bool_)
            if not inside.any() or np.mean(states.value[inside] > 0) < POWER_CAP_WORTH_SAYING_FRACTION:
                continue
        elif calls and not touched:  # between calls it changes none of them
            continue
        share = np.mean(states.value > 0)
        when = f"during {touched} of {len(calls)} calls" if calls else f"in {share:.0%} of the looks at it"
        yield (
            f"{device.name}: its clocks were lowered by {why} {when}{_heat(device, quantity)}{_limit(device, quantity)}"
            f": the joules are right, but not comparable with those at full clocks. Cure: {_CURES[quantity]}"
        )


def _touched(states: States, calls: Sequence[CallTrace]) -> int:
    """How many calls overlap a look that found clocks lowered."""
    from_ns, to_ns = states.time_ns[states.value > 0], _holds_ns(states)[states.value > 0]
    return sum(bool(np.any((from_ns < call.end_ns) & (to_ns > call.start_ns))) for call in calls)


def _inside(states: States, calls: Sequence[CallTrace]) -> NDArray[np.bool_]:
    """Which looks happened while a call ran."""
    inside = np.zeros(len(states), dtype=np.bool_)
    for call in calls:
        first, end = np.searchsorted(states.time_ns, [call.start_ns, call.end_ns])
        inside[first:end] = True
    return inside


def _heat(device: _Device, quantity: Quantity) -> str:
    heat = device.of("temperature_celsius")
    return f" (at up to {np.max(heat.value):.0f} °C)" if heat is not None and quantity == "slowed_by_heat" else ""


def _limit(device: _Device, quantity: Quantity) -> str:
    limit = device.of("power_limit_w")
    return f" ({limit.value[-1]:.4g} W)" if limit is not None and quantity == "slowed_by_power" else ""


def _limit_lines(device: _Device) -> Iterator[str]:
    limit = device.of("power_limit_w")
    if limit is None:
        return
    changed = np.flatnonzero(np.diff(limit.value))
    if len(changed):
        before_w, after_w = limit.value[changed[0]], limit.value[changed[-1] + 1]
        yield (
            f"{device.name}: its power limit was changed during the block, from {before_w:.4g} W to {after_w:.4g} W: "
            "the joules are right, but calls before and after are not comparable. Cure: set the limit before measuring"
        )


def _clock_lines(device: _Device, calls: Sequence[CallTrace]) -> Iterator[str]:
    """Clocks that were another in the second half of the calls than in the first."""
    clock = device.of("core_clock_hz")
    if clock is None:
        return
    clocks_hz = clock.value[_inside(clock, calls)]
    if len(clocks_hz) < LEAST_LOOKS_FOR_DRIFT:
        return
    # The upper quartile of each half: a look may fall into a moment in which a call leaves the device idle.
    half = len(clocks_hz) // 2
    early_hz, late_hz = (float(np.percentile(part, 75)) for part in (clocks_hz[:half], clocks_hz[half:]))
    if early_hz > 0 and abs(late_hz / early_hz - 1.0) > CLOCK_DRIFT_FRACTION:
        yield (
            f"{device.name}: its clock went from {early_hz / HZ_PER_MHZ:,.0f} MHz in the first half of the calls to "
            f"{late_hz / HZ_PER_MHZ:,.0f} MHz in the second ({late_hz / early_hz - 1.0:+.0%}): the joules are right, "
            "but early and late calls are not comparable. Cure: warm up before the block, or lock the clocks"
        )
