"""What watches model calls: one module of this package, or one entry point "wattvlm.runtimes", is one runtime.

A runtime observes and writes marks; it never changes what a call returns or raises, and after `uninstall` nothing of
it is left in the process. A module of this package offers its runtime under the name RUNTIME.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from wattvlm.plugins import own_modules, third_party
from wattvlm.trace import MarkSink

ENTRY_POINT_GROUP = "wattvlm.runtimes"

_ids = itertools.count(1)


@runtime_checkable
class Runtime(Protocol):
    """One way of running models, and how to see its calls."""

    @property
    def name(self) -> str:
        """The name in `call_start` marks."""
        ...

    def install(self, sink: MarkSink) -> None:
        """Begin to observe. Costs nothing where the runtime's package is not imported, and works from the moment it is.

        Installing again counts: it takes as many `uninstall` to end. The newest sink gets the marks.
        """
        ...

    def uninstall(self) -> None:
        """End observing: every patch and hook is gone, every open call is closed."""
        ...


@runtime_checkable
class WatchesModels(Protocol):
    """A runtime that can be told of one model, for `meter(model)`."""

    def watch(self, model: object) -> None:
        """Make bare calls of this model seen, whatever its class, until `uninstall`."""
        ...


@runtime_checkable
class Settles(Protocol):
    """A runtime that keeps some marks back: call it before a report is made in the middle of a block."""

    def settle(self) -> None:
        """Write every mark that is already known: device times, loops that may go on."""
        ...


@runtime_checkable
class HasWorkers(Protocol):
    """A runtime whose calls are done in part by worker processes, where nothing is to be seen a second time."""

    @property
    def worker_package(self) -> str:
        """The package whose functions such processes run; "" where there are none."""
        ...


def next_call_id() -> int:
    """A call id that no other call of this process has."""
    return next(_ids)


def own_runtimes() -> Iterator[Runtime]:
    """The runtimes of this package; reading no entry points, this costs a few milliseconds once."""
    for module in own_modules(__name__):
        runtime: object = getattr(module, "RUNTIME", None)
        if isinstance(runtime, Runtime):
            yield runtime


def third_party_runtimes() -> Iterator[tuple[str, Runtime | Exception]]:
    """(name, runtime) of each entry point, or why it cannot be used."""
    for name, loaded in third_party(ENTRY_POINT_GROUP):
        if isinstance(loaded, (Runtime, Exception)):
            yield name, loaded
        else:
            yield name, TypeError(f"{loaded!r} is not a runtime: it lacks name, install or uninstall")
