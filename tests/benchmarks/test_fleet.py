"""The fleet benchmark: simulated nodes tell what a real one does, within bounds, and clocks are what it shifts."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.fleet import _shifted
from benchmarks.fleet_nodes import GPUS, SimulatedNode
from wattvlm.node.serving import MOST_MODELS
from wattvlm.testing import PowerCurve, VirtualMachine, VirtualSensor
from wattvlm.units import NS_PER_S

pytest.importorskip("prometheus_client", reason="needs the extra wattvlm[prometheus]")

from prometheus_client.parser import text_string_to_metric_families


def series(node: SimulatedNode) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(node.page())
    return {(each.name, tuple(sorted(each.labels.items()))): each.value for of in families for each in of.samples}


def test_a_node_tells_the_same_series_each_time_and_counters_that_only_rise():
    node = SimulatedNode(3)
    for _ in range(5):
        node.move_on(15 * NS_PER_S)
    before = series(node)
    node.move_on(15 * NS_PER_S)
    after = series(node)
    assert set(before) == set(after)
    counters = [each for each in before if each[0].startswith("wattvlm") and each[0].endswith("_total")]
    assert all(after[each] >= before[each] for each in counters)
    assert sum(each[0] == "wattvlm_energy_joules_total" and ("domain", "gpu") in each[1] for each in before) == GPUS


def test_a_server_of_a_hundred_models_makes_no_more_series_than_stated():
    few, many, more = SimulatedNode(1), SimulatedNode(1, models=100), SimulatedNode(1, models=200)
    for node in (few, many, more):
        for _ in range(3):
            node.move_on(15 * NS_PER_S)
    assert len(series(many)) == len(series(more))
    assert len(series(many)) - len(series(few)) <= (MOST_MODELS + 1) * 10


def test_a_shifted_clock_moves_every_reading_and_changes_no_joule():
    machine = VirtualMachine({"gpu": PowerCurve([(0, 300.0)])}, [VirtualSensor("gpu-0/board")])
    recording = machine.record(0, NS_PER_S)
    shifted = _shifted(recording, 5_000_000).readings["gpu-0/board"]
    own = recording.readings["gpu-0/board"]
    assert np.array_equal(shifted.time_ns - own.time_ns, np.full(len(own), 5_000_000))
    assert np.array_equal(shifted.value, own.value)
