"""Intel GPUs on hwmon folders that a test writes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattvlm.errors import ProbeLost, ProbeRetry
from wattvlm.probes.intel_gpu import IntelGpuProbe
from wattvlm.sensing import Sensors
from wattvlm.testing.sysfs import intel_gpu_tree

CARD = "hwmon/hwmon0/energy1_input"
BOARD = "gpu-0000:03:00.0/board"
PACKAGE = "gpu-0000:03:00.0/package"


@pytest.fixture
def machine(tmp_path):
    probes = []

    def make(energies_j, **options):
        tree = intel_gpu_tree(tmp_path / "sys", energies_j, **options)
        probes.append(IntelGpuProbe(root=tree.root / "hwmon", opener=tree.opener))
        return tree, probes[-1]

    yield make
    for probe in probes:
        probe.close()


def by_name(probe):
    return {channel.name: channel for channel in probe.open().channels}


def joules(probe, channel):
    (reading,) = probe.read(channel)
    return reading.energy_j


@given(energy_uj=st.integers(0, 2**62))
def test_microjoules_become_joules(tmp_path_factory, energy_uj):
    tree = intel_gpu_tree(tmp_path_factory.mktemp("sys"), {"card": 0.0})
    probe = IntelGpuProbe(root=tree.root / "hwmon")
    (channel,) = probe.open().channels
    tree.set(CARD, str(energy_uj))
    assert joules(probe, channel) == pytest.approx(energy_uj * 1e-6)
    probe.close()


def test_the_package_is_not_counted_twice_inside_its_card(machine):
    _, probe = machine({"card": 900.0, "pkg": 700.0})
    channels = by_name(probe)
    assert channels[BOARD].contained_in is None
    assert channels[PACKAGE].contained_in == BOARD
    assert joules(probe, channels[PACKAGE]) == pytest.approx(700.0)


def test_labels_tell_card_and_package_apart_when_their_numbers_differ(machine):
    _, probe = machine({"pkg": 700.0, "card": 900.0})
    channels = by_name(probe)
    assert joules(probe, channels[BOARD]) == pytest.approx(900.0)
    assert channels[PACKAGE].contained_in == BOARD


def test_a_package_whose_card_is_denied_is_contained_in_nothing(machine):
    tree, probe = machine({"card": 900.0, "pkg": 700.0})
    tree.deny(CARD)
    sensors = probe.open()
    assert [(channel.name, channel.contained_in) for channel in sensors.channels] == [(PACKAGE, None)]
    assert "denied" in sensors.absent[0].what
    assert "chmod a+r" in sensors.absent[0].remedy


def test_a_tile_is_inside_its_card(machine):
    tree, probe = machine({"card": 900.0}, driver="i915")
    tree.set("hwmon/hwmon1/name", "i915_gt0")
    tree.set("hwmon/hwmon1/energy1_input", "450000000")
    (tree.root / "hwmon/hwmon1/device").symlink_to(tree.root / "devices/0000:03:00.0")
    channels = by_name(probe)
    assert channels["gpu-0000:03:00.0/tile-0"].contained_in == BOARD


def test_the_power_bound_lies_above_the_limit_and_is_unknown_without_one(machine):
    _, probe = machine({"card": 0.0}, limit_w=190.0)
    assert by_name(probe)[BOARD].max_power_w == pytest.approx(285.0)


def test_a_limit_of_zero_is_no_limit(machine):
    tree, probe = machine({"card": 0.0})
    tree.set("hwmon/hwmon0/power1_max", "0")
    assert by_name(probe)[BOARD].max_power_w is None


def test_other_hwmon_folders_are_not_gpus_and_nothing_is_said(machine):
    _, probe = machine({"card": 5.0}, driver="coretemp")
    assert probe.open() == Sensors(())


def test_a_machine_without_hwmon_is_not_mentioned(tmp_path):
    assert IntelGpuProbe(root=tmp_path / "none").open() == Sensors(())


def test_a_card_without_a_counter_is_absent_not_zero(machine):
    _, probe = machine({})
    sensors = probe.open()
    assert sensors.channels == ()
    assert "no energy counter" in sensors.absent[0].what


def test_a_card_that_is_gone_ends_its_channel(machine):
    tree, probe = machine({"card": 5.0})
    channel = by_name(probe)[BOARD]
    tree.lose(CARD)
    with pytest.raises(ProbeLost, match="03:00"):
        probe.read(channel)


def test_a_counter_that_shows_no_number_is_a_gap(machine):
    tree, probe = machine({"card": 5.0})
    channel = by_name(probe)[BOARD]
    tree.set(CARD, "")
    with pytest.raises(ProbeRetry):
        probe.read(channel)
    tree.set(CARD, "7000000")
    assert joules(probe, channel) == pytest.approx(7.0)
