"""RAPL through perf events, on a PMU folder and counters that a test sets."""

import errno
import os
import platform
import time

import pytest

from wattvlm.errors import ProbeLost
from wattvlm.probes._perf_event import PerfCounters
from wattvlm.probes.perf_rapl import PerfRaplProbe
from wattvlm.probes.rapl import RaplProbe
from wattvlm.testing.sysfs import FileTree, perf_tree, powercap_tree
from wattvlm.testing.vendor_libraries import VirtualCounters

PKG, CORES, RAM = 1, 2, 3
COUNTS_PER_J = 2**32


@pytest.fixture
def counters():
    return VirtualCounters()


@pytest.fixture
def machine(tmp_path, counters):
    """Makes a probe on a PMU folder, and closes it."""
    probes = []

    def make(packages=1, events=("pkg", "cores", "ram"), powercap=(), opener=os.open, **options):
        tree = perf_tree(tmp_path / "perf", packages, events, **options)
        probe = PerfRaplProbe(
            root=tree.root / "pmu",
            powercap_roots=powercap,
            cpus=tree.root / "cpus",
            cpuinfo=tmp_path / "cpuinfo",
            counters=counters,
            opener=opener,
        )
        probes.append(probe)
        return probe

    yield make
    for probe in probes:
        probe.close()
    assert counters.running == {}


def by_name(probe):
    return {channel.name: channel for channel in probe.open().channels}


def joules(probe, channel):
    (reading,) = probe.read(channel)
    return reading.energy_j


def test_counts_times_the_scale_are_joules(machine, counters):
    probe = machine()
    channels = by_name(probe)
    counters.counts = {(PKG, 0): 1234 * COUNTS_PER_J, (RAM, 0): COUNTS_PER_J // 2}
    assert joules(probe, channels["cpu-0/package"]) == pytest.approx(1234.0)
    assert joules(probe, channels["cpu-0/dram"]) == pytest.approx(0.5)


def test_a_count_far_beyond_32_bits_of_the_register_loses_no_joule(machine, counters):
    probe = machine(events=("pkg",))
    (channel,) = by_name(probe).values()
    counters.counts = {(PKG, 0): 10_000_000 * COUNTS_PER_J}
    assert joules(probe, channel) == pytest.approx(1e7)
    assert channel.wraps_at_j is None


def test_each_package_is_counted_once_on_its_own_cpu(machine, counters):
    probe = machine(packages=2)
    channels = by_name(probe)
    counters.counts = {(PKG, 0): 100 * COUNTS_PER_J, (PKG, 16): 300 * COUNTS_PER_J}
    packages = [channels["cpu-0/package"], channels["cpu-1/package"]]
    assert [channel.contained_in for channel in packages] == [None, None]
    assert sum(joules(probe, channel) for channel in packages) == pytest.approx(400.0)


def test_dies_of_one_package_are_channels_of_their_own(machine):
    assert by_name(machine(events=("pkg",), dies=2)).keys() == {"cpu-0-die-0/package", "cpu-0-die-1/package"}


def test_cores_and_uncore_are_inside_their_package_and_memory_is_not(machine):
    channels = by_name(machine(events=("pkg", "cores", "gpu", "ram")))
    inside = {name: channel.contained_in for name, channel in channels.items()}
    assert inside == {
        "cpu-0/package": None,
        "cpu-0/core": "cpu-0/package",
        "cpu-0/uncore": "cpu-0/package",
        "cpu-0/dram": None,
    }
    assert channels["cpu-0/dram"].domain == "ram"


def test_the_platform_is_one_channel_of_the_node_whatever_the_number_of_packages(machine):
    channels = by_name(machine(packages=2, events=("pkg", "psys")))
    assert [channel.name for channel in channels.values() if channel.domain == "node"] == ["node-0/psys"]


def test_names_are_those_of_powercap_so_that_no_joule_can_be_counted_by_both(machine, tmp_path):
    tree = powercap_tree(tmp_path / "powercap", psys=True)
    rapl = RaplProbe(root=tree.root, host_root=tmp_path / "host")
    known = {channel.name: channel for channel in rapl.open().channels}
    rapl.close()
    channels = by_name(machine(events=("pkg", "cores", "ram", "psys")))
    assert channels.keys() == known.keys()
    for name, channel in channels.items():
        assert (channel.domain, channel.contained_in) == (known[name].domain, known[name].contained_in)


def test_nothing_is_counted_where_powercap_can_be_read(machine, tmp_path, counters):
    tree = powercap_tree(tmp_path / "powercap")
    sensors = machine(powercap=(tmp_path / "none", tree.root)).open()
    assert (sensors.channels, sensors.absent, counters.opened) == ((), (), 0)


def test_perf_stands_in_where_powercap_is_denied(machine, tmp_path):
    tree = powercap_tree(tmp_path / "powercap", denied=("package-0", "package-0/core", "package-0/dram"))
    assert "cpu-0/package" in by_name(machine(powercap=(tree.root,), opener=tree.opener))


def test_a_machine_without_the_pmu_is_not_mentioned(tmp_path, counters):
    probe = PerfRaplProbe(root=tmp_path / "none", powercap_roots=(), counters=counters)
    assert probe.open() == type(probe.open())(())


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM])
def test_denied_counters_are_one_absence_with_the_settings_that_cure_it(machine, counters, code):
    counters.refused = {PKG: code, CORES: code, RAM: code}
    sensors = machine(packages=2).open()
    assert sensors.channels == ()
    (absence,) = sensors.absent
    assert "denied" in absence.what
    assert "kernel.perf_event_paranoid=0" in absence.remedy
    assert "cap_perfmon" in absence.remedy


def test_an_event_that_cannot_be_counted_does_not_take_the_others_along(machine, counters):
    counters.refused = {PKG: errno.EINVAL}
    sensors = machine(events=("pkg", "cores")).open()
    assert [(channel.name, channel.contained_in) for channel in sensors.channels] == [("cpu-0/core", None)]
    assert "cpu-0/package" in sensors.absent[0].what


def test_an_event_in_another_unit_than_joules_is_not_guessed(machine, tmp_path):
    probe = machine()
    FileTree(tmp_path / "perf").set("pmu/events/energy-ram.unit", "Coulombs")
    assert by_name(probe).keys() == {"cpu-0/package", "cpu-0/core"}


def test_a_counter_whose_cpu_went_away_ends_its_channel(machine, counters):
    probe = machine()
    channel = by_name(probe)["cpu-0/package"]
    counters.gone = {1}
    with pytest.raises(ProbeLost, match="cpu-0/package"):
        probe.read(channel)


def test_a_read_after_closing_is_lost_not_zero(machine):
    probe = machine()
    channel = by_name(probe)["cpu-0/package"]
    probe.close()
    with pytest.raises(ProbeLost):
        probe.read(channel)


def test_the_kernel_understands_how_a_counter_is_opened():
    """A clock of the software PMU, which each machine has, counts the nanoseconds of a CPU."""
    software, cpu_clock = 1, 0
    counters = PerfCounters()
    try:
        descriptor = counters.open(software, cpu_clock, min(os.sched_getaffinity(0)))
    except PermissionError:
        pytest.skip("perf_event_open is denied here: kernel.perf_event_paranoid, or a container's seccomp profile")
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        pytest.skip(f"perf_event_open is not known here: {error.strerror}, {platform.machine()}")
    first = counters.read(descriptor)
    time.sleep(0.02)
    assert counters.read(descriptor) - first >= 10_000_000
    counters.close(descriptor)
