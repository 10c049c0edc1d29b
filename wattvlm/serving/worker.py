"""The worker: reads what an engine's requests did, meters the devices, and finds joules of requests window by window.

Its own process: analysis takes no time of the engine's, and what fails here ends here.
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from wattvlm.sampling.sampler import Sampler, shared_sampler, stop_shared_samplers
from wattvlm.sensing import ProbeSource
from wattvlm.serving.journal import Journal
from wattvlm.serving.requests import LATEST, Request, Requests, Window, block_of
from wattvlm.serving.settings import Engine, Settings
from wattvlm.trace import Mark
from wattvlm.units import NS_PER_S

if TYPE_CHECKING:
    from wattvlm.energy import Energy
    from wattvlm.recording import Recording
    from wattvlm.report import PartEnergy, Report
    from wattvlm.serving.asked import Asked
    from wattvlm.serving.histograms import Histograms
    from wattvlm.serving.spans import Spans

FEWEST_REQUESTS = 20
"""A window with fewer that were at work is made longer, up to so many times: rates need some work to be found."""

MOST_WINDOWS = 4

WINDOWS_TOGETHER = 4
"""So many are analysed together, for the joules of the latest: what one lacks, a quiet moment say, another may have."""

_LOOK_S = 0.25
_IDS = itertools.count(1)
_NICER = 5


class Worker:
    """Windows of one engine: lines come in by `take`, `look` makes the windows that are over, `end` the last one."""

    def __init__(self, settings: Settings, engine: Engine, sampler: Sampler, now_ns: int) -> None:
        self._settings = settings
        self._model = engine.model
        self._sampler = sampler
        self._requests = Requests(engine.full_at, now_ns, engine.ahead)
        self._joules: dict[int, dict[str, dict[str, Energy]]] = {}
        self._shared: dict[int, str] = {}
        self._windows: deque[Window] = deque(maxlen=WINDOWS_TOGETHER)
        self._blocks: deque[int] = deque()
        self._next_block(now_ns)

    def take(self, line: Mapping[str, Any]) -> None:
        """A line of the engine's side."""
        self._requests.add(line)

    def look(self, now_ns: int) -> Iterator[tuple[Window, Recording, list[dict[str, Any]]]]:
        """(window, its recording, lines) of the next window, where it is over."""
        window_ns = self._settings.window_ns
        if self._requests.is_ready(now_ns, window_ns):
            latest_ns = now_ns - 3 * NS_PER_S // 2
            few = self._requests.under_way_at(latest_ns) < FEWEST_REQUESTS
            if few and not self._requests.is_ready(now_ns, MOST_WINDOWS * window_ns):
                return
            yield self._made(latest_ns - window_ns // 4, latest_ns)

    def end(self) -> Iterator[tuple[Window, Recording, list[dict[str, Any]]]]:
        """The last window: up to the last that was told."""
        latest_ns = self._requests.latest_ns + 1
        self._sampler.wait_past(latest_ns, NS_PER_S)
        yield self._made(latest_ns, latest_ns)

    def _made(self, earliest_ns: int, latest_ns: int) -> tuple[Window, Recording, list[dict[str, Any]]]:
        from wattvlm.attribution import analyze

        window = self._requests.cut(earliest_ns, latest_ns)
        self._windows.append(window)
        start_ns = self._windows[0].start_ns
        recorded = self._sampler.recording(start_ns, window.end_ns, meter_id=self._blocks[0])
        self._next_block(window.end_ns)
        marks = block_of(self._windows, f"vLLM {self._model}")
        recording = replace(recorded, marks=tuple(marks)).with_calibrations()
        report = analyze(recording, share_by=self._settings.share_by)
        return window, recording, list(self._lines(window, report))

    def _next_block(self, start_ns: int) -> None:
        """Readings are needed from here on too; those before the windows that are looked at together may go."""
        self._blocks.append(next(_IDS))
        self._sampler.mark(Mark(start_ns, "block_start", self._blocks[-1]))
        if len(self._blocks) > WINDOWS_TOGETHER:
            self._sampler.mark(Mark(start_ns, "block_end", self._blocks[0]))
            self._sampler.forget(self._blocks.popleft())

    def _lines(self, window: Window, report: Report) -> Iterator[dict[str, Any]]:
        """Of each request that is over, and of the window."""
        by_work = any("split by what each did" in note for note in report.notes)
        inside: dict[str, float] = {}
        for call in report.calls:
            request = window.calls.get(call.call_id)
            if request is None:  # of a window before
                continue
            known = self._joules.setdefault(request.number, {})
            self._shared[request.number] = _shared(self._shared.get(request.number, ""), by_work, len(window.calls))
            for name, part in (("", call.total), *((each.name, each) for each in call.phases)):
                for domain, found in part.energies.items():
                    _add(known.setdefault(domain, {}), name, found)
            for domain, found in call.total.energies.items():
                inside[domain] = inside.get(domain, 0.0) + found.energy.middle_j
        for request in window.over:
            yield self._request(request)
        latest = next((part.energies for part in report.own_phases if part.name == LATEST), report.block.energies)
        blocks = {domain: found.energy for domain, found in latest.items()}
        yield {
            "kind": "window", "seconds": (window.end_ns - window.start_ns) / NS_PER_S, "requests": len(window.calls),
            "joules": {
                domain: {
                    "block_j": energy.middle_j, "beside_j": energy.middle_j - inside.get(domain, 0.0),
                    "method": energy.method,
                }
                for domain, energy in blocks.items()
            },
        }  # fmt: skip

    def _request(self, request: Request) -> dict[str, Any]:
        joules = self._joules.pop(request.number, {})
        return {
            "kind": "request", "id": request.name, "model": self._model, "parent": request.parent,
            "shared": self._shared.pop(request.number, ""), "share_by": self._settings.share_by,
            "arrived_s": _wall_s(request.arrived_ns), "ended_s": _wall_s(request.last_ns),
            "queue_s": _seconds(request.arrived_ns, request.scheduled_ns),
            "ttft_s": _seconds(request.arrived_ns, request.first_ns),
            "prompt": request.prompt, "visual": request.visual, "images": request.images, "cached": request.cached,
            "output": request.output, "preemptions": request.preemptions,
            "computed_again": sum(each.tokens or 0 for each in request.again),
            "joules": {domain: _plain(parts) for domain, parts in joules.items() if "" in parts},
        }  # fmt: skip


def _add(parts: dict[str, Energy], name: str, found: PartEnergy) -> None:
    if name and not found.stands_alone:
        return
    parts[name] = found.energy if name not in parts else parts[name] + found.energy


def _shared(before: str, by_work: bool, together: int) -> str:
    """How a request's joules were told from others', over its windows."""
    now = "by work" if by_work else "alone" if together == 1 else "by time"
    return now if before in ("", now, "alone") else "by time"


def _plain(parts: Mapping[str, Energy]) -> dict[str, Any]:
    whole = parts[""]
    return {
        "middle_j": whole.middle_j, "low_j": whole.interval_j[0], "high_j": whole.interval_j[1],
        "method": whole.method, "phases_j": {name: each.middle_j for name, each in parts.items() if name},
    }  # fmt: skip


def _wall_s(time_ns: int) -> float:
    return (time_ns + time.time_ns() - time.monotonic_ns()) / NS_PER_S


def _seconds(from_ns: int, to_ns: int) -> float | None:
    return (to_ns - from_ns) / NS_PER_S if to_ns >= from_ns else None


class Outlets:
    """Where joules go: the engine's side, the journal, answers by HTTP, OpenTelemetry. What fails is told once."""

    def __init__(self, settings: Settings) -> None:
        self.journal = Journal(settings.folder)
        self._told: set[str] = set()
        self._histograms: Histograms | None = None
        self._asked: Asked | None = None
        self._spans: Spans | None = None
        self._attempt(partial(self._open, settings))

    def _open(self, settings: Settings) -> None:
        if settings.port is not None:
            from prometheus_client import CollectorRegistry, generate_latest

            from wattvlm.serving.asked import Asked
            from wattvlm.serving.histograms import Histograms

            registry = CollectorRegistry()
            self._histograms = Histograms(registry)
            self._asked = Asked(settings.host, settings.port, self.journal.answer, lambda: generate_latest(registry))
        if settings.otlp:
            from wattvlm.serving.spans import Spans

            self._spans = Spans(settings.otlp)

    def give(self, recording: Recording, lines: Sequence[dict[str, Any]]) -> None:
        """The joules of a window."""
        for line in lines:
            self._attempt(partial(_write, line))
            if self._histograms is not None:
                getattr(self._histograms, line["kind"])(line)
            if line["kind"] == "request":
                self._attempt(partial(self.journal.request, line))
                if self._spans is not None:
                    self._attempt(partial(self._spans.request, line))
        self._attempt(partial(self.journal.window, recording))

    def _attempt(self, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception as error:
            self.tell(f"{type(error).__name__}: {error}. The other outlets go on")

    def tell(self, text: str) -> None:
        """A line for the server's log, once."""
        if text not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(text)
            _write({"kind": "trouble", "text": text})

    def close(self) -> None:
        """Nothing more comes."""
        if self._asked is not None:
            self._asked.close()
        if self._spans is not None:
            self._attempt(self._spans.close)


_MOST_TOLD = 100


def _write(line: Mapping[str, Any]) -> None:
    try:
        sys.stdout.write(f"{json.dumps(line)}\n")
        sys.stdout.flush()
    except (OSError, ValueError):  # the engine is gone; the journal is not
        return


def run(plan: Mapping[str, Any]) -> None:
    """The worker's life: until the engine's side closes its end."""
    os.nice(_NICER)
    settings = Settings.from_dict(plan["settings"])
    sources = None if settings.probes is None else [ProbeSource(target, given) for target, given in settings.probes]
    sampler = shared_sampler(sources)
    worker = Worker(settings, Engine(**plan["engine"]), sampler, time.monotonic_ns())
    outlets = Outlets(settings)
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    try:
        while _taken(worker, lines, outlets):
            for _, recording, found in worker.look(time.monotonic_ns()):
                outlets.give(recording, found)
        for _, recording, found in worker.end():
            outlets.give(recording, found)
    finally:
        outlets.close()
        stop_shared_samplers()


def _read(lines: queue.SimpleQueue[str | None]) -> None:
    for text in sys.stdin:
        lines.put(text)
    lines.put(None)


def _taken(worker: Worker, lines: queue.SimpleQueue[str | None], outlets: Outlets) -> bool:
    """Take the lines that have come, for a quarter of a second at least; False at their end."""
    until_s = time.monotonic() + _LOOK_S
    while (left_s := until_s - time.monotonic()) > 0:
        try:
            text = lines.get(timeout=left_s)
        except queue.Empty:
            return True
        if text is None:
            return False
        try:
            worker.take(json.loads(text))
        except Exception as error:
            outlets.tell(f"a line of the engine's side was not understood ({type(error).__name__}: {error})")
    return True
