"""Grace power meters on hwmon folders that a test writes."""

import pytest

from wattvlm.errors import ProbeLost, ProbeRetry
from wattvlm.probes.grace import GraceProbe
from wattvlm.sensing import Sensors
from wattvlm.testing.sysfs import FileTree, grace_tree

GRACE_HOPPER = {
    "Module Power Socket 0": 550.0,
    "Grace Power Socket 0": 150.0,
    "CPU Power Socket 0": 90.0,
    "SysIO Power Socket 0": 20.0,
}
NEOVERSE_V2 = "CPU implementer\t: 0x41\nCPU part\t: 0xd4f\n"


@pytest.fixture
def machine(tmp_path):
    probes = []

    def make(powers_w, cpuinfo="", **options):
        tree = grace_tree(tmp_path / "hwmon", powers_w, **options)
        (tmp_path / "cpuinfo").write_text(cpuinfo)
        probe = GraceProbe(tree.root, acpi=tmp_path / "acpi", cpuinfo=tmp_path / "cpuinfo", opener=tree.opener)
        probes.append(probe)
        return tree, probe

    yield make
    for probe in probes:
        probe.close()


def by_name(probe):
    return {channel.name: channel for channel in probe.open().channels}


def test_microwatts_become_watts(machine):
    tree, probe = machine(GRACE_HOPPER)
    channel = by_name(probe)["cpu-0/package"]
    tree.set("hwmon2/device/power1_average", "91500000")
    (reading,) = probe.read(channel)
    assert reading.power_w == pytest.approx(91.5)


def test_the_rails_of_the_cpu_are_the_cpus_and_what_holds_them_is_the_nodes(machine):
    _, probe = machine(GRACE_HOPPER)
    channels = by_name(probe)
    assert {name: (channel.domain, channel.contained_in) for name, channel in channels.items()} == {
        "node-0/module-0": ("node", None),
        "node-0/grace-0": ("node", "node-0/module-0"),
        "cpu-0/package": ("cpu", None),
        "cpu-0/sysio": ("cpu", None),
    }


def test_memory_has_no_meter_and_so_no_channel(machine):
    _, probe = machine(GRACE_HOPPER)
    assert not [channel for channel in by_name(probe).values() if channel.domain == "ram"]


def test_a_grace_socket_without_a_module_is_contained_in_nothing(machine):
    _, probe = machine({"Grace Power Socket 1": 150.0, "CPU Power Socket 1": 90.0})
    channels = by_name(probe)
    assert channels["node-0/grace-1"].contained_in is None
    assert channels["cpu-1/package"].domain == "cpu"


def test_two_sockets_are_channels_of_their_own(machine):
    _, probe = machine({"CPU Power Socket 0": 90.0, "CPU Power Socket 1": 95.0})
    assert by_name(probe).keys() == {"cpu-0/package", "cpu-1/package"}


def test_the_meters_interval_is_its_period_and_its_window(machine):
    _, probe = machine(GRACE_HOPPER, interval_ms=1000)
    channel = by_name(probe)["cpu-0/package"]
    assert (channel.update_period_ns, channel.window_ns) == (1_000_000_000, 1_000_000_000)


def test_without_an_interval_the_window_is_unknown(machine):
    _, probe = machine(GRACE_HOPPER, interval_ms=None)
    channel = by_name(probe)["cpu-0/package"]
    assert (channel.update_period_ns, channel.window_ns) == (50_000_000, None)


def test_a_kernel_that_shows_the_meters_files_beside_the_name_is_read_too(tmp_path):
    tree = FileTree(tmp_path)
    tree.set("hwmon3/power1_oem_info", "CPU Power Socket 0")
    tree.set("hwmon3/power1_average", "5000000")
    probe = GraceProbe(tmp_path)
    (reading,) = probe.read(by_name(probe)["cpu-0/package"])
    assert reading.power_w == pytest.approx(5.0)
    probe.close()


def test_a_power_meter_of_another_machine_is_not_a_graces_and_nothing_is_said(machine):
    _, probe = machine({"Total Power": 300.0})
    assert probe.open() == Sensors(())


def test_a_machine_without_meters_is_not_mentioned(tmp_path):
    probe = GraceProbe(tmp_path / "none", acpi=tmp_path / "acpi", cpuinfo=tmp_path / "cpuinfo")
    assert probe.open() == Sensors(())


def test_meters_that_only_acpi_lists_are_absent_with_the_driver_that_shows_them(machine, tmp_path):
    _, probe = machine({}, cpuinfo=NEOVERSE_V2)
    (tmp_path / "acpi" / "ACPI000D:00").mkdir(parents=True)
    (absence,) = probe.open().absent
    assert "acpi_power_meter" in absence.remedy
    assert "force_cap_on" in absence.remedy


def test_other_servers_with_acpi_meters_are_not_taken_for_a_grace(machine, tmp_path):
    _, probe = machine({}, cpuinfo="model name\t: Virtual Xeon\n")
    (tmp_path / "acpi" / "ACPI000D:00").mkdir(parents=True)
    assert probe.open() == Sensors(())


def test_a_denied_meter_is_absent_not_zero(machine):
    tree, probe = machine(GRACE_HOPPER)
    tree.deny("hwmon0/device/power1_average")
    sensors = probe.open()
    assert {channel.name for channel in sensors.channels} == {"node-0/grace-0", "cpu-0/package", "cpu-0/sysio"}
    assert {channel.contained_in for channel in sensors.channels} == {None}
    assert [(absence.domain, "denied" in absence.what) for absence in sensors.absent] == [("node", True)]


def test_a_meter_that_is_gone_ends_its_channel_and_one_read_that_fails_is_a_gap(machine):
    tree, probe = machine(GRACE_HOPPER)
    channels = by_name(probe)
    tree.set("hwmon3/device/power1_average", "")
    with pytest.raises(ProbeRetry):
        probe.read(channels["cpu-0/sysio"])
    tree.lose("hwmon2/device/power1_average")
    with pytest.raises(ProbeLost, match="cpu-0/package"):
        probe.read(channels["cpu-0/package"])
