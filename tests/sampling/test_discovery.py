from __future__ import annotations

import pytest

from wattvlm.sampling.discovery import machine_sources, own_sources, sensors
from wattvlm.sensing import ProbeSource


def test_each_probe_that_needs_no_arguments_is_found_by_itself():
    targets = [source.target for source in own_sources()]
    assert all(target.startswith("wattvlm.probes.") and target.endswith(":PROBE") for target in targets)
    assert len(targets) == len(set(targets))
    are_models = [target.endswith("_model:PROBE") for target in targets]
    assert are_models == sorted(are_models)
    assert [source.target for source in machine_sources()][: len(targets)] == targets


def test_probes_that_need_arguments_are_not_opened_by_themselves():
    assert not {"wattvlm.probes.replay:PROBE", "wattvlm.probes.virtual:PROBE"} & {s.target for s in own_sources()}


def test_sensors_tells_what_a_meter_would_see():
    found = sensors(
        [
            ProbeSource("tests.sampling.tiny_probes:Counter", {"power_w": 100.0, "period_ms": 20}),
            ProbeSource("tests.sampling.tiny_probes:Power"),
            ProbeSource("tests.sampling.tiny_probes:Unavailable"),
        ],
        look_s=1.0,
    )
    by_name = {seen.channel.name: seen for seen in found.channels}
    counter, power = by_name["gpu-0/board"], by_name["cpu-0/package"]
    assert counter.period_ns == pytest.approx(20_000_000, rel=0.1)
    assert counter.mean_w == pytest.approx(100, rel=0.1)
    assert counter.resolution == pytest.approx(2.0)
    assert power.mean_w == 50.0
    assert power.resolution is None
    assert found.can_measure
    assert "no NVIDIA driver" in [absence.what for absence in found.absent]
    assert found.facts["driver"] == "1.2"


def test_a_slow_driver_is_waited_for():
    found = sensors([ProbeSource("tests.sampling.tiny_probes:Counter", {"open_s": 0.6})], look_s=0.2)
    assert [seen.channel.name for seen in found.channels] == ["gpu-0/board"]
    assert found.can_measure


def test_a_machine_with_models_only_cannot_measure():
    found = sensors([ProbeSource("tests.sampling.tiny_probes:Power", {"method": "model"})], look_s=0.2)
    assert found.channels[0].readings
    assert not found.can_measure
    assert sensors([], look_s=0.0).channels == ()
