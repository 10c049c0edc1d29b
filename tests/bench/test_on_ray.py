"""Cells on a Ray cluster of three nodes, all on this machine: each alone on a node, and begun again where one is lost.

Ray is 240 MB and a cluster takes half a minute, so it is not in the extras of the whole suite.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import pytest

from wattvlm import bench
from wattvlm.bench import Cell
from wattvlm.bench.running import Progress
from wattvlm.errors import WattvlmError
from wattvlm.runtimes import next_call_id
from wattvlm.sampling.sampler import shared_sampler
from wattvlm.testing import VirtualGpu, VirtualNvml
from wattvlm.trace import Mark

ray: Any = pytest.importorskip("ray", reason="needs the extra wattvlm[ray], 240 MB, which `all` has not")

DESIGN = bench.Design(
    models=("one", "two"), output_tokens=(1, 2, 3), fewest_calls=3, most_calls=3, cool_down_ns=0, seed=1
)


class NotedSubject:
    """Calls that take a moment, and a line in a file for each: which process and node made it, and when."""

    def __init__(self, folder: Path, lost: tuple[str, ...] = (), always: bool = False) -> None:
        self.folder = folder
        self.lost = lost
        self.always = always
        self.call_id = 0

    def call_of(self, cell: Cell, seed: int) -> Callable[[], Any]:
        def call() -> None:
            begin_ns = time.monotonic_ns()
            self._mark("call_start")
            if cell.name in self.lost and self._is_first(cell):
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.02)
            node = ray.get_runtime_context().get_node_id()
            self._note(f"{node} {os.getpid()} {cell.name} {begin_ns} {time.monotonic_ns()}\n")
            self._mark("call_end")

        return call

    def _mark(self, kind: Literal["call_start", "call_end"]) -> None:
        if kind == "call_start":
            self.call_id = next_call_id()
        shared_sampler([]).mark(Mark(time.monotonic_ns(), kind, self.call_id, "virtual", text="returned"))

    def _is_first(self, cell: Cell) -> bool:
        try:
            (self.folder / f"lost-{cell.name}").touch(exist_ok=self.always)
        except FileExistsError:
            return False
        return True

    def _note(self, line: str) -> None:
        descriptor = os.open(self.folder / "calls", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(descriptor, line.encode())
        os.close(descriptor)

    def calls(self) -> list[tuple[str, str, int, int]]:
        """(node, cell, begin, end) of each call."""
        lines = (self.folder / "calls").read_text().splitlines()
        words = [line.split() for line in lines]
        return [(node, name, int(begin), int(end)) for node, _, name, begin, end in words]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> VirtualNvml:
    library = VirtualNvml(tmp_path_factory.mktemp("nvml"), [VirtualGpu(limit_w=320.0)])
    if VirtualNvml.available():
        library.build()
    return library


@pytest.fixture(scope="module")
def cluster(library: VirtualNvml, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("LD_LIBRARY_PATH", str(library.folder))
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield from started()


def started() -> Iterator[Any]:
    utilities: Any = __import__("ray.cluster_utils", fromlist=["Cluster"])
    cluster = utilities.Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    cluster.add_node(num_cpus=2)
    cluster.add_node(num_cpus=2, num_gpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture(scope="module")
def done(
    cluster: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, bench.Results, NotedSubject, list[Progress]]:
    """A bench on two nodes; the worker of one cell is killed when it measures that one for the first time."""
    folder = tmp_path_factory.mktemp("cluster")
    subject, told = NotedSubject(folder, lost=("two_1_batch1_out2",)), list[Progress]()
    results = bench.run(DESIGN, folder / "results", subject=subject, probes=[], tell=told.append, on="ray")
    return folder / "results", results, subject, told


def test_the_results_are_the_files_of_any_bench(done):
    folder, results, _, told = done
    assert results.missing == ()
    found = bench.reports(folder)
    assert sorted(found) == sorted(results.order)
    assert {len(report.calls) for report in found.values()} == {3}
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [".lock", "bench.json", *(f"{name}.json.gz" for name in results.order)]
    )
    assert [each.done for each in told if each.finished is not None] == [1, 2, 3, 4, 5, 6]


def test_a_cell_is_alone_on_its_node(done):
    _, _, subject, _ = done
    calls = sorted(subject.calls(), key=lambda call: call[2])
    assert len({node for node, *_ in calls}) == 2
    for node in {node for node, *_ in calls}:
        own = [call for call in calls if call[0] == node]
        assert all(before[3] <= after[2] for before, after in pairwise(own))
        assert len({name for _, name, *_ in own}) == sum(before[1] != after[1] for before, after in pairwise(own)) + 1


def test_a_cell_whose_worker_was_lost_was_begun_again(done):
    _, results, subject, _ = done
    assert (subject.folder / "lost-two_1_batch1_out2").exists()
    assert results.of("two_1_batch1_out2").calls == 3


def test_what_is_finished_is_not_measured_again(done):
    folder, results, subject, _ = done
    before = subject.calls()
    assert bench.run(DESIGN, folder, subject=subject, probes=[], on="ray") == results
    assert subject.calls() == before


def test_a_cell_that_kills_every_worker_fails_and_the_others_do_not(cluster, tmp_path):
    subject = NotedSubject(tmp_path, lost=("two_1_batch1_out1",), always=True)
    design = bench.Design(models=("one", "two"), output_tokens=(1,), fewest_calls=2, most_calls=2, cool_down_ns=0)
    results = bench.run(design, tmp_path / "results", subject=subject, probes=[], on="ray")
    assert results.missing == ("two_1_batch1_out1",)
    assert "its worker was lost 3 times" in results.of("two_1_batch1_out1").failure


class SteeredSubject(NotedSubject):
    """The same, and the limit of the virtual GPU at each call in the place of the cell's name."""

    def __init__(self, folder: Path, library: VirtualNvml, lost: tuple[str, ...]) -> None:
        super().__init__(folder, lost)
        self.library = library

    def _note(self, line: str) -> None:
        node, pid, name, *times = line.split()
        super()._note(" ".join([node, pid, f"{name}@{self.library.setting()[0]:g}W", *times]) + "\n")


@pytest.mark.skipif(not VirtualNvml.available(), reason=VirtualNvml.available().why_not or "it can be built")
def test_limits_are_set_on_the_node_with_the_gpu_and_given_back_also_by_a_worker_that_is_lost(
    cluster, library, tmp_path
):
    lost = "one_1_batch1_out32_limit250W"
    subject = SteeredSubject(tmp_path, library, lost=(lost,))
    design = bench.Design(
        models=("one",), power_limits_w=(210.0, 250.0), fewest_calls=2, most_calls=2, cool_down_ns=0
    )  # fmt: skip
    results = bench.run(design, tmp_path / "results", subject=subject, probes=[], on="ray")
    assert results.missing == ()
    assert (tmp_path / f"lost-{lost}").exists()
    assert {name for _, name, *_ in subject.calls()} == {
        "one_1_batch1_out32_limit210W@210W", "one_1_batch1_out32_limit250W@250W"
    }  # fmt: skip
    assert len({node for node, *_ in subject.calls()}) == 1
    assert library.setting() == (320.0, None)


def test_another_address_is_no_cluster(tmp_path):
    with pytest.raises(WattvlmError, match="Cure: ray://HOST:10001"):
        bench.run(DESIGN, tmp_path / "results", subject=NotedSubject(tmp_path), probes=[], on="slurm://here")
