"""Cells on the nodes of a Ray cluster: each alone on its node, begun again elsewhere where its worker was lost.

Ray places: an actor takes all CPUs and GPUs of one node, so that nothing else of Ray runs there meanwhile. Here is only
which cell is next. What programs outside of Ray do on a node, nobody keeps away; reports tell of it as ever.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from wattvlm import __version__
from wattvlm.bench.design import Cell, Design
from wattvlm.bench.keeping import TO_GIVE_BACK, Finished
from wattvlm.bench.ledger import Ledger
from wattvlm.bench.measuring import Measuring, Progress, Subject
from wattvlm.calibration import calibrations_folder
from wattvlm.errors import WattvlmError
from wattvlm.report import Report
from wattvlm.sensing import ProbeSource
from wattvlm.steering import steered

MOST_LOSSES = 3
"""A cell whose worker was lost so often has failed, and a node that lost so many workers is not asked again."""

_LOOK_EVERY_S = 2.0
"""How often nodes are looked for that came, or went, meanwhile."""

_GIVES_BACK_WITHIN_S = 30.0


class Worker:
    """What runs on a node: one cell after the other, and what its GPUs were set to is given back at the end."""

    def __init__(self, design: Design, subject: Subject, probes: Sequence[ProbeSource] | None) -> None:
        self._open = ExitStack()
        settings = design.settings()
        # Not in the results' folder, which is another machine's.
        to_give_back = calibrations_folder().with_name(TO_GIVE_BACK.lstrip("."))
        boards = self._open.enter_context(steered(settings, to_give_back)) if settings else None
        self._measuring = Measuring(design, subject, probes, _say_nothing, boards)

    def version(self) -> str:
        """Of the wattvlm that is installed on the node."""
        return __version__

    def measure(self, cell: Cell, limit_ns: int) -> tuple[Finished, Report | None]:
        """One cell, as on any machine."""
        return self._measuring.measure(cell, limit_ns)

    def end(self) -> None:
        """Give back limits and clocks."""
        self._open.close()


def _say_nothing(progress: Progress) -> None:
    """Steps inside a cell are not sent to the program that placed it."""


@dataclass(slots=True)
class Place:
    """A node with its worker: what is asked of it now (None before it answered), and what it measured last."""

    node: str
    actor: Any
    asked: Any
    cell: Cell | None = None
    last: Cell | None = None


def measure_on(address: str, ledger: Ledger, subject: Subject, probes: Sequence[ProbeSource] | None) -> None:
    """Measure what the ledger misses on the nodes of the cluster at "ray" or "ray://HOST:PORT".

    "ray" is the cluster that this machine is in (RAY_ADDRESS, or one that was started here), else one of its own that
    lasts as long as the run. WattvlmError where there is no Ray, or no node that could measure.
    """
    with connected(address) as ray:
        placing = Placing(ray, ledger, subject, probes)
        try:
            placing.run()
        finally:
            placing.end()


@contextmanager
def connected(address: str) -> Generator[Any, None, None]:
    """Ray's module, connected; the connection ends with the block, unless it was there before."""
    if address != "ray" and not address.startswith("ray://"):
        raise WattvlmError(
            f"{address} is no cluster. Cure: ray://HOST:10001, or ray for the one that this machine is in"
        )
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster that is started here tells nobody of itself
    try:
        ray: Any = import_module("ray")
    except ImportError as error:
        raise WattvlmError(f"Ray cannot be imported ({error}). Cure: pip install 'wattvlm[ray]'") from error
    was_connected = bool(ray.is_initialized())
    if not was_connected:
        try:
            ray.init(address if address != "ray" else None, log_to_driver=False, logging_level="warning")
        except Exception as error:  # a cluster may fail to answer in any way
            words = " ".join(str(error).split())[:300]
            raise WattvlmError(
                f"no Ray cluster answered at {address}: {words}. Cure: see `ray status` there"
            ) from error
    try:
        yield ray
    finally:
        if not was_connected:
            ray.shutdown()


def has_gpus(ray: Any) -> bool:
    """True where a node of the cluster has a GPU."""
    return any(node["Resources"].get("GPU", 0) for node in _living(ray))


def _living(ray: Any) -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


