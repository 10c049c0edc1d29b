"""The life of a runtime that wraps functions of libraries: installed and counted, patched on arrival, restored."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from wattvlm.runtimes._arriving import Arrivals
from wattvlm.runtimes._patching import Patches
from wattvlm.trace import Mark, MarkSink


class Watching:
    """What the wraps of one runtime need while it is installed.

    patches: where functions are replaced. on_settle: called before a report is made. on_end: called when the runtime
    is uninstalled, before the patches go. shared: what the wraps of several libraries have in common until then.
    is_open: whether calls are observed; a wrap that someone kept passes on.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.patches = Patches()
        self.on_settle: list[Callable[[], None]] = []
        self.on_end: list[Callable[[], None]] = []
        self.shared: object = None
        self.is_open = False
        self._newest_sink: MarkSink | None = None
        self._told: set[str] = set()

    def begin(self, sink: MarkSink) -> None:
        """Marks go to this sink from now on."""
        self._newest_sink = sink
        self.is_open = True

    def end(self) -> None:
        """Put everything back. The sink stays: what is found out after the block still belongs to it."""
        self.is_open = False
        self.patches.restore()
        self.on_settle.clear()
        self.on_end.clear()
        self.shared = None
        self._told.clear()

    def sink(self, /, *marks: Mark) -> None:
        """Write marks to the newest sink."""
        if self._newest_sink is not None:
            self._newest_sink(*marks)

    def note(self, text: str, call_id: int = 0) -> None:
        """A line for the report: of a call, for the reports that have it; of none, once while we are installed."""
        if call_id or text not in self._told:
            self._told.add(text)
            self.sink(Mark(time.monotonic_ns(), "note", call_id, text=text))

    def fault(self, where: str, error: BaseException) -> None:
        """Something of ours failed: a line for the report, nothing for the user's call."""
        self.note(
            f"{self.name}: {where} failed ({type(error).__name__}: {error}); calls may lack phases or counts. "
            "Cure: mark them with m.phase() and m.tokens(), and report this line with the library's version"
        )

    def call_each(self, actions: list[Callable[[], None]]) -> None:
        """Call them all, whatever one of them raises."""
        for action in list(actions):
            try:
                action()
            except Exception as error:
                self.fault("finding out what ran", error)


Watch = Callable[[Any, Watching], None]


class LibraryRuntime:
    """A runtime that wraps functions of libraries from the moment that they are imported; before, it costs nothing.

    wanted: module name -> what wraps its functions, by `watching.patches`; called right after the import.
    worker_package: whose functions run in processes that do a part of the calls that are seen here.
    """

    def __init__(self, name: str, wanted: Mapping[str, Watch], worker_package: str = "") -> None:
        self.worker_package = worker_package
        self._name = name
        self._wanted = dict(wanted)
        self._lock = threading.RLock()
        self._installed = 0
        self._watching = Watching(name)
        self._arrivals: Arrivals | None = None

    @property
    def name(self) -> str:
        return self._name

    def install(self, sink: MarkSink) -> None:
        with self._lock:
            self._watching.begin(sink)
            self._installed += 1
            if self._installed == 1:
                self._arrivals = Arrivals({name: self._told_of(watch) for name, watch in self._wanted.items()})
                self._arrivals.start()

    def uninstall(self) -> None:
        with self._lock:
            self._installed = max(0, self._installed - 1)
            if self._installed:
                return
            if self._arrivals is not None:
                self._arrivals.stop()
            self._watching.call_each(self._watching.on_end)
            self._watching.end()

    def settle(self) -> None:
        self._watching.call_each(self._watching.on_settle)

    def _told_of(self, watch: Watch) -> Callable[[ModuleType], None]:
        def arrived(module: ModuleType) -> None:
            try:
                watch(module, self._watching)
            except Exception as error:  # a version that lacks what is wrapped loses that view, nothing else
                self._watching.fault(f"watching {module.__name__}", error)

        return arrived
