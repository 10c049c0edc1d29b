"""The RAPL sensor on powercap folders that a test writes."""

import os
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattvlm.errors import ProbeLost, ProbeRetry, ProbeUnavailable
from wattvlm.probes.rapl import RaplProbe
from wattvlm.testing.sysfs import PowercapPackage, powercap_tree

CPUINFO = "processor\t: 0\nmodel name\t: Virtual Xeon 8480+\n"


@pytest.fixture
def machine(tmp_path):
    """Makes a probe on a powercap tree, and closes it."""
    probes = []
    (tmp_path / "cpuinfo").write_text(CPUINFO)

    def make(*packages, **options):
        tree = powercap_tree(tmp_path / "powercap", packages or (PowercapPackage(),), **options)
        probe = probe_on(tree)
        probes.append(probe)
        return tree, probe

    def probe_on(tree):
        return RaplProbe(root=tree.root, host_root=tmp_path / "host", cpuinfo=tmp_path / "cpuinfo", opener=tree.opener)

    yield make
    for probe in probes:
        probe.close()


def by_name(sensors):
    return {channel.name: channel for channel in sensors.channels}


def joules(probe, channel):
    (reading,) = probe.read(channel)
    return reading.energy_j


def test_microjoules_become_joules(machine):
    tree, probe = machine()
    channels = by_name(probe.open())
    tree.set_energy_j("package-0", 1234.567891)
    assert joules(probe, channels["cpu-0/package"]) == pytest.approx(1234.567891, abs=1e-9)


def test_psys_is_not_a_second_cpu(machine):
    _, probe = machine(psys=True)
    channels = probe.open().channels
    total = [channel.name for channel in channels if channel.domain == "cpu" and channel.contained_in is None]
    assert total == ["cpu-0/package"]
    assert by_name(probe.open())["node-0/psys"].domain == "node"


def test_core_is_not_counted_twice_inside_package(machine):
    _, probe = machine(PowercapPackage(parts=("core", "uncore", "dram")))
    channels = by_name(probe.open())
    assert channels["cpu-0/core"].contained_in == "cpu-0/package"
    assert channels["cpu-0/uncore"].contained_in == "cpu-0/package"


def test_memory_is_read_and_is_not_inside_the_package(machine):
    tree, probe = machine()
    dram = by_name(probe.open())["cpu-0/dram"]
    tree.set_energy_j("package-0/dram", 7.5)
    assert (dram.domain, dram.contained_in) == ("ram", None)
    assert joules(probe, dram) == pytest.approx(7.5)


def test_two_sockets_are_two_channels_of_which_neither_holds_the_other(machine):
    tree, probe = machine(PowercapPackage(0), PowercapPackage(1))
    channels = by_name(probe.open())
    tree.set_energy_j("package-0", 100.0)
    tree.set_energy_j("package-1", 300.0)
    packages = [channels["cpu-0/package"], channels["cpu-1/package"]]
    assert [channel.contained_in for channel in packages] == [None, None]
    assert sum(joules(probe, channel) for channel in packages) == pytest.approx(400.0)
    assert channels["cpu-1/core"].contained_in == "cpu-1/package"


def test_zones_are_told_apart_by_name_when_their_numbers_differ(machine):
    _, probe = machine(PowercapPackage(1, parts=()), PowercapPackage(0, parts=()))
    channels = by_name(probe.open())
    assert channels.keys() == {"cpu-0/package", "cpu-1/package"}


def test_ten_sockets_keep_their_parts(machine):
    _, probe = machine(*(PowercapPackage(number, parts=("core",)) for number in range(12)))
    channels = by_name(probe.open())
    assert channels["cpu-10/core"].contained_in == "cpu-10/package"
    assert len(channels) == 24


def test_dies_of_one_package_are_channels_of_their_own(machine):
    tree, probe = machine(PowercapPackage(0, parts=()), PowercapPackage(1, parts=()))
    for index in range(2):
        (tree.root / f"intel-rapl:{index}" / "name").write_text(f"package-0-die-{index}\n")
    assert by_name(probe.open()).keys() == {"cpu-0-die-0/package", "cpu-0-die-1/package"}


