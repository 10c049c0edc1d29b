"""Jetson rails on INA3221 folders that a test writes."""

import pytest

from wattvlm.errors import ProbeLost, ProbeRetry
from wattvlm.probes.jetson import JetsonProbe
from wattvlm.sensing import Sensors
from wattvlm.testing.sysfs import FileTree, jetson_tree

ORIN_NX = {"VDD_IN": (5000, 4000), "VDD_CPU_GPU_CV": (5000, 1500), "VDD_SOC": (5000, 500)}
AGX_ORIN = {"VDD_GPU_SOC": (19_000, 1000), "VDD_CPU_CV": (19_000, 500), "VIN_SYS_5V0": (5000, 900)}
NANO = {"POM_5V_IN": (5000, 2000), "POM_5V_GPU": (5000, 800), "POM_5V_CPU": (5000, 600)}
FOLDER = "ina3221/1-0040/hwmon/hwmon0"


@pytest.fixture
def machine(tmp_path):
    probes = []

    def make(rails, **options):
        tree = jetson_tree(tmp_path / "drivers", rails, **options)
        probes.append(JetsonProbe(root=tree.root, opener=tree.opener))
        return tree, probes[-1]

    yield make
    for probe in probes:
        probe.close()


def by_rail(probe):
    return {channel.name.partition("-jetson-")[2].removesuffix("/rail"): channel for channel in probe.open().channels}


def watts(probe, channel):
    (reading,) = probe.read(channel)
    return reading.power_w


def test_millivolts_times_milliamperes_are_watts(machine):
    tree, probe = machine(AGX_ORIN)
    gpu = by_rail(probe)["VDD_GPU_SOC"]
    assert watts(probe, gpu) == pytest.approx(19.0)
    tree.set(f"{FOLDER}/curr1_input", "2500")
    assert watts(probe, gpu) == pytest.approx(47.5)


@pytest.mark.parametrize(
    ("rails", "domains"),
    [
        (ORIN_NX, {"VDD_IN": "node", "VDD_CPU_GPU_CV": "soc", "VDD_SOC": "soc"}),
        (AGX_ORIN, {"VDD_GPU_SOC": "gpu", "VDD_CPU_CV": "cpu"}),
        (NANO, {"POM_5V_IN": "node", "POM_5V_GPU": "gpu", "POM_5V_CPU": "cpu"}),
    ],
)
def test_a_rail_belongs_to_what_it_feeds(machine, rails, domains):
    _, probe = machine(rails)
    assert {rail: channel.domain for rail, channel in by_rail(probe).items()} == domains


def test_a_rail_that_cpu_and_gpu_share_says_so_and_is_neither_ones(machine):
    _, probe = machine(ORIN_NX)
    shared = by_rail(probe)["VDD_CPU_GPU_CV"]
    assert shared.domain == "soc"
    assert "one rail" in shared.sensor


def test_a_rail_that_feeds_no_single_part_is_named_and_not_added(machine):
    _, probe = machine(AGX_ORIN)
    assert "jetson rail VIN_SYS_5V0" in probe.open().facts


def test_the_drivers_interval_is_the_period(machine):
    _, probe = machine(ORIN_NX, interval_ms=13)
    assert by_rail(probe)["VDD_IN"].update_period_ns == 13_000_000


def test_without_an_interval_the_period_is_assumed_and_says_so(machine):
    _, probe = machine(ORIN_NX, interval_ms=None)
    channel = by_rail(probe)["VDD_IN"]
    assert channel.update_period_ns == 100_000_000
    assert channel.source["update_period_ns"].startswith("assumed")


def test_power_in_microwatts_is_read_where_current_is_not_given(tmp_path):
    tree = FileTree(tmp_path)
    tree.set(f"{FOLDER}/in1_label", "VDD_IN")
    tree.set(f"{FOLDER}/in1_input", "5000")
    tree.set(f"{FOLDER}/power1_input", "7250000")
    probe = JetsonProbe(root=tmp_path)
    assert watts(probe, by_rail(probe)["VDD_IN"]) == pytest.approx(7.25)
    probe.close()


def test_the_older_driver_gives_milliwatts(tmp_path):
    tree = FileTree(tmp_path)
    tree.set("ina3221x/6-0040/iio:device0/rail_name_0", "POM_5V_IN")
    tree.set("ina3221x/6-0040/iio:device0/in_power0_input", "2340")
    probe = JetsonProbe(root=tmp_path)
    assert watts(probe, by_rail(probe)["POM_5V_IN"]) == pytest.approx(2.34)
    probe.close()


def test_two_chips_are_read(machine):
    _, probe = machine({"GPU": (19_000, 100), "CPU": (19_000, 200), "SOC": (19_000, 50), "VDDRQ": (19_000, 25)})
    assert {channel.domain for channel in by_rail(probe).values()} == {"gpu", "cpu", "soc", "ram"}


def test_a_denied_rail_is_absent_not_zero_and_does_not_take_the_others_along(machine):
    tree, probe = machine(ORIN_NX)
    tree.deny(f"{FOLDER}/curr2_input")
    sensors = probe.open()
    assert len(sensors.channels) == 2
    assert [(absence.domain, "denied" in absence.what) for absence in sensors.absent] == [("soc", True)]


def test_rails_without_a_jetsons_labels_are_another_machines_and_nothing_is_said(machine):
    _, probe = machine({"PMBUS_12V": (12_000, 100)})
    assert probe.open() == Sensors(())


def test_a_machine_without_the_driver_is_not_mentioned(tmp_path):
    assert JetsonProbe(root=tmp_path / "none").open() == Sensors(())


def test_a_chip_that_is_gone_ends_its_channel(machine):
    tree, probe = machine(ORIN_NX)
    channel = by_rail(probe)["VDD_IN"]
    tree.lose(f"{FOLDER}/curr1_input")
    with pytest.raises(ProbeLost, match="VDD_IN"):
        probe.read(channel)


def test_a_read_that_fails_is_a_gap(machine):
    tree, probe = machine(ORIN_NX)
    channel = by_rail(probe)["VDD_IN"]
    tree.set(f"{FOLDER}/curr1_input", "")
    with pytest.raises(ProbeRetry):
        probe.read(channel)
