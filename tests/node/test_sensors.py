"""Sensors of a node over a long time: joules against a known curve, failures and returns, on a clock that jumps."""

from __future__ import annotations

import time

import pytest

from wattvlm.errors import ProbeLost, ProbeRetry
from wattvlm.host import Host
from wattvlm.node.families import node_families, reason_of
from wattvlm.node.sensors import NodeSensors, ReadSensors, read_channels
from wattvlm.sensing import Absence, ProbeSource
from wattvlm.testing import FakeClock, PowerCurve, VirtualMachine, VirtualSensor

SECOND = 1_000_000_000
HOUR = 3600 * SECOND


def machine(*sensors, clock, power=((0, 300.0),)):
    return VirtualMachine({"gpu": PowerCurve(power), "cpu": PowerCurve([(0, 90.0)])}, sensors, clock=clock)


def read_for(probe, clock, duration_ns, into=None):
    into = into or NodeSensors()
    until_ns = clock.monotonic_ns() + duration_ns
    channels = into.opened("virtual", *_parts(probe.open()))
    read_channels(lambda: clock.monotonic_ns() >= until_ns, probe, channels, clock, into)
    return into


def _parts(sensors):
    return sensors.channels, sensors.absent, sensors.facts


def sums(into):
    return {tally.channel.name: tally for tally in into.seen().tallies}


def test_an_hour_of_a_counter_is_the_integral_of_its_power():
    clock = FakeClock()
    steps = [(0, 300.0), (20 * 60 * SECOND, 650.0), (40 * 60 * SECOND, 70.0)]
    board = VirtualSensor("gpu-0/board", period_ns=100_000_000, max_power_w=700.0)
    tally = sums(read_for(machine(board, clock=clock, power=steps).probe(), clock, HOUR))["gpu-0/board"]
    true_j = 20 * 60 * (300.0 + 650.0 + 70.0)
    assert tally.energy_j == pytest.approx(true_j, abs=2 * 300.0)
    assert tally.reads == pytest.approx(3600, abs=2)


def test_minutes_of_a_power_is_the_integral_of_its_power():
    clock = FakeClock()
    board = VirtualSensor("gpu-0/board", method="power", period_ns=100_000_000, window_ns=0, max_power_w=700.0)
    steps = [(0, 300.0), (60 * SECOND, 650.0), (120 * SECOND, 70.0)]
    tally = sums(read_for(machine(board, clock=clock, power=steps).probe(), clock, 180 * SECOND))["gpu-0/board"]
    assert tally.energy_j == pytest.approx(60 * (300.0 + 650.0 + 70.0), rel=2e-3)


class Flaky:
    """A probe whose reads fail as told, around a sound one."""

    domain = "gpu"

    def __init__(self, probe, error):
        self._probe, self._error, self.reads = probe, error, 0
        self.open, self.close = probe.open, probe.close

    def read(self, channel):
        self.reads += 1
        if self._error is not None and self.reads % 5 == 0:
            raise self._error
        return self._probe.read(channel)


def test_reads_in_vain_lose_no_joule_of_a_counter_and_are_counted():
    clock = FakeClock()
    board = VirtualSensor("gpu-0/board", max_power_w=700.0)
    flaky = Flaky(machine(board, clock=clock).probe(), ProbeRetry("busy"))
    tally = sums(read_for(flaky, clock, 100 * SECOND))["gpu-0/board"]
    assert tally.energy_j == pytest.approx(300.0 * 100, rel=0.03)
    assert tally.failures == pytest.approx(20, abs=1)


def test_one_lost_channel_is_told_and_the_others_go_on_until_their_probe_is_opened_again():
    clock = FakeClock()
    lost = VirtualSensor("gpu-0/board", max_power_w=700.0, lost_at_ns=10 * SECOND)
    other = VirtualSensor("gpu-1/board", max_power_w=700.0)
    probe = machine(lost, other, clock=clock).probe()
    into = read_for(probe, clock, HOUR)
    assert clock.monotonic_ns() < 2 * 60 * SECOND + 10 * SECOND
    found = sums(into)
    assert found["gpu-0/board"].lost
    assert found["gpu-1/board"].energy_j > 300.0 * 60
    (absent,) = (absence for _, absence in into.seen().absent)
    assert reason_of(absent) == "lost"
    before_j = found["gpu-1/board"].energy_j
    read_for(probe, clock, 60 * SECOND, into)
    again = sums(into)["gpu-1/board"]
    assert again.energy_j - before_j == pytest.approx(300.0 * 60, rel=0.05)
    assert again.unread_ns == 0


