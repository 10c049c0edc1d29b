"""Cray pm_counters in a folder that a test writes."""

import pytest

from wattvlm.errors import ProbeLost, ProbeRetry
from wattvlm.probes.cray import CrayProbe
from wattvlm.sensing import Sensors
from wattvlm.testing.sysfs import cray_tree

NODE = {
    "energy": 1000.0,
    "cpu_energy": 300.0,
    "memory_energy": 100.0,
    "accel0_energy": 150.0,
    "accel1_energy": 250.0,
}


@pytest.fixture
def machine(tmp_path):
    probes = []

    def make(energies_j, **options):
        tree = cray_tree(tmp_path / "pm_counters", energies_j, **options)
        probes.append(CrayProbe(root=tree.root, opener=tree.opener))
        return tree, probes[-1]

    yield make
    for probe in probes:
        probe.close()


def by_name(probe):
    return {channel.name: channel for channel in probe.open().channels}


def joules(probe, channel):
    (reading,) = probe.read(channel)
    return reading.energy_j


def test_joules_are_read_and_the_stamp_behind_them_is_not(machine):
    tree, probe = machine(NODE)
    channel = by_name(probe)["node-0/cray"]
    assert joules(probe, channel) == 1000.0
    tree.set("energy", "1250 J 1700000000100000 us")
    assert joules(probe, channel) == 1250.0


def test_the_nodes_counter_holds_its_accelerators(machine):
    _, probe = machine(NODE)
    channels = by_name(probe)
    for name in ("node-0/cray-accel0", "node-0/cray-accel1"):
        assert (channels[name].domain, channels[name].contained_in) == ("node", "node-0/cray")


def test_cpu_and_memory_give_way_to_rapl(machine):
    _, probe = machine(NODE)
    channels = by_name(probe)
    assert (channels["cpu-cray/all"].domain, channels["cpu-cray/all"].contained_in) == ("cpu", "cpu-0/package")
    assert (channels["ram-cray/all"].domain, channels["ram-cray/all"].contained_in) == ("ram", "cpu-0/dram")


def test_the_sum_of_the_accelerators_is_not_read_beside_them(machine):
    _, probe = machine({**NODE, "accel_energy": 400.0})
    assert "node-0/cray-accel" not in by_name(probe)


def test_accelerators_without_the_nodes_counter_are_not_a_node(machine):
    tree, probe = machine(NODE)
    tree.deny("energy")
    sensors = probe.open()
    assert {channel.name for channel in sensors.channels} == {"cpu-cray/all", "ram-cray/all"}
    assert [(absence.domain, "denied" in absence.what) for absence in sensors.absent] == [("node", True)]


@pytest.mark.parametrize(("rate", "period_ns"), [("10", 100_000_000), ("100 1700000000000000 us", 10_000_000)])
def test_the_scan_rate_is_the_period(machine, rate, period_ns):
    tree, probe = machine(NODE)
    tree.set("raw_scan_hz", rate)
    channel = by_name(probe)["node-0/cray"]
    assert channel.update_period_ns == period_ns
    assert "alias" in channel.source["update_period_ns"]


def test_without_a_scan_rate_ten_hertz_are_taken(machine):
    tree, probe = machine(NODE)
    (tree.root / "raw_scan_hz").unlink()
    assert by_name(probe)["node-0/cray"].update_period_ns == 100_000_000


def test_a_value_in_another_unit_is_a_gap_not_joules(machine):
    tree, probe = machine(NODE)
    channel = by_name(probe)["node-0/cray"]
    tree.set("energy", "520 W 1700000000000000 us")
    with pytest.raises(ProbeRetry, match="no joules"):
        probe.read(channel)


def test_a_machine_of_another_maker_is_not_mentioned(tmp_path):
    assert CrayProbe(root=tmp_path / "none").open() == Sensors(())


def test_a_counter_that_is_gone_ends_its_channel(machine):
    tree, probe = machine(NODE)
    channel = by_name(probe)["node-0/cray"]
    tree.lose("energy")
    with pytest.raises(ProbeLost, match="node-0/cray"):
        probe.read(channel)
