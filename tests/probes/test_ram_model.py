"""The memory's modelled power: how many DIMMs are guessed, at how many watts, for which share."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattvlm.errors import ProbeLost, ProbeUnavailable
from wattvlm.probes.ram_model import RamModelProbe, dimm_count, dimms_power_w
from wattvlm.sensing import Channel

ROOT = Path(__file__).parents[2]
HAS_CODECARBON = importlib.util.find_spec("codecarbon") is not None


def machine(root: Path, size_gib: float, groups: str = "0::/\n") -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(f"MemTotal:       {int(size_gib * 2**20)} kB\nMemFree:        1 kB\n")
    (root / "proc/self/cgroup").write_text(groups)
    return root


def opened(probe: RamModelProbe) -> tuple[Channel, float]:
    """The probe's channel and the watts that it reads."""
    (channel,) = probe.open().channels
    (reading,) = probe.read(channel)
    assert reading.channel == channel.name
    return channel, reading.power_w


def test_memory_of_24_gb_is_modelled_as_four_dimms_and_says_that_this_is_a_guess(tmp_path: Path) -> None:
    channel, power_w = opened(RamModelProbe(machine(tmp_path, 23.54), machine="x86_64", dimm_w=5.0))
    assert channel.sensor == "4 DIMMs x 5 W (guessed from 24 GB)"
    assert (channel.name, channel.domain, channel.method) == ("ram/model", "ram", "model")
    assert channel.gain_std_fraction * 1.96 >= 0.5
    assert power_w == pytest.approx(20.0)
    assert channel.max_power_w == pytest.approx(20.0)


@pytest.mark.parametrize(
    ("size_gib", "dimms", "power_w"),
    [(1, 2, 10.0), (16, 2, 10.0), (32, 4, 20.0), (64, 4, 20.0), (128, 8, 38.0), (256, 8, 38.0), (504, 16, 70.0),
     (1024, 8, 38.0), (1536, 12, 54.0), (4096, 32, 126.0), (10_000, 32, 126.0)],
)  # fmt: skip
def test_more_memory_means_more_dimms_and_each_further_dimm_counts_for_less(
    size_gib: float, dimms: int, power_w: float
) -> None:
    assert dimm_count(size_gib) == dimms
    assert dimms_power_w(dimms, 5.0) == pytest.approx(power_w)


@pytest.mark.skipif(not HAS_CODECARBON, reason="codecarbon is not installed")
@given(size_gib=st.floats(0.25, 5000.0))
def test_the_model_gives_what_codecarbon_itself_gives(size_gib: float) -> None:
    from codecarbon.external.ram import RAM

    theirs = RAM(tracking_mode="machine")
    theirs.is_arm_cpu = False
    assert dimms_power_w(dimm_count(size_gib), 5.0) == pytest.approx(theirs._calculate_ram_power(size_gib))


@pytest.mark.skipif(not HAS_CODECARBON, reason="codecarbon is not installed")
def test_codecarbons_constant_is_read_and_codecarbon_is_not_imported(tmp_path: Path) -> None:
    program = (
        "import sys; from wattvlm.probes.ram_model import PROBE; "
        f"channel = PROBE({str(machine(tmp_path, 16))!r}, machine='x86_64').open().channels[0]; "
        "print(channel.source['power']); "
        "print([name for name in ('codecarbon', 'pandas', 'numpy', 'logging', 'psutil') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    power, imported = done.stdout.splitlines()
    assert "RAM_SLOT_POWER_X86 of codecarbon 3" in power
    assert imported == "[]"


def test_an_arm_machine_has_dimms_of_less_power(tmp_path: Path) -> None:
    channel, power_w = opened(RamModelProbe(machine(tmp_path, 8), machine="aarch64"))
    assert channel.sensor.startswith("2 DIMMs x 1.5 W")
    assert power_w == pytest.approx(3.0)


@pytest.mark.parametrize("version", [1, 2])
def test_a_container_is_given_its_share_of_a_shared_hosts_memory(tmp_path: Path, version: int) -> None:
    """codecarbon#629: 378 W of RAM for one tenant of a shared host, more than its GPU's 102 W."""
    groups = "0::/\n" if version == 2 else "5:memory:/docker/5e1f\n0::/\n"
    root = machine(tmp_path, 1024, groups)
    limit = root / ("sys/fs/cgroup/memory.max" if version == 2 else "sys/fs/cgroup/memory/memory.limit_in_bytes")
    limit.parent.mkdir(parents=True)
    limit.write_text(f"{16 * 2**30}\n")
    channel, power_w = opened(RamModelProbe(root, machine="x86_64", dimm_w=5.0))
    assert channel.sensor == "16 of 1024 GB, 8 DIMMs x 5 W (guessed from 1024 GB)"
    assert power_w == pytest.approx(38.0 * 16 / 1024)


@pytest.mark.parametrize("limit", ["max", "9223372036854771712", ""])
def test_a_container_without_a_limit_has_the_whole_memory(tmp_path: Path, limit: str) -> None:
    root = machine(tmp_path, 32)
    (root / "sys/fs/cgroup").mkdir(parents=True)
    (root / "sys/fs/cgroup/memory.max").write_text(f"{limit}\n")
    channel, power_w = opened(RamModelProbe(root, machine="x86_64", dimm_w=5.0))
    assert channel.sensor == "4 DIMMs x 5 W (guessed from 32 GB)"
    assert power_w == pytest.approx(20.0)


def test_a_machine_of_unknown_memory_has_no_modelled_joules_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(ProbeUnavailable, match="RAM joules are absent"):
        RamModelProbe(tmp_path).open()


def test_a_probe_that_is_closed_says_that_it_gives_no_joules(tmp_path: Path) -> None:
    probe = RamModelProbe(machine(tmp_path, 16), machine="x86_64", dimm_w=5.0)
    (channel,) = probe.open().channels
    probe.close()
    probe.close()
    with pytest.raises(ProbeLost, match="open"):
        probe.read(channel)


def test_this_machine_has_memory_that_can_be_modelled() -> None:
    _, power_w = opened(RamModelProbe())
    assert power_w > 0
