"""Limits and clocks of virtual GPUs, set through the real pynvml, and given back however the program ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from wattvlm.steering import NotSteerable, steered
from wattvlm.sweep import Setting
from wattvlm.testing import VirtualGpu, VirtualNvml
from wattvlm.testing.nvml_library import VirtualProcess

pytestmark = pytest.mark.skipif(
    not VirtualNvml.available(), reason=VirtualNvml.available().why_not or "the virtual NVML can be built"
)

LOW = Setting(power_limit_w=250.0)
SLOW = Setting(core_clock_hz=1245e6)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., VirtualNvml]:
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path / "lib"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def make(*gpus: VirtualGpu) -> VirtualNvml:
        library = VirtualNvml(tmp_path / "lib", gpus or (VirtualGpu(),))
        library.build()
        return library

    return make


def test_a_limit_holds_inside_the_block_and_the_old_one_after_it(build, tmp_path):
    library = build(VirtualGpu(limit_w=320.0), VirtualGpu(uuid="GPU-1"))
    with steered([LOW, SLOW], tmp_path / "kept.json") as boards:
        assert set(boards.set(LOW).values()) == {250.0}
        assert [library.setting(index)[0] for index in (0, 1)] == [250.0, 250.0]
        assert (tmp_path / "kept.json").is_file()
        boards.set(SLOW)
        assert library.setting() == (250.0, 1245e6)
    assert [library.setting(index) for index in (0, 1)] == [(320.0, None), (350.0, None)]
    assert not (tmp_path / "kept.json").exists()


def test_what_a_block_raises_gives_the_limit_back_too(build):
    library = build()
    with pytest.raises(KeyboardInterrupt):
        raise_in_block(None)
    assert library.setting() == (350.0, None)


def raise_in_block(file: Path | None) -> None:
    with steered([LOW], file) as boards:
        boards.set(LOW)
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("gpu", "setting", "why"),
    [
        (VirtualGpu(may_set=False), LOW, "this user may not set it. Cure: run as root"),
        (VirtualGpu(may_set=False), SLOW, "this user may not set it. Cure: run as root"),
        (VirtualGpu(), Setting(power_limit_w=150.0), "takes limits from 200 to 350 W, not 150 W"),
        (VirtualGpu(), Setting(core_clock_hz=1250e6), "no clock of 1250 MHz. Cure: the nearest, 1245 for 1250"),
        (VirtualGpu(clocks_hz=()), SLOW, "does not tell which clocks it supports"),
        (VirtualGpu(instances=("MIG-1",)), LOW, "cut into MIG instances"),
        (VirtualGpu(processes=(VirtualProcess(1),)), LOW, r"used by another process \(pid 1\)"),
        (VirtualGpu(processes=(VirtualProcess(2**22 + 1),)), LOW, "used by another process"),
    ],
)  # fmt: skip
def test_what_may_not_be_set_is_said_before_anything_is(build, gpu, setting, why):
    library = build(gpu)
    with pytest.raises(NotSteerable, match=why), steered([setting]):
        raise AssertionError("it was not refused")
    assert library.setting() == (350.0, None)


def test_the_program_itself_may_compute_on_its_gpu(build):
    library = build(VirtualGpu(processes=(VirtualProcess(os.getpid()),)))
    with steered([LOW]) as boards:
        boards.set(LOW)
        assert library.setting()[0] == 250.0


def test_somebody_who_comes_later_gets_the_old_limit_back_and_this_program_no_other(build):
    arrives_ns = time.monotonic_ns() + 3 * 10**9
    library = build(VirtualGpu(processes=(VirtualProcess(1, from_ns=arrives_ns),)))
    with steered([LOW]) as boards:
        boards.set(LOW)
        while time.monotonic_ns() <= arrives_ns:
            time.sleep(0.05)
        with pytest.raises(NotSteerable, match="used by another process"):
            boards.set(LOW)
        assert library.setting()[0] == 350.0


def test_without_a_gpu_it_is_said(build):
    VirtualNvml(build().folder, (), driver_loaded=False).build()
    with (
        pytest.raises(NotSteerable, match=r"NVML did not start: .*Cure: a machine with an NVIDIA driver"),
        steered([LOW]),
    ):
        raise AssertionError("it was not refused")


PROGRAM = """
import sys, time
from pathlib import Path
from wattvlm.steering import steered
from wattvlm.sweep import Setting
low = Setting(power_limit_w=250.0, core_clock_hz=1245e6)
with steered([low], Path(sys.argv[1])) as boards:
    boards.set(low)
    print(boards.guardian, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_program_that_is_killed_leaves_its_gpu_as_it_was(build, tmp_path, number):
    library = build()
    with killed(tmp_path) as (running, _):
        assert library.setting() == (250.0, 1245e6)
        running.send_signal(number)
    assert until(lambda: library.setting() == (350.0, None))
    assert until(lambda: not (tmp_path / "kept.json").exists())


def test_a_guardian_that_is_killed_first_is_followed_by_another(build, tmp_path):
    library = build()
    with steered([LOW], tmp_path / "kept.json") as boards:
        boards.set(LOW)
        os.kill(boards.guardian, signal.SIGKILL)
        with pytest.raises(NotSteerable, match="has ended by itself"):
            boards.set(LOW)
        assert library.setting() == (250.0, None)
    assert library.setting() == (350.0, None)
    assert not (tmp_path / "kept.json").exists()


def test_where_both_are_killed_the_next_run_gives_back_what_they_left(build, tmp_path):
    library = build()
    with killed(tmp_path) as (running, guardian):
        os.kill(guardian, signal.SIGSTOP)  # as when a job's whole group is killed: nobody may act in between
        running.kill()
        os.kill(guardian, signal.SIGKILL)
    assert library.setting() == (250.0, 1245e6)
    with steered([LOW], tmp_path / "kept.json"):
        assert library.setting() == (350.0, None)
    assert library.setting() == (350.0, None)


class killed:
    """A program that has set limits, and its guardian's pid; nothing of it is left afterwards."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-c", PROGRAM, str(folder / "kept.json")]
        self._running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def __enter__(self) -> tuple[subprocess.Popen[bytes], int]:
        assert self._running.stdout is not None
        return self._running, int(self._running.stdout.readline())

    def __exit__(self, *_: object) -> None:
        self._running.communicate(timeout=60)


def until(happens: Callable[[], bool], within_s: float = 20.0) -> bool:
    end = time.monotonic() + within_s
    while not happens() and time.monotonic() < end:
        time.sleep(0.02)
    return happens()