class Placing:
    """Which cell is measured on which node."""

    def __init__(self, ray: Any, ledger: Ledger, subject: Subject, probes: Sequence[ProbeSource] | None) -> None:
        self._ray = ray
        self._ledger = ledger
        self._what = (ledger.results.design, subject, probes)
        self.waiting = list(ledger.missing)
        self.places: dict[str, Place] = {}
        self._cell_losses: dict[str, int] = {}
        self._node_losses: dict[str, int] = {}
        self._why_not: dict[str, str] = {}
        needs_gpu = any(device.startswith("cuda") for device in self._what[0].devices)
        self._needs_gpu = needs_gpu or bool(self._what[0].settings())

    def run(self) -> None:
        """Until no cell waits and none is measured."""
        while self.waiting or any(place.cell for place in self.places.values()):
            self._start_places()
            asked = {place.asked: place for place in self.places.values() if place.asked is not None}
            if not asked:
                raise WattvlmError(self._nowhere())
            ready, _ = self._ray.wait(list(asked), num_returns=1, timeout=_LOOK_EVERY_S)
            for each in ready:
                self._answered(asked[each])
            for place in self.places.values():
                if place.asked is None:
                    self._ask(place)

    def _start_places(self) -> None:
        """A worker on each node that has none and may measure; it waits there until the whole node is free."""
        if not self.waiting:
            return
        for node in _living(self._ray):
            name, resources = node["NodeID"], node["Resources"]
            has_room = resources.get("GPU", 0) if self._needs_gpu else resources.get("CPU", 0)
            if name in self.places or name in self._why_not or not has_room:
                continue
            strategies = import_module("ray.util.scheduling_strategies")
            actor = self._ray.remote(Worker).options(
                num_cpus=resources.get("CPU", 0), num_gpus=resources.get("GPU", 0),
                scheduling_strategy=strategies.NodeAffinitySchedulingStrategy(name, soft=False),
            ).remote(*self._what)  # fmt: skip
            self.places[name] = Place(name, actor, actor.version.remote())

    def _answered(self, place: Place) -> None:
        """What a worker said: its version at first, then what a cell gave; or that it was lost."""
        cell, place.cell = place.cell, None
        try:
            answer = self._ray.get(place.asked)
        except self._ray.exceptions.RayError as error:
            self._lost(place, cell, error)
            return
        place.asked = None
        if cell is not None:
            place.last = cell
            self._ledger.ended(*answer)
        elif answer != __version__:
            self._give_up(place.node, f"wattvlm {answer} is installed there, and here {__version__}")

    def _ask(self, place: Place) -> None:
        """The next cell for an idle worker, if there is one for it."""
        cell = self.next_for(place)
        if cell is None:
            return
        self.waiting.remove(cell)
        limit_ns = self._ledger.share_ns(len(self.places))
        place.cell, place.asked = cell, place.actor.measure.remote(cell, limit_ns)
        self._ledger.begun(cell, limit_ns)

    def next_for(self, place: Place) -> Cell | None:
        """One of the sweep that the node began, else one whose model it has loaded, else the first.

        A sweep over limits or clocks stays on one node: two boards differ by more than their gains are known.
        """
        elsewhere = (other.cell or other.last for other in self.places.values() if other is not place)
        others = {cell.without_setting for cell in elsewhere if cell is not None}
        free = [cell for cell in self.waiting if not cell.setting or cell.without_setting not in others]
        last = place.last
        if last is None:
            return free[0] if free else None
        return min(free, key=lambda cell: (cell.without_setting != last.without_setting, cell.loading != last.loading),
                   default=None)  # fmt: skip

    def _lost(self, place: Place, cell: Cell | None, error: Exception) -> None:
        """A worker is gone: its cell waits again, and its node may have another one, as long as that makes sense."""
        words = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        del self.places[place.node]
        self._node_losses[place.node] = self._node_losses.get(place.node, 0) + 1
        if self._node_losses[place.node] >= MOST_LOSSES or (cell is None and place.last is None):
            self._why_not[place.node] = words
        if cell is None:
            return
        self._cell_losses[cell.name] = self._cell_losses.get(cell.name, 0) + 1
        if self._cell_losses[cell.name] < MOST_LOSSES:
            self.waiting.insert(0, cell)
        else:
            failure = f"its worker was lost {MOST_LOSSES} times, at last by {words}"
            self._ledger.ended(Finished(cell.name, "", 0, "failed", failure=failure), None)

    def _give_up(self, node: str, why: str) -> None:
        self._why_not[node] = why
        place = self.places.pop(node)
        self._ray.kill(place.actor)

    def _nowhere(self) -> str:
        what = "with a GPU " if self._needs_gpu else ""
        reasons = "; ".join(dict.fromkeys(self._why_not.values()))
        return (
            f"no node {what}of the cluster can measure{f': {reasons}' if reasons else ''}. What was measured is kept. "
            f"Cure: nodes {what}on which wattvlm {__version__} and the models are installed"
        )

    def end(self) -> None:
        """No worker any more, once each has given back what it set."""
        ends = [place.actor.end.remote() for place in self.places.values() if place.cell is None]
        if ends:
            self._ray.wait(ends, num_returns=len(ends), timeout=_GIVES_BACK_WITHIN_S)
        for place in self.places.values():
            self._ray.kill(place.actor)