def test_what_is_absent_is_a_metric_with_its_reason_and_no_zero_joules():
    into = NodeSensors()
    into.unavailable("wattvlm.probes.nvml:PROBE", Absence("gpu", "no driver", "GPU joules are absent", "install it"))
    denied = Absence("cpu", f"denied: only root may read {'x' * 400}", "CPU joules are absent", "chmod")
    into.opened("wattvlm.probes.rapl:PROBE", (), (denied,), {})
    families = {family.name: family for family in node_families(Host(), into.seen(), 0)}
    reasons = {labels[:3] for labels, _ in families["wattvlm_sensor_absent"].samples}
    assert reasons == {("gpu", "missing", "nvml"), ("cpu", "denied", "rapl")}
    assert all(len(label) <= 160 for labels, _ in families["wattvlm_sensor_absent"].samples for label in labels)
    assert families["wattvlm_energy_joules"].samples == ()
    assert families["wattvlm_power_watts"].samples == ()


def test_a_channel_that_gives_nothing_any_more_is_down_and_its_joules_stand_still():
    clock = FakeClock()
    into = read_for(machine(VirtualSensor("gpu-0/board"), clock=clock).probe(), clock, 20 * SECOND)
    up = {}
    for later_ns in (SECOND, 60 * SECOND):
        families = {each.name: each for each in node_families(Host(), into.seen(), clock.monotonic_ns() + later_ns)}
        up[later_ns] = families["wattvlm_sensor_up"].samples[0][1], len(families["wattvlm_power_watts"].samples)
        assert families["wattvlm_energy_joules"].samples[0][1] == pytest.approx(300.0 * 20, rel=0.1)
    assert list(up.values()) == [(1.0, 1), (0.0, 0)]


def test_a_driver_that_is_gone_takes_its_joules_out_of_the_totals_until_it_is_back():
    clock = FakeClock()
    probe = machine(VirtualSensor("gpu-0/board", max_power_w=700.0), clock=clock).probe()
    into = read_for(probe, clock, 20 * SECOND)
    into.unavailable("virtual", Absence("gpu", "no driver", "GPU joules are absent", "load it"))
    gone = {each.name: each for each in node_families(Host(), into.seen(), clock.monotonic_ns())}
    assert (gone["wattvlm_energy_joules"].samples, gone["wattvlm_sensor_up"].samples[0][1]) == ((), 0.0)
    read_for(probe, clock, 20 * SECOND, into)
    back = {each.name: each for each in node_families(Host(), into.seen(), clock.monotonic_ns())}
    assert back["wattvlm_energy_joules"].samples[0][1] == pytest.approx(300.0 * 40, rel=0.05)


def test_two_rails_of_one_device_are_one_series():
    clock = FakeClock()
    rails = [VirtualSensor(f"cpu-0/{rail}", domain="cpu", max_power_w=700.0) for rail in ("package", "sysio")]
    into = read_for(machine(*rails, clock=clock).probe(), clock, 60 * SECOND)
    energy = next(each for each in node_families(Host(), into.seen(), 0) if each.name == "wattvlm_energy_joules")
    ((labels, energy_j),) = energy.samples
    assert labels == ("cpu", "all", "cpu-0", "measured")
    assert energy_j == pytest.approx(2 * 90.0 * 60, rel=0.05)


def test_a_probe_that_breaks_in_any_way_is_absent_and_holds_up_no_other():
    sources = [
        ProbeSource("tests.sampling.tiny_probes:Broken", {"how": "exit"}),
        ProbeSource("tests.sampling.tiny_probes:Unavailable"),
        ProbeSource("tests.sampling.tiny_probes:Counter"),
    ]
    with ReadSensors(sources) as sensors:
        until_s = time.monotonic() + 10
        while time.monotonic() < until_s:
            seen = sensors.seen()
            if len(seen.absent) == 3 and seen.tallies and seen.tallies[0].reads >= 2:
                break
            time.sleep(0.05)
    assert [tally.channel.name for tally in seen.tallies] == ["gpu-0/board"]
    assert sorted(reason_of(absence) for _, absence in seen.absent) == ["failed", "missing", "missing"]


def test_a_read_that_raises_anything_ends_its_channel_only():
    clock = FakeClock()
    flaky = Flaky(machine(VirtualSensor("gpu-0/board"), clock=clock).probe(), ProbeLost("fell off the bus"))
    into = read_for(flaky, clock, HOUR)
    assert sums(into)["gpu-0/board"].lost
    assert "fell off the bus" in into.seen().absent[0][1].what
