"""Running counters: no joule lost between looks, and what a scrape gets."""

import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattvlm.exporting.endpoint import NoEndpoint, endpoint
from wattvlm.exporting.live import LiveEnergies, LiveEnergy, counted
from wattvlm.recording import Readings
from wattvlm.sensing import ProbeSource

pytest.importorskip("prometheus_client", reason="needs the extra wattvlm[prometheus]")

from prometheus_client.parser import text_string_to_metric_families

COUNTER = (ProbeSource("tests.sampling.tiny_probes:Counter"),)  # 100 W, a tick each 20 ms
POWER_W = 100.0


def scraped(port: int) -> dict[str, tuple[dict[str, str], float]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    families = text_string_to_metric_families(text)
    return {each.name: (each.labels, each.value) for family in families for each in family.samples}


@pytest.mark.alone
def test_many_looks_count_each_joule_once():
    with LiveEnergies(COUNTER) as live:
        seen: list[LiveEnergy] = []
        from_ns = time.monotonic_ns()
        for _ in range(8):
            time.sleep(0.13)
            seen += live.look()
    counted = [each.energy_j for each in seen]
    assert counted == sorted(counted)
    (first, last) = (seen[0], seen[-1])
    covered_s = (last.until_ns - first.until_ns) / 1e9
    assert last.energy_j - first.energy_j == pytest.approx(POWER_W * covered_s, abs=4.0)
    assert last.energy_j == pytest.approx(POWER_W * (last.until_ns - from_ns) / 1e9, abs=10.0)
    assert all(each.power_w == pytest.approx(POWER_W, rel=0.3) for each in seen[1:])


@given(st.lists(st.integers(0, 90), min_size=2, max_size=30), st.integers(0, 99))
def test_a_counter_that_wraps_loses_no_joule(steps, first):
    value_j = np.cumsum([first, *steps]) % 100.0
    time_ns = np.arange(len(value_j), dtype=np.int64) * 10**9
    readings = Readings("gpu-0/board", time_ns, time_ns, np.zeros_like(time_ns), value_j)
    assert counted(readings, 100.0, 0) == (sum(steps), 0, int(time_ns[-1]))
    middle_ns = int(time_ns[len(steps) // 2])
    half_ns, half_j = time_ns[: len(steps) // 2 + 1], value_j[: len(steps) // 2 + 1]
    early = Readings("gpu-0/board", half_ns, half_ns, half_ns, half_j)
    both = [counted(early, 100.0, 0)[0], counted(readings, 100.0, middle_ns)[0]]
    assert sum(both) == sum(steps)


def test_powers_of_sensors_and_models_are_counted_too_and_told_apart():
    power, model = (
        ProbeSource("tests.sampling.tiny_probes:Power", {"name": name, "method": method})
        for name, method in (("cpu-0/package", "power"), ("ram/model", "model"))
    )
    for source, modelled in ((power, False), (model, True)):
        with LiveEnergies([source]) as live:
            time.sleep(0.5)
            (seen,) = live.look()
        assert seen.modelled is modelled
        assert seen.power_w == pytest.approx(50.0)
        assert seen.energy_j > 0.0


def test_a_scrape_gets_counters_that_only_rise_with_the_same_labels_each_time():
    with endpoint(0, probes=COUNTER) as port:
        time.sleep(0.3)
        before = scraped(port)
        time.sleep(0.3)
        after = scraped(port)
    labels, energy_j = before["wattvlm_energy_joules_total"]
    assert labels == {"domain": "gpu", "phase": "all", "device": "gpu-0", "method": "measured"}
    assert after["wattvlm_energy_joules_total"][0] == labels
    assert after["wattvlm_energy_joules_total"][1] > energy_j > 0.0
    assert after["wattvlm_power_watts"][1] == pytest.approx(POWER_W, rel=0.3)


def test_the_endpoint_is_gone_with_its_block_and_a_taken_port_is_said():
    with endpoint(0, probes=COUNTER) as port, pytest.raises(NoEndpoint, match="Cure"), endpoint(port, probes=COUNTER):
        pass
    with pytest.raises(urllib.error.URLError):
        scraped(port)
