"""What only a machine with a real GPU or RAPL can show; elsewhere each test says what is missing."""

import time
from typing import Any

import pytest

import wattvlm
from wattvlm.demo import model_path
from wattvlm.sampling.discovery import MachineSensors, sensors

pytestmark = pytest.mark.hardware


@pytest.fixture(scope="module")
def machine() -> MachineSensors:
    return sensors()


def _channels(machine: MachineSensors, domain: str) -> list[Any]:
    found = [seen for seen in machine.channels if seen.channel.domain == domain and seen.channel.method != "model"]
    if not found:
        pytest.skip(f"no {domain} sensor here: {[absence.what for absence in machine.absent]}")
    return found


def test_an_idle_gpu_draws_less_than_its_limit_and_more_than_nothing(machine):
    for seen in _channels(machine, "gpu"):
        assert seen.mean_w is not None
        assert 1.0 < seen.mean_w < (seen.channel.max_power_w or 2000.0)


def test_the_ticks_of_a_real_gpu_counter_form_a_comb(machine):
    counters = [seen for seen in _channels(machine, "gpu") if seen.channel.method == "counter"]
    if not counters:
        pytest.skip("this GPU has no energy counter")
    assert all(seen.period_ns is not None and 1e6 < seen.period_ns < 300e6 for seen in counters)


def test_a_busy_gpu_draws_more_than_an_idle_one_and_the_joules_say_so(machine):
    _channels(machine, "gpu")
    torch = pytest.importorskip("torch", reason="needs the extra wattvlm[torch]")
    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    matrix = torch.rand(4096, 4096, device="cuda")
    torch.cuda.synchronize()
    with wattvlm.meter() as m:
        with m.phase("idle"):
            time.sleep(2.0)
        with m.phase("busy"):
            until = time.monotonic() + 2.0
            while time.monotonic() < until:
                matrix @ matrix
                torch.cuda.synchronize()
    assert float(m.report.joules("busy", ("gpu",))) > 1.3 * float(m.report.joules("idle", ("gpu",)))


def test_a_call_on_the_gpu_has_phases_on_the_devices_own_clock(machine):
    _channels(machine, "gpu")
    torch = pytest.importorskip("torch", reason="needs the extra wattvlm[torch]")
    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    from wattvlm.demo.asking import decoded, load
    from wattvlm.demo.questions import QUESTIONS, held_out, prompt

    processor, model = load(model_path())
    model.to("cuda")
    inputs = processor(images=held_out().pictures()[:1], text=[prompt(QUESTIONS[0])], return_tensors="pt")
    with wattvlm.meter() as m:
        decoded(processor, model, inputs)
    call = m.recording.trace.calls[0]
    spans = [span for phase in call.phases for span in phase.spans if span.clock == "device"]
    assert {span.device for span in spans} == {"cuda:0"}
    assert all(call.start_ns - 5_000_000 <= span.start_ns <= span.end_ns for span in spans)


def test_a_busy_cpu_package_draws_more_than_nothing(machine):
    for seen in _channels(machine, "cpu"):
        assert seen.mean_w is not None
        assert seen.mean_w > 0.5
