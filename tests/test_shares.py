"""A program's part of a device's joules: a model, never in a total, and absent where it was not seen."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace

import pytest

import wattvlm
from tests.renderers.sample_reports import RAPL
from wattvlm.energy import Energy
from wattvlm.errors import NotResolved
from wattvlm.host import Host
from wattvlm.parts import ChannelUse, Part, PartEnergy, Seen
from wattvlm.report import Report
from wattvlm.sensing import Channel, ProbeSource
from wattvlm.testing import LoadFile, VirtualNvml
from wattvlm.trace import TokenCounts

S = 1_000_000_000
BOARD = Channel("gpu-0/board", "NVML energy counter", "H100", "gpu", "counter")
OTHER_BOARD = replace(BOARD, name="gpu-1/board")


def report(*seen, gpus=(BOARD,), method="measured"):
    """A block of 200 J of the CPU and 1,000 J of the GPUs."""
    of_cpu = PartEnergy(Energy(200.0, (198.0, 202.0), method, {"cpu-0": 10.0}), ("block",), True, (190.0, 210.0))
    of_gpu = PartEnergy(Energy(1000.0, (990.0, 1010.0), "measured"), ("block",), True, (980.0, 1020.0))
    block = Part("block", 0, 10.0 * S, {"gpu": of_gpu, "cpu": of_cpu})
    channels = tuple(ChannelUse(each, 100) for each in (*gpus, RAPL))
    return Report(
        1, Host(), channels, (), (), TokenCounts(), None, None, block, Part("outside calls", 0, 0.0), conditions=seen
    )


def cpu_times(own_s, all_s):
    """Sums of CPU time that rose by so much in the block."""
    return (
        Seen("cpu", "cpu_time_ns", 10, 500.0 * S, 0.0, (500.0 + all_s) * S),
        Seen("cpu", "cpu_time_ns", 10, 20.0 * S, 0.0, (20.0 + own_s) * S, 42, "python", True),
    )


def busy(mean, pid, is_own, device="gpu-0", looks=10):
    return Seen(device, "busy_fraction", looks, 0.0, mean, 1.0, pid, "", is_own)


def test_a_program_with_a_quarter_of_the_cpu_time_has_a_quarter_of_the_joules_as_a_model():
    share = report(*cpu_times(own_s=5.0, all_s=20.0)).process_share("cpu")
    assert float(share) == pytest.approx(50.0)
    assert share.is_modelled
    assert share.gain_j == pytest.approx(2.5)
    low_j, high_j = share.interval_j
    assert 198.0 * 0.249 <= low_j <= 49.5
    assert 50.5 <= high_j <= 202.0 * 0.251


def test_a_share_never_touches_the_measured_joules():
    plain, told = report(), report(*cpu_times(5.0, 20.0))
    told.process_share("cpu")
    assert float(told.joules("block", ("cpu",))) == float(plain.joules("block", ("cpu",))) == 200.0
    assert not told.joules("block", ("cpu",)).is_modelled


def test_a_program_alone_has_no_more_than_everything():
    share = report(*cpu_times(own_s=20.5, all_s=20.0)).process_share("cpu")
    assert share.interval_j[1] == pytest.approx(202.0)


@pytest.mark.parametrize("seen", [(), cpu_times(0.05, 0.1), cpu_times(5.0, 20.0)[:1]])
def test_cpu_time_that_was_not_seen_or_only_for_a_moment_gives_no_share(seen):
    with pytest.raises(NotResolved, match="Cure: meter a block of two seconds"):
        report(*seen).process_share("cpu")


def test_no_share_is_taken_of_a_model():
    with pytest.raises(NotResolved, match="nothing to share out"):
        report(*cpu_times(5.0, 20.0), method="modelled").process_share("cpu")


def test_the_share_of_memory_is_unknown_and_says_so():
    with pytest.raises(NotResolved, match="ram"):
        report(*cpu_times(5.0, 20.0)).process_share("ram")


def test_a_program_has_its_part_of_all_sm_time_and_not_of_the_time_the_gpu_was_quiet():
    share = report(busy(0.3, 42, True), busy(0.1, 77, False)).process_share("gpu")
    assert float(share) == pytest.approx(750.0, rel=0.02)
    assert share.is_modelled


def test_a_process_that_was_seen_in_few_looks_did_nothing_in_the_others():
    share = report(busy(0.4, 42, True), busy(0.4, 77, False, looks=5)).process_share("gpu")
    assert float(share) == pytest.approx(1000.0 * 2 / 3, rel=0.02)


def test_in_a_container_one_process_is_the_program_and_of_two_nobody_knows():
    assert float(report(busy(0.4, 7001, None)).process_share("gpu")) == pytest.approx(1000.0, rel=0.02)
    with pytest.raises(NotResolved, match="--pid=host"):
        report(busy(0.4, 7001, None), busy(0.1, 7002, None)).process_share("gpu")


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ((), "driver did not tell"),
        ((busy(0.0, 42, True),), "driver did not tell"),
        ((busy(0.4, 42, True), Seen("gpu-0", "shared_by_server", 10, 1.0, 1.0, 1.0, 9)), "MPS"),
    ],
)
def test_a_gpu_whose_users_cannot_be_told_apart_gives_no_share(seen, words):
    with pytest.raises(NotResolved, match=words):
        report(*seen).process_share("gpu")


def test_boards_of_which_the_program_has_unlike_parts_give_no_share_and_alike_ones_do():
    both = {"gpus": (BOARD, OTHER_BOARD)}
    alone = (busy(0.4, 42, True), busy(0.4, 42, True, "gpu-1"))
    assert float(report(*alone, **both).process_share("gpu")) == pytest.approx(1000.0, rel=0.02)
    with pytest.raises(NotResolved, match="CUDA_VISIBLE_DEVICES"):
        report(*alone, busy(0.4, 77, False, "gpu-1"), **both).process_share("gpu")


BUSY = "import time\nwhile time.process_time() < 1.0: pass\nprint('ran', flush=True)\ninput()"


def test_a_busy_worker_is_counted_with_the_program_also_in_the_saved_recording(tmp_path):
    load = LoadFile(tmp_path / "cpu.load")
    load.append(0, 100.0)
    sensor = {"name": "cpu-0/package", "domain": "cpu", "period_ns": S // 1000, "sensor": "RAPL package-0"}
    package = ProbeSource("wattvlm.probes.virtual:VirtualProbe", {"load_path": str(load.path), "sensors": [sensor]})
    worker = subprocess.Popen(
        [sys.executable, "-c", f"input()\n{BUSY}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    with wattvlm.meter(probes=[package]) as m:
        worker.stdin.write("\n")
        worker.stdin.flush()
        assert worker.stdout.readline() == "ran\n"
        time.sleep(1.5)  # until the next look
    worker.communicate("\n")
    (own,) = (each for each in m.report.conditions if each.quantity == "cpu_time_ns" and each.is_own)
    assert own.most - own.least >= 0.7 * S
    share = m.report.process_share("cpu")
    assert share.is_modelled
    assert 0.0 < float(share) <= float(m.report.joules("block", ("cpu",)))
    m.recording.save(tmp_path / "run.json")
    replayed = wattvlm.analyze(wattvlm.Recording.load(tmp_path / "run.json"))
    assert float(replayed.process_share("cpu")) == pytest.approx(float(share))
    assert "% of its CPU time)" in " ".join(str(wattvlm.render(replayed, "console", width=120)).split())
    assert "of its CPU time" not in str(wattvlm.render(replayed, "console", width=80))


GPU_PROGRAM = """
import json, os, sys, time
from pathlib import Path
import wattvlm
from wattvlm.testing.nvml_library import VirtualGpu, VirtualNvml, VirtualProcess

processes = VirtualProcess(os.getpid(), 0.3), VirtualProcess(1, 0.1)
library = VirtualNvml(Path(sys.argv[1]), [VirtualGpu(idle_w=100.0, processes=processes)])
library.build()
os.environ.update(library.environment())
with wattvlm.meter():  # until its sensors have started
    time.sleep(1)
with wattvlm.meter() as m:
    time.sleep(3)
share, whole = m.report.process_share("gpu"), m.report.block.energies["gpu"].energy
print(json.dumps([float(share), float(whole), share.is_modelled, whole.is_modelled]))
"""


@pytest.mark.skipif(not VirtualNvml.available(), reason=VirtualNvml.available().why_not or "it can be built")
def test_a_program_beside_another_on_a_gpu_has_its_part_of_the_sm_time_that_the_driver_tells(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", GPU_PROGRAM, str(tmp_path / "nvml")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    share_j, whole_j, share_is_modelled, whole_is_modelled = json.loads(done.stdout)
    assert share_j == pytest.approx(0.75 * whole_j, rel=0.05)
    assert (share_is_modelled, whole_is_modelled) == (True, False)
