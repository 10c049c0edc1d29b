"""The CPU's modelled power: what share of which chip, from which load, and how unsure."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattvlm.errors import ProbeLost, ProbeRetry, ProbeUnavailable
from wattvlm.probes.cpu_model import PERIOD_NS, CpuModelProbe, psutil_times
from wattvlm.sensing import Channel, PowerReading
from wattvlm.units import NS_PER_MS, NS_PER_S, NS_PER_US

ROOT = Path(__file__).parents[2]
EPYC = {"AMD EPYC 7B13": 240.0, "Intel Xeon Gold 6248": 150.0}
MANY_TICKS = 10**15


class HandClock:
    """A clock that moves only when it is told to; each look at it takes `step_ns`."""

    def __init__(self, step_ns: int = 0) -> None:
        self.now_ns = 5 * NS_PER_S
        self.step_ns = step_ns

    def monotonic_ns(self) -> int:
        self.now_ns += self.step_ns
        return self.now_ns

    def wall_ns(self) -> int:
        return self.now_ns

    def sleep_ns(self, duration_ns: int) -> None:
        self.now_ns += duration_ns


def cpuinfo(name: str, threads: int, sockets: int = 1, flags: str = "fpu sse2") -> str:
    rows = [
        f"processor\t: {number}\nmodel name\t: {name}\nphysical id\t: {number * sockets // threads}\nflags\t: {flags}\n"
        for number in range(threads)
    ]
    return "\n".join(rows)


def stat(*busy_and_idle: tuple[int, int]) -> str:
    """/proc/stat of CPUs with that many busy and idle ticks."""
    rows = [f"cpu{number} {busy} 0 0 {idle} 0 0 0 0 0 0" for number, (busy, idle) in enumerate(busy_and_idle)]
    busy, idle = (sum(column) for column in zip(*busy_and_idle))
    return "\n".join([f"cpu  {busy} 0 0 {idle} 0 0 0 0 0 0", *rows, "intr 5 0 0", ""])


def machine(root: Path, cpus: str, ticks: str | None, groups: str = "0::/\n") -> Path:
    (root / "proc/self").mkdir(parents=True, exist_ok=True)
    (root / "proc/cpuinfo").write_text(cpus)
    (root / "proc/self/cgroup").write_text(groups)
    if ticks is not None:
        (root / "proc/stat").write_text(ticks)
    return root


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def only(channels: tuple[Channel, ...]) -> Channel:
    (channel,) = channels
    return channel


def power_after(probe: CpuModelProbe, channel: Channel, clock: HandClock) -> PowerReading:
    clock.sleep_ns(PERIOD_NS)
    (reading,) = probe.read(channel)
    return reading


def test_a_busy_cpu_is_modelled_at_its_nominal_power_and_an_idle_one_at_a_tenth_of_it(tmp_path: Path) -> None:
    root = machine(tmp_path, cpuinfo("AMD EPYC 7B13 64-Core Processor", 2), stat((0, 0), (0, 0)))
    clock = HandClock()
    probe = CpuModelProbe(root, clock, EPYC, cpus=range(2))
    channel = only(probe.open().channels)
    assert probe.read(channel) == ()
    (root / "proc/stat").write_text(stat((10, 0), (10, 0)))
    assert power_after(probe, channel, clock).power_w == pytest.approx(240.0)
    (root / "proc/stat").write_text(stat((10, 10), (10, 10)))
    assert power_after(probe, channel, clock).power_w == pytest.approx(24.0)
    (root / "proc/stat").write_text(stat((20, 10), (10, 20)))
    half = power_after(probe, channel, clock)
    assert half.power_w == pytest.approx(240.0 * (0.1 + 0.9 / 8))
    assert (half.channel, half.time_ns) == ("cpu/model", clock.now_ns)
    probe.close()


def test_its_joules_are_called_modelled_and_are_unsure_by_at_least_half(tmp_path: Path) -> None:
    root = machine(tmp_path, cpuinfo("AMD EPYC 7B13", 2), stat((0, 0)))
    for table in (EPYC, {}):
        channel = only(CpuModelProbe(root, HandClock(), table, cpus=range(2)).open().channels)
        assert (channel.domain, channel.method, channel.name) == ("cpu", "model", "cpu/model")
        assert channel.gain_std_fraction * 1.96 >= 0.5
        assert set(channel.source) >= {"power", "nominal", "share", "load", "gain_std_fraction"}


def test_a_process_held_to_some_cpus_is_given_their_share_and_their_load_only(tmp_path: Path) -> None:
    others = [(1000, 0)] * 110
    root = machine(tmp_path, cpuinfo("AMD EPYC 7B13 64-Core Processor", 112), stat(*others, (0, 0), (0, 0)))
    clock = HandClock()
    probe = CpuModelProbe(root, clock, EPYC, cpus=[110, 111])
    channel = only(probe.open().channels)
    assert channel.sensor == "2 of 112 threads of AMD EPYC 7B13 (240 W TDP), load from /proc/stat"
    probe.read(channel)
    (root / "proc/stat").write_text(stat(*[(9999, 0)] * 110, (0, 10), (0, 10)))
    assert power_after(probe, channel, clock).power_w == pytest.approx(240.0 * 2 / 112 * 0.1)


@pytest.mark.parametrize("version", [1, 2])
def test_a_container_with_a_quota_is_given_its_share_of_the_host_not_the_hosts_power(
    tmp_path: Path, version: int
) -> None:
    if version == 2:
        root = machine(tmp_path, cpuinfo("AMD EPYC 7B13", 112), stat((0, 0)), "0::/\n")
        write(root / "sys/fs/cgroup/cpu.max", "200000 100000\n")
        usage, unit_ns = root / "sys/fs/cgroup/cpu.stat", NS_PER_US
    else:
        groups = "7:cpu,cpuacct:/docker/5e1f\n5:memory:/docker/5e1f\n0::/\n"
        root = machine(tmp_path, cpuinfo("AMD EPYC 7B13", 112), stat((0, 0)), groups)
        write(root / "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000\n")
        write(root / "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
        usage, unit_ns = root / "sys/fs/cgroup/cpu/cpuacct.usage", 1

    def used(duration_ns: int) -> None:
        count = (7 * NS_PER_S + duration_ns) // unit_ns
        usage.write_text(f"usage_usec {count}\nuser_usec 1\n" if version == 2 else f"{count}\n")

    used(0)
    clock = HandClock()
    probe = CpuModelProbe(root, clock, EPYC, cpus=range(112))
    channel = only(probe.open().channels)
    assert channel.sensor.startswith("2 of 112 threads of AMD EPYC 7B13 (240 W TDP), the container's load")
    probe.read(channel)
    used(2 * PERIOD_NS)
    assert power_after(probe, channel, clock).power_w == pytest.approx(240.0 * 2 / 112)
    used(3 * PERIOD_NS)
    assert power_after(probe, channel, clock).power_w == pytest.approx(240.0 * 2 / 112 * (0.1 + 0.9 / 8))
    probe.close()


def test_the_tightest_quota_of_all_parents_counts(tmp_path: Path) -> None:
    root = machine(tmp_path, cpuinfo("AMD EPYC 7B13", 8), stat((0, 0)), "0::/outer/inner\n")
    for folder, quota in (("outer/inner", "max"), ("outer", "150000"), ("", "400000")):
        write(root / "sys/fs/cgroup" / folder / "cpu.max", f"{quota} 100000\n")
        write(root / "sys/fs/cgroup" / folder / "cpu.stat", "usage_usec 0\n")
    channel = only(CpuModelProbe(root, HandClock(), EPYC, cpus=range(8)).open().channels)
    assert channel.sensor.startswith("1.5 of 8 threads")


def test_two_sockets_have_twice_the_nominal_power(tmp_path: Path) -> None:
    root = machine(tmp_path, cpuinfo("Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz", 80, sockets=2), stat((0, 0)))
    channel = only(CpuModelProbe(root, HandClock(), EPYC, cpus=range(80)).open().channels)
    assert channel.sensor == "80 threads of Intel Xeon Gold 6248 (2 x 150 W TDP), load from /proc/stat"
    assert channel.max_power_w == pytest.approx(300.0)


def test_a_virtual_machine_is_not_charged_the_whole_chip(tmp_path: Path) -> None:
    flags = "fpu hypervisor sse2"
    root = machine(tmp_path, cpuinfo("AMD EPYC 7B13", 2, flags=flags), stat((0, 0)))
    channel = only(CpuModelProbe(root, HandClock(), EPYC, cpus=range(2)).open().channels)
    assert channel.max_power_w == pytest.approx(8.0)
    assert channel.sensor == "2 threads of a virtual machine on AMD EPYC 7B13 (4 W a thread), load from /proc/stat"


def test_an_unknown_cpu_has_a_stated_default_and_a_wider_interval(tmp_path: Path) -> None:
    root = machine(tmp_path, cpuinfo("Loongson-3A6000", 8), stat((0, 0)))
    channel = only(CpuModelProbe(root, HandClock(), EPYC, cpus=range(8)).open().channels)
    assert channel.max_power_w == pytest.approx(32.0)
    assert "4 W a thread" in channel.sensor
    assert "a table that was given" in channel.source["nominal"]
    known = machine(tmp_path, cpuinfo("AMD EPYC 7B13", 8), stat((0, 0)))
    assert (
        channel.gain_std_fraction
        > only(CpuModelProbe(known, HandClock(), EPYC, cpus=range(8)).open().channels).gain_std_fraction
    )


@pytest.mark.skipif(importlib.util.find_spec("codecarbon") is None, reason="codecarbon is not installed")
@pytest.mark.parametrize(
    ("name", "power_w"),
    [
        ("Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz", 120.0),
        ("11th Gen Intel(R) Core(TM) i7-1165G7 @ 2.80GHz", 28.0),
        ("AMD Ryzen 9 5950X 16-Core Processor", 105.0),
        ("AMD Ryzen 7 PRO 4750U with Radeon Graphics", 15.0),
        ("AMD EPYC 7763 64-Core Processor", 280.0),
    ],
)
def test_codecarbons_table_gives_the_nominal_power_of_a_cpu_by_linux_name(
    tmp_path: Path, name: str, power_w: float
) -> None:
    root = machine(tmp_path, cpuinfo(name, 4), stat((0, 0)))
    channel = only(CpuModelProbe(root, HandClock(), cpus=range(4)).open().channels)
    assert channel.max_power_w == pytest.approx(power_w)
    assert channel.source["nominal"].startswith(f"{power_w:g} W TDP: codecarbon 3")


@pytest.mark.skipif(importlib.util.find_spec("codecarbon") is None, reason="codecarbon is not installed")
def test_codecarbon_is_read_and_neither_imported_nor_let_near_logging(tmp_path: Path) -> None:
    root = machine(tmp_path, cpuinfo("AMD EPYC 7763 64-Core Processor", 4), stat((0, 0)))
    program = (
        "import sys; from wattvlm.probes.cpu_model import PROBE; "
        f"channel = PROBE({str(root)!r}, cpus=range(4)).open().channels[0]; "
        "assert channel.max_power_w == 280.0, channel; "
        "print([name for name in ('codecarbon', 'pandas', 'numpy', 'logging', 'psutil') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "[]", "")


def test_no_reading_comes_before_a_period_has_passed_and_none_is_lost(tmp_path: Path) -> None:
    root = machine(tmp_path, cpuinfo("AMD EPYC 7B13", 1), stat((0, 0)))
    clock = HandClock()
    probe = CpuModelProbe(root, clock, EPYC, cpus=[0])
    channel = only(probe.open().channels)
    probe.read(channel)
    (root / "proc/stat").write_text(stat((5, 5)))
    clock.sleep_ns(PERIOD_NS // 2)
    assert probe.read(channel) == ()
    clock.sleep_ns(PERIOD_NS // 2)
    (reading,) = probe.read(channel)
    assert reading.power_w == pytest.approx(240.0 * (0.1 + 0.9 / 8))


def test_a_cpu_that_goes_offline_takes_no_joule_of_the_others_along(tmp_path: Path) -> None:
    root = machine(tmp_path, cpuinfo("AMD EPYC 7B13", 4), stat((0, 0), (0, 0)))
    clock = HandClock()
    probe = CpuModelProbe(root, clock, EPYC, cpus=[0, 1])
    channel = only(probe.open().channels)
    probe.read(channel)
    (root / "proc/stat").write_text(stat((10, 0)))
    assert power_after(probe, channel, clock).power_w == pytest.approx(240.0 * 2 / 4)


def test_time_that_the_hypervisor_took_away_is_not_our_load(tmp_path: Path) -> None:
    root = machine(tmp_path, cpuinfo("AMD EPYC 7B13", 1), stat((0, 0)))
    clock = HandClock()
    probe = CpuModelProbe(root, clock, EPYC, cpus=[0])
    channel = only(probe.open().channels)
    probe.read(channel)
    (root / "proc/stat").write_text("cpu  0 0 0 0 0 0 0 10 0 0\ncpu0 0 0 0 0 0 0 0 10 0 0\n")
    assert power_after(probe, channel, clock).power_w == pytest.approx(24.0)


def test_a_load_that_cannot_be_read_is_a_gap_and_the_next_reading_covers_it(tmp_path: Path) -> None:
    root = machine(tmp_path, cpuinfo("AMD EPYC 7B13", 1), stat((0, 0)))
    clock = HandClock()
    probe = CpuModelProbe(root, clock, EPYC, cpus=[0])
    channel = only(probe.open().channels)
    probe.read(channel)
    (root / "proc/stat").write_text("cpu  5 5")
    with pytest.raises(ProbeRetry, match="gap"):
        power_after(probe, channel, clock)
    (root / "proc/stat").write_text(stat((20, 0)))
    assert power_after(probe, channel, clock).power_w == pytest.approx(240.0)


def test_a_machine_whose_load_cannot_be_read_has_no_modelled_cpu_joules_and_says_so(tmp_path: Path) -> None:
    root = machine(tmp_path, cpuinfo("AMD EPYC 7B13", 1), "nonsense")
    probe = CpuModelProbe(root, HandClock(), EPYC, cpus=[0])
    with pytest.raises(ProbeUnavailable, match="CPU joules are absent"):
        probe.open()


def test_a_probe_that_is_closed_says_that_it_gives_no_joules(tmp_path: Path) -> None:
    root = machine(tmp_path, cpuinfo("AMD EPYC 7B13", 1), stat((0, 0)))
    probe = CpuModelProbe(root, HandClock(), EPYC, cpus=[0])
    channel = only(probe.open().channels)
    probe.close()
    probe.close()
    with pytest.raises(ProbeLost, match="open"):
        probe.read(channel)


def test_a_load_that_is_slow_to_read_is_read_less_often(tmp_path: Path) -> None:
    root = machine(tmp_path, cpuinfo("AMD EPYC 7B13", 1), stat((0, 0)))
    channel = only(CpuModelProbe(root, HandClock(step_ns=NS_PER_MS), EPYC, cpus=[0]).open().channels)
    assert channel.update_period_ns == 500 * NS_PER_MS


def test_where_there_is_no_proc_psutil_gives_the_load(tmp_path: Path) -> None:
    root = machine(tmp_path, cpuinfo("AMD EPYC 7B13", 1), None)
    clock = HandClock()
    probe = CpuModelProbe(root, clock, EPYC, cpus=[0])
    channel = only(probe.open().channels)
    assert channel.sensor.endswith("psutil load")
    busy, available = psutil_times()(0)
    assert 0 < busy <= available
    probe.close()


def test_this_machine_has_a_cpu_that_can_be_modelled() -> None:
    probe = CpuModelProbe()
    channel = only(probe.open().channels)
    assert channel.max_power_w is not None
    assert channel.max_power_w > 0
    assert probe.read(channel) == ()
    probe.close()


@given(
    steps=st.lists(st.tuples(st.integers(0, MANY_TICKS), st.integers(0, MANY_TICKS)), min_size=2, max_size=20),
    threads=st.integers(1, 64),
    sockets=st.integers(1, 2),
)
def test_whatever_the_counters_say_the_model_stays_between_a_tenth_and_all_of_the_nominal_power(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int]], threads: int, sockets: int
) -> None:
    root = machine(tmp_path_factory.mktemp("machine"), cpuinfo("AMD EPYC 7B13", threads, sockets), stat((0, 0)))
    counts = iter(steps * 4)
    clock = HandClock()
    probe = CpuModelProbe(root, clock, EPYC, cpus=range(threads), times=lambda _: next(counts))
    channel = only(probe.open().channels)
    assert channel.max_power_w is not None
    for _ in steps:
        clock.sleep_ns(PERIOD_NS)
        for reading in probe.read(channel):
            assert 0.1 * channel.max_power_w <= reading.power_w <= channel.max_power_w
