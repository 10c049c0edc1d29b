"""Virtual sensors over a load file that grows while they are read."""

import pytest

from wattvlm.errors import ProbeUnavailable
from wattvlm.probes.virtual import LoadReader, VirtualProbe
from wattvlm.sensing import EnergyReading, PowerReading
from wattvlm.testing import FakeClock, LoadFile

MS = 1_000_000
S = 1_000_000_000
GPU = {"name": "gpu-0/board", "max_power_w": 700.0, "period_ns": 100 * MS}


def counted_j(probe, channel):
    (reading,) = probe.read(channel)
    assert isinstance(reading, EnergyReading)
    return reading.energy_j


def test_a_load_that_grows_is_seen_from_the_next_read_on(tmp_path):
    load, clock = LoadFile(tmp_path / "gpu.load"), FakeClock(0)
    probe = VirtualProbe(load.path, [GPU], clock)
    (channel,) = probe.open().channels
    assert counted_j(probe, channel) == 0.0
    load.append(0, 200.0)
    clock.advance(S)
    assert counted_j(probe, channel) == pytest.approx(200.0)
    load.append(S, 500.0)
    clock.advance(50 * MS)
    assert counted_j(probe, channel) == pytest.approx(200.0)
    clock.advance(50 * MS)
    assert counted_j(probe, channel) == pytest.approx(250.0)


def test_an_unfinished_record_waits_for_its_rest(tmp_path):
    load = LoadFile(tmp_path / "gpu.load")
    load.append(0, 100.0)
    whole = load.path.read_bytes()
    load.append(S, 300.0)
    torn = load.path.read_bytes()
    load.path.write_bytes(torn[:-5])
    reader = LoadReader(load.path)
    assert reader.power_w(2 * S) == 100.0
    load.path.write_bytes(torn)
    assert reader.power_w(2 * S) == 300.0
    assert reader.energy_j(0, 2 * S) == pytest.approx(400.0)
    assert torn.startswith(whole)


def test_each_sensor_may_have_a_load_of_its_own(tmp_path):
    for name, power_w in (("gpu", 300.0), ("cpu", 100.0)):
        LoadFile(tmp_path / f"{name}.load").append(S, power_w)
    cpu = {"name": "cpu-0/package", "domain": "cpu", "load": str(tmp_path / "cpu.load"), "before_w": 40.0}
    probe = VirtualProbe(tmp_path / "gpu.load", [GPU, cpu], FakeClock(2 * S))
    gpu_channel, cpu_channel = probe.open().channels
    assert counted_j(probe, gpu_channel) == pytest.approx(300.0)
    assert counted_j(probe, cpu_channel) == pytest.approx(140.0)


def test_watts_of_a_power_sensor_carry_its_own_stamp(tmp_path):
    LoadFile(tmp_path / "gpu.load").append(0, 300.0)
    sensor = {"name": "gpu-0/power", "method": "power", "phase_ns": 30 * MS, "window_ns": 25 * MS}
    probe = VirtualProbe(tmp_path / "gpu.load", [sensor], FakeClock(S))
    (reading,) = probe.read(probe.open().channels[0])
    assert isinstance(reading, PowerReading)
    assert reading.power_w == pytest.approx(300.0)
    assert reading.time_ns == 930 * MS


def test_a_sensor_that_is_told_what_it_does_not_know_is_refused(tmp_path):
    with pytest.raises(ValueError, match="colour"):
        VirtualProbe(tmp_path / "gpu.load", [{"name": "gpu-0/board", "colour": "red"}])


def test_no_sensor_at_all_is_unavailable_with_the_cure(tmp_path):
    with pytest.raises(ProbeUnavailable, match="sensors"):
        VirtualProbe(tmp_path / "gpu.load").open()


def test_it_is_not_opened_by_itself():
    import wattvlm.probes.virtual as module

    assert not hasattr(module, "PROBE")