def test_the_memory_mapped_duplicate_of_a_package_is_not_read(machine):
    _, probe = machine(mmio=True)
    assert [channel.name for channel in probe.open().channels if channel.domain == "cpu"] == [
        "cpu-0/package",
        "cpu-0/core",
    ]


def test_a_zone_of_an_unknown_kind_is_not_guessed(machine):
    tree, probe = machine()
    (tree.root / "intel-rapl:0:0" / "name").write_text("novel\n")
    assert by_name(probe.open()).keys() == {"cpu-0/package", "cpu-0/dram"}


@given(steps_uj=st.lists(st.integers(0, 1_400_000), max_size=30))
def test_a_counter_that_wraps_loses_no_joule(tmp_path_factory, steps_uj):
    tree = powercap_tree(tmp_path_factory.mktemp("powercap") / "root", [PowercapPackage(wraps_at_j=1.5, parts=())])
    probe = RaplProbe(root=tree.root)
    (channel,) = probe.open().channels
    drawn_uj, counted_j, last_j = 0, 0.0, joules(probe, channel)
    for step_uj in steps_uj:
        drawn_uj += step_uj
        tree.set_energy_j("package-0", drawn_uj * 1e-6)
        now_j = joules(probe, channel)
        counted_j += (now_j - last_j) % channel.wraps_at_j if abs(now_j - last_j) > 1e-9 else 0.0
        last_j = now_j
    probe.close()
    assert counted_j == pytest.approx(drawn_uj * 1e-6, abs=1e-9)


def test_the_wrap_is_at_max_energy_range_not_at_two_to_the_32(machine):
    _, probe = machine(PowercapPackage(wraps_at_j=262_143.328850))
    assert by_name(probe.open())["cpu-0/package"].wraps_at_j == pytest.approx(262_143.328850)


def test_a_missing_range_is_an_unknown_wrap_and_is_told(machine):
    _, probe = machine(PowercapPackage(wraps_at_j=None, parts=()))
    sensors = probe.open()
    assert (sensors.channels[0].wraps_at_j, sensors.channels[0].resolution_j) == (None, None)
    assert any("max_energy_range_uj" in absence.what for absence in sensors.absent)


@pytest.mark.parametrize(("wrap_j", "step_j"), [(262_143.328850, 61.035e-6), (65_532.610987, 15.258e-6)])
def test_the_step_of_the_counter_follows_from_its_range(machine, wrap_j, step_j):
    _, probe = machine(PowercapPackage(wraps_at_j=wrap_j))
    assert by_name(probe.open())["cpu-0/package"].resolution_j == pytest.approx(step_j, rel=1e-4)


def test_the_power_bound_lies_above_every_limit_and_is_unknown_without_one(machine):
    _, probe = machine(PowercapPackage(0, limits_w=(200.0, 300.0)), PowercapPackage(1, limits_w=()))
    channels = by_name(probe.open())
    assert channels["cpu-0/package"].max_power_w == pytest.approx(450.0)
    assert channels["cpu-1/package"].max_power_w is None
    assert channels["cpu-0/dram"].max_power_w is None


def test_the_cpu_is_named_and_each_fact_has_its_source(machine):
    _, probe = machine()
    channel = by_name(probe.open())["cpu-0/package"]
    assert channel.device == "Virtual Xeon 8480+"
    assert channel.update_period_ns == 1_000_000
    assert {"update_period_ns", "resolution_j", "max_power_w", "gain_std_fraction"} <= set(channel.source)


def test_denied_counters_are_absent_with_the_command_that_cures_it(machine):
    _, probe = machine(psys=True, denied=("package-0", "package-0/core", "package-0/dram", "psys"))
    sensors = probe.open()
    assert sensors.channels == ()
    assert [absence.domain for absence in sensors.absent] == ["cpu", "ram", "node"]
    for absence in sensors.absent:
        assert "denied" in absence.what
        assert "CVE-2020-8694" in absence.what
        assert "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj" in absence.remedy
        assert "/etc/udev/rules.d/" in absence.remedy


