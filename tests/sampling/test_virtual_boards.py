"""The whole way from NVML's C interface to a report's line: state of the boards, and what may go wrong with them."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from tests.sampling.simulated import Kept
from tests.sampling.virtual_boards import BOARD, UUID, Bench, S
from wattvlm.sampling.schedule import PowerPlan
from wattvlm.sensing import Channel, PowerReading
from wattvlm.testing.nvml_library import HEAT, VirtualGpu, VirtualNvml, VirtualProcess

pytestmark = pytest.mark.skipif(
    not VirtualNvml.available(), reason=VirtualNvml.available().why_not or "the virtual NVML can be built"
)


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path / "lib"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return Bench(tmp_path)


def board(bench, **facts):
    return VirtualGpu(uuid=UUID, load=bench.load, **facts)


def own(sm_fraction=0.9):
    return VirtualProcess(os.getpid(), sm_fraction, "python")


def notes(report):
    return [note for note in report.notes if note.startswith(f"{BOARD}: ")]


def test_a_normal_run_on_a_board_of_its_own_has_nothing_to_say(bench):
    bench.build(board(bench, processes=(own(),)))
    run = bench.run()
    report = run.report
    assert notes(report) == []
    assert run.is_inside_bounds
    seen = {(each.quantity, each.pid): each for each in report.conditions}
    assert seen["core_clock_hz", 0].most == 1.755e9
    assert seen["temperature_celsius", 0].mean == 45.0
    assert seen["power_limit_w", 0].mean == 350.0
    assert seen["process", os.getpid()].is_own
    assert seen["busy_fraction", os.getpid()].mean == pytest.approx(0.9)
    assert report.host.facts[f"{BOARD} persistence"] == "on"


def test_heat_a_changed_limit_and_another_process_are_told(bench):
    now_ns = time.monotonic_ns()
    bench.build(
        board(
            bench, processes=(own(), VirtualProcess(1, 0.4, "train")), reasons=((now_ns, now_ns + 60 * S, HEAT),),
            limit_changes_at_ns=now_ns + 3 * S, later_limit_w=250.0, celsius=91.0,
        )
    )  # fmt: skip
    report = bench.run(calls=4).report
    said = "\n".join(notes(report))
    assert "lowered by heat during 4 of 4 calls (at up to 91 °C)" in said
    assert "from 350 W to 250 W" in said
    assert "pid 1 " in said or "cannot be told" in said


def test_a_board_that_tells_nothing_of_its_state_gives_its_joules_all_the_same(bench):
    bench.build(board(bench, has_conditions=False))
    run = bench.run(calls=1)
    report = run.report
    assert run.is_inside_bounds
    told = {each.quantity for each in report.conditions if each.device.startswith("gpu")}
    assert told <= {"power_limit_w"}


def test_an_mps_server_is_told(bench):
    bench.build(board(bench, processes=(own(), VirtualProcess(2, 0.0, "nvidia-cuda-mps-server"))))
    report = bench.run(calls=1).report
    assert any("MPS" in note for note in notes(report))


@pytest.mark.parametrize("period_ms", [100, 20])
def test_a_driver_that_buffers_its_power_loses_no_sample_and_gives_none_twice(bench, period_ms):
    bench.build(board(bench, has_counter=False, has_samples=True, power_period_ns=period_ms * 1_000_000))
    run = bench.run(calls=2)
    use = next(use for use in run.report.channels if use.in_totals)
    assert use.channel.sensor == "NVML power samples"
    gaps_ms = np.diff(run.recording.readings[use.channel.name].time_ns) / 1e6
    assert gaps_ms == pytest.approx(period_ms, abs=0.01)
    assert run.is_inside_bounds


def test_a_buffer_that_was_overwritten_while_the_machine_slept_is_a_gap():
    kept = Kept()
    channel = Channel("gpu-0/board", "samples", "virtual", "gpu", "power")
    plan = PowerPlan(channel, 0, kept)
    for first_ns in (0, S, 60 * S):
        readings = [PowerReading(channel.name, first_ns + number * S // 10, 0, 100.0) for number in range(10)]
        assert len(plan.saw(first_ns + S, first_ns + S, readings)) == 10
    ((_, from_ns, to_ns, why),) = kept.gaps
    assert (from_ns, to_ns) == (S + 9 * S // 10, 60 * S)
    assert "overwritten" in why
