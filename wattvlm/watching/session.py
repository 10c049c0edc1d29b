"""Watching: a meter on this machine and a look at the server's metrics now and then, until told to stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from wattvlm.clock import Clock, SystemClock
from wattvlm.metering import meter
from wattvlm.trace import Mark
from wattvlm.units import NS_PER_MS, NS_PER_S
from wattvlm.watching.served import Look, Served, served
from wattvlm.watching.server import MetricsPage, NotAnswering
from wattvlm.watching.slots import Slots

if TYPE_CHECKING:
    from wattvlm.recording import Recording
    from wattvlm.report import Report
    from wattvlm.sensing import ProbeSource

WITH_WORK = "server at work"
"""The name of the phase in which the server had requests."""

_NO_SLOTS = (
    "the server does not tell its slots, so its joules are shared by all requests in the window. "
    "Cure: llama-server --slots"
)
_SLEEP_NS = 50 * NS_PER_MS


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """A report with the phase WITH_WORK, and what the server did in it; why_not: why nothing is known of that."""

    report: Report
    served: Served | None
    why_not: str = ""


def watch(
    page: MetricsPage,
    *,
    duration_ns: int | None = None,
    interval_ns: int = NS_PER_S,
    label: str = "",
    probes: Sequence[ProbeSource] | None = None,
    each: Callable[[Look], None] | None = None,
    clock: Clock | None = None,
) -> Watched:
    """Watch until the duration is over or Ctrl-C; NotAnswering where there is no server to begin with.

    interval_ns: time between looks at the metrics. each: told of each look. probes: as in `meter`.
    """
    clock = clock or SystemClock()
    metrics, _ = page.read()  # nothing to watch is told at once
    slots = Slots(page.address) if any(name.startswith("llamacpp") for name in metrics) else None
    looks: list[Look] = []
    reasons: list[str] = []
    if slots is not None and not slots.are_told:
        reasons.append(_NO_SLOTS)
        slots = None
    with meter(label=label or page.address, probes=probes) as own:
        until_ns = None if duration_ns is None else clock.monotonic_ns() + duration_ns
        try:
            _look_on(page, looks, reasons, (clock, until_ns, interval_ns), each, slots)
        except KeyboardInterrupt:
            _look(page, looks, reasons, clock)
    return _watched(own.recording, looks, tuple(dict.fromkeys(reasons)), slots)


def _look_on(
    page: MetricsPage,
    looks: list[Look],
    reasons: list[str],
    when: tuple[Clock, int | None, int],
    each: Callable[[Look], None] | None,
    slots: Slots | None,
) -> None:
    clock, until_ns, interval_ns = when
    due_ns = clock.monotonic_ns()
    while True:
        look = _look(page, looks, reasons, clock)
        if look is not None and each is not None:
            each(look)
        now_ns = clock.monotonic_ns()
        if until_ns is not None and now_ns >= until_ns:
            return
        due_ns = max(due_ns + interval_ns, now_ns)
        wake_ns = due_ns if until_ns is None else min(due_ns, until_ns)
        while (now_ns := clock.monotonic_ns()) < wake_ns:  # short sleeps, so that Ctrl-C is answered at once
            clock.sleep_ns(min(_SLEEP_NS, wake_ns - now_ns))
            if slots is not None:
                slots.look(clock.monotonic_ns())


def _look(page: MetricsPage, looks: list[Look], reasons: list[str], clock: Clock) -> Look | None:
    before_ns = clock.monotonic_ns()
    try:
        metrics, why_not = page.read()
    except NotAnswering as error:
        metrics, why_not = {}, f"the server did not answer at times: {error}"
    if why_not:
        reasons.append(why_not)
        return None
    look = Look((before_ns + clock.monotonic_ns()) // 2, metrics)
    looks.append(look)
    return look


def _watched(
    recording: Recording, looks: Sequence[Look], reasons: Sequence[str], slots: Slots | None = None
) -> Watched:
    from wattvlm.attribution import analyze

    found = served(looks)
    why_not = ""
    if found is not None:
        marks = [Mark(found.start_ns, "phase_start", name=WITH_WORK), Mark(found.end_ns, "phase_end", name=WITH_WORK)]
        seen = () if slots is None else slots.marks(found.end_ns)
        ordered = sorted([*recording.marks, *marks, *seen], key=lambda mark: mark.time_ns)
        recording = replace(recording, marks=tuple(ordered), notes=(*recording.notes, *reasons))
    elif reasons:
        why_not = reasons[-1]
    else:
        why_not = "the server had no work while it was watched. Cure: send it requests meanwhile, or watch longer"
    return Watched(analyze(recording), found, why_not)