def test_a_denied_zone_does_not_take_the_others_along(machine):
    _, probe = machine(denied=("package-0/dram",))
    sensors = probe.open()
    assert by_name(sensors).keys() == {"cpu-0/package", "cpu-0/core"}
    assert [absence.domain for absence in sensors.absent] == ["ram"]


def test_cores_without_their_package_are_contained_in_nothing(machine):
    _, probe = machine(denied=("package-0",))
    assert by_name(probe.open())["cpu-0/core"].contained_in is None


def test_a_cpu_without_a_memory_zone_says_that_ram_is_not_measured(machine):
    _, probe = machine(PowercapPackage(parts=("core",)))
    assert [absence.domain for absence in probe.open().absent] == ["ram"]


def test_no_powercap_folder_names_the_driver_the_container_and_the_virtual_machine(tmp_path):
    probe = RaplProbe(root=tmp_path / "none", host_root=tmp_path / "host")
    with pytest.raises(ProbeUnavailable, match="does not exist") as raised:
        probe.open()
    for words in ("modprobe intel_rapl_msr", "docker run -v", "virtual machine"):
        assert words in raised.value.remedy


def test_zones_that_a_container_hides_are_not_zones(machine, tmp_path):
    tree, probe = machine()
    for zone in list(tree.zones):
        tree.remove(zone)
    (tree.root / "intel-rapl:0").symlink_to(tmp_path / "masked")
    with pytest.raises(ProbeUnavailable, match="has no RAPL zone"):
        probe.open()


def test_a_host_folder_mounted_into_a_container_is_read_with_its_zones_inside_each_other(tmp_path):
    tree = powercap_tree(tmp_path / "flat")
    package = tmp_path / "host" / "intel-rapl" / "intel-rapl:0"
    shutil.copytree(tree.root / "intel-rapl:0", package)
    for part in ("intel-rapl:0:0", "intel-rapl:0:1"):
        shutil.copytree(tree.root / part, package / part)
    probe = RaplProbe(root=tmp_path / "none", host_root=tmp_path / "host")
    assert by_name(probe.open()).keys() == {"cpu-0/package", "cpu-0/core", "cpu-0/dram"}
    probe.close()


def test_a_held_counter_is_read_again_without_being_opened_again(machine):
    tree, probe = machine()
    channel = by_name(probe.open())["cpu-0/package"]
    tree.deny("package-0")
    for energy_j in (1.0, 22.5, 333.125):
        tree.set_energy_j("package-0", energy_j)
        assert joules(probe, channel) == pytest.approx(energy_j)


def test_a_read_says_when_it_began_and_ended(machine):
    _, probe = machine()
    (reading,) = probe.read(by_name(probe.open())["cpu-0/package"])
    assert reading.took_ns == reading.time_ns - reading.unchanged_at_ns >= 0


def test_a_counter_that_shows_no_number_is_a_gap(machine):
    tree, probe = machine()
    channel = by_name(probe.open())["cpu-0/package"]
    os.truncate(tree.zones["package-0"] / "energy_uj", 0)
    with pytest.raises(ProbeRetry):
        probe.read(channel)
    tree.set_energy_j("package-0", 3.0)
    assert joules(probe, channel) == pytest.approx(3.0)


def test_a_counter_that_is_gone_ends_its_channel(machine):
    tree, _ = machine()
    opened = []

    def opener(file, flags):
        opened.append(tree.opener(file, flags))
        return opened[-1]

    probe = RaplProbe(root=tree.root, opener=opener)
    channel = probe.open().channels[0]
    os.close(opened[0])
    with pytest.raises(ProbeLost, match="cpu-0/package"):
        probe.read(channel)
    probe.close()


def test_a_read_after_closing_is_lost_not_zero(machine):
    _, probe = machine()
    channel = probe.open().channels[0]
    probe.close()
    with pytest.raises(ProbeLost):
        probe.read(channel)


def test_closing_gives_every_descriptor_back(machine):
    tree, _ = machine()
    opened = []

    def opener(file, flags):
        opened.append(tree.opener(file, flags))
        return opened[-1]

    probe = RaplProbe(root=tree.root, opener=opener)
    probe.open()
    probe.open()
    probe.close()
    assert len(opened) == 6
    for descriptor in opened:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
