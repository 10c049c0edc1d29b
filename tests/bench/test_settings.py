"""A bench over power limits on a virtual GPU that obeys them, set and read through the real pynvml."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from wattvlm import bench
from wattvlm.bench import Cell
from wattvlm.bench.keeping import TO_GIVE_BACK
from wattvlm.cli import main
from wattvlm.runtimes import next_call_id
from wattvlm.sampling.sampler import shared_sampler
from wattvlm.sensing import ProbeSource
from wattvlm.steering import NotSteerable
from wattvlm.sweep import Setting
from wattvlm.testing import CappedChip, LoadFile, VirtualGpu, VirtualNvml, Work
from wattvlm.trace import Mark
from wattvlm.units import NS_PER_S

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(
        not VirtualNvml.available(), reason=VirtualNvml.available().why_not or "the virtual NVML can be built"
    ),
]

NVML = [ProbeSource("wattvlm.probes.nvml:PROBE")]
BOARD = "gpu-aaaa0000-0000-0000-0000-000000000000"
CHIP = CappedChip(static_w=150.0)
WORKS = Work("prefill", 30_000_000, 340.0, 0.1), Work("decode", 60_000_000, 280.0, 0.5)
IDLE_W = 60.0
LIMITS_W = (200.0, 240.0, 350.0)
DESIGN = bench.Design(
    models=("virtual",), power_limits_w=LIMITS_W, until_fraction=0.4, fewest_calls=8, most_calls=8, cool_down_ns=0,
    seed=1,
)  # fmt: skip


class ObedientSubject:
    """Calls whose phases take as long, and draw as much, as the chip does at what the library was set to."""

    def __init__(self, folder: Path, **facts: Any) -> None:
        self.load = LoadFile(folder / "gpu.load")
        self.load.append(0, IDLE_W)
        board = VirtualGpu(
            uuid="GPU-aaaa0000-0000-0000-0000-000000000000", load=self.load.path, idle_w=IDLE_W,
            counter_period_ns=20_000_000, **facts,
        )  # fmt: skip
        self.library = VirtualNvml(folder / "lib", [board])
        self.library.build()
        self.calls: list[tuple[str, Setting]] = []

    def call_of(self, cell: Cell, seed: int) -> Callable[[], Any]:
        def call() -> None:
            setting = Setting(*self.library.setting())
            self.calls.append((cell.name, setting))
            self._phases(setting)

        return call

    def _phases(self, setting: Setting) -> None:
        sampler, call_id = shared_sampler(NVML), next_call_id()
        sampler.mark(Mark(time.monotonic_ns(), "call_start", call_id, "virtual"))
        for phase in (CHIP.phase(work, setting) for work in WORKS):
            start_ns = time.monotonic_ns()
            self.load.append(start_ns, phase.power_w["gpu"])
            sampler.mark(Mark(start_ns, "phase_start", call_id, phase.name))
            time.sleep(phase.duration_ns / NS_PER_S)
            end_ns = time.monotonic_ns()
            self.load.append(end_ns, IDLE_W)
            sampler.mark(Mark(end_ns, "phase_end", call_id, phase.name))
            if phase.name == "prefill":
                sampler.mark(Mark(end_ns, "first_token", call_id))
        sampler.mark(Mark(time.monotonic_ns(), "call_end", call_id, "virtual", text="returned"))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("settings")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LD_LIBRARY_PATH", str(folder / "lib"))
        patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        subject = ObedientSubject(folder, limit_w=320.0)
        results = bench.run(DESIGN, folder / "results", subject=subject, probes=NVML)
    return folder / "results", results, subject


def test_each_cell_ran_at_its_own_limit_and_the_old_one_is_back(done):
    folder, results, subject = done
    assert results.missing == (), [each.failure for each in results.finished]
    assert {name: setting.power_limit_w for name, setting in subject.calls} == {
        f"virtual_1_batch1_out32_limit{limit_w:g}W": limit_w for limit_w in LIMITS_W
    }
    assert subject.library.setting() == (320.0, None)
    assert not (folder / TO_GIVE_BACK).exists()


def test_a_report_names_the_limit_of_its_cell_and_sees_no_change_of_it(done):
    for name, report in bench.reports(done[0]).items():
        assert f"limit{report.host.facts[f'{BOARD} limit_w']}W" in name
        assert not [note for note in report.notes if "power limit was changed" in note]


def test_joules_and_times_are_those_of_the_chip_at_each_limit(done):
    (found,) = bench.sweeps(done[0])
    assert [point.setting.power_limit_w for point in found.points] == [*LIMITS_W]
    for point in found.points:
        for work in WORKS:
            truth, seen = CHIP.phase(work, point.setting), point.phase(work.name)
            assert seen.seconds is not None
            assert seen.joules is not None
            assert seen.seconds.value >= truth.duration_ns / NS_PER_S
            assert seen.joules.value == pytest.approx(truth.power_w["gpu"] * seen.seconds.value, rel=0.1)


def test_the_true_best_limit_is_among_those_that_are_told(done):
    (found,) = bench.sweeps(done[0])
    joules = [CHIP.energy_j(WORKS, point.setting) for point in found.points]
    assert joules.index(min(joules)) in found.candidates


def test_a_folder_of_limits_is_compared_as_one_sweep_with_its_bounds(done):
    folder, _, _ = done
    shown = run("compare", folder, "--ttft-under", "60ms", "--json")
    assert shown.exit_code == 0, shown.output
    told = json.loads(shown.stdout)
    assert (told["kind"], told["ttft_under_s"]) == ("wattvlm sweep", 0.06)
    table = run("compare", folder)
    assert table.output.splitlines()[0] == "wattvlm sweep virtual_1_batch1_out32: 3 power limits"


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(main, [*map(str, arguments)], env={"COLUMNS": "100"})


def test_without_the_right_nothing_is_measured(tmp_path, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path / "lib"))
    subject = ObedientSubject(tmp_path, may_set=False)
    with pytest.raises(NotSteerable, match="this user may not set it"):
        bench.run(DESIGN, tmp_path / "results", subject=subject, probes=NVML)
    assert subject.calls == []
