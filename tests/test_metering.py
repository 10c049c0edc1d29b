"""meter(): what a user sees of it, on the real sampling process and a virtual counter."""

import asyncio
import inspect
import time
from pathlib import Path

import pytest

import wattvlm
from wattvlm.errors import NotResolved
from wattvlm.sensing import ProbeSource
from wattvlm.testing import LoadFile

pytestmark = pytest.mark.alone

POWER_W = 200.0
MS = 1_000_000


@pytest.fixture
def gpu(tmp_path: Path) -> list[ProbeSource]:
    """One GPU of constant 200 W, whose counter ticks each 10 ms."""
    load = LoadFile(tmp_path / "gpu.load")
    load.append(0, POWER_W)
    sensor = {"name": "gpu-0/board", "period_ns": 10 * MS, "max_power_w": 700.0}
    return [ProbeSource("wattvlm.probes.virtual:VirtualProbe", {"load_path": str(load.path), "sensors": [sensor]})]


def _block_s(report: wattvlm.Report) -> float:
    return (report.block.duration_ns or 0.0) / 1e9


def test_a_phase_by_hand_gets_its_joules_from_the_counter(gpu):
    with wattvlm.meter(probes=gpu) as m, m.phase("rest"):
        time.sleep(0.3)
    energy = m.report.phase("rest").energies["gpu"].energy
    assert not energy.is_modelled
    assert energy.interval_j[0] <= POWER_W * 0.3 + 0.5
    assert energy.interval_j[1] >= POWER_W * 0.3
    assert energy.middle_j == pytest.approx(POWER_W * 0.3, rel=0.15)


def test_the_report_inside_the_block_is_the_report_so_far_and_the_last_one_is_kept(gpu):
    with wattvlm.meter(probes=gpu) as m:
        time.sleep(0.1)
        so_far = m.report
        time.sleep(0.2)
    assert _block_s(so_far) >= 0.1
    assert _block_s(m.report) >= _block_s(so_far) + 0.2
    assert m.report is m.report


def test_phases_of_a_call_by_hand_make_ratios_with_tokens_by_hand(gpu):
    with wattvlm.meter(probes=gpu) as m:
        for _ in range(2):
            for name in ("vision_encode", "prefill", "decode"):
                with m.phase(name):
                    time.sleep(0.2)
            m.tokens(visual_input=16, text_input=4, output=5, images=1)
    report = m.report
    assert len(report.calls) == 2
    assert report.calls[0].runtime == "manual"
    assert report.calls[0].tokens.how["visual_input"] == "given by the caller"
    assert float(report.joules_per_output_token) == pytest.approx(POWER_W * 0.6 / 5, rel=0.1)
    assert float(report.joules_per_visual_token) == pytest.approx(POWER_W * (0.2 + 0.2 * 16 / 20) / 16, rel=0.2)


def test_nested_meters_each_report_their_own_block(gpu):
    with wattvlm.meter(probes=gpu, label="outer") as outer:
        time.sleep(0.1)
        with wattvlm.meter(probes=gpu, label="inner") as inner, inner.phase("inside"):
            time.sleep(0.2)
    assert (outer.report.label, inner.report.label) == ("outer", "inner")
    assert _block_s(inner.report) < _block_s(outer.report)
    assert float(inner.report.joules("block")) < float(outer.report.joules("block"))
    assert [part.name for part in outer.report.own_phases] == ["inside"]


def test_a_decorated_function_keeps_its_result_name_and_signature_and_shows_its_latest_meter(gpu):
    @wattvlm.meter(probes=gpu)
    def answer(question: str, times: int = 2) -> str:
        """Says it again."""
        return question * times

    assert answer("a", times=3) == "aaa"
    first = answer.meter
    assert answer("b") == "bb"
    assert answer.meter is not first
    assert answer.meter.report.label == "answer"
    assert list(inspect.signature(answer).parameters) == ["question", "times"]
    assert answer.__doc__ == "Says it again."


def test_a_decorated_coroutine_is_metered_while_it_is_awaited(gpu):
    @wattvlm.meter(probes=gpu)
    async def answer() -> int:
        await asyncio.sleep(0.15)
        return 42

    assert asyncio.run(answer()) == 42
    assert _block_s(answer.meter.report) >= 0.15


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_the_block_unchanged_and_what_was_recorded_is_reported(gpu, error):
    def work() -> None:
        time.sleep(0.2)
        raise error

    with pytest.raises(error), wattvlm.meter(probes=gpu) as m, m.phase("until then"):
        work()
    assert float(m.report.joules("until then")) > 0.5 * POWER_W * 0.2


def test_a_meter_is_for_one_block(gpu):
    with wattvlm.meter(probes=gpu) as m:
        pass
    with pytest.raises(RuntimeError, match="make a new one"), m:
        pass


def test_a_meter_that_was_never_entered_says_how_to_use_it():
    with pytest.raises(RuntimeError, match="with meter"):
        _ = wattvlm.meter(probes=[]).report


@pytest.mark.parametrize(("counts", "error"), [({"visual": 3}, TypeError), ({"output": -1}, ValueError)])
def test_token_counts_that_cannot_be_are_refused(gpu, counts, error):
    with wattvlm.meter(probes=gpu) as m, pytest.raises(error, match="token"):
        m.tokens(**counts)


def test_without_any_sensor_there_are_times_and_no_joules():
    with wattvlm.meter(probes=[]) as m, m.phase("work"):
        time.sleep(0.05)
    assert m.report.domains == ()
    assert _block_s(m.report) >= 0.05
    with pytest.raises(NotResolved, match="doctor"):
        m.report.joules("block")
    assert "0 J" not in str(m.report)


def test_a_probe_that_cannot_be_made_is_an_absence_and_not_an_exception():
    broken = [ProbeSource("no_such_module:Probe")]
    with wattvlm.meter(probes=broken) as m:
        pass
    assert any("no_such_module" in absence.what for absence in m.report.absent)


def test_a_saved_recording_gives_the_same_report_again(gpu, tmp_path):
    with wattvlm.meter(probes=gpu) as m, m.phase("rest"):
        time.sleep(0.2)
    m.recording.save(tmp_path / "run.rec.json.gz")
    m.report.save(tmp_path / "run.json")
    recording = wattvlm.Recording.load(tmp_path / "run.rec.json.gz")
    again = wattvlm.analyze(recording)
    assert again.phase("rest").energies["gpu"].bounds_j == m.report.phase("rest").energies["gpu"].bounds_j
    assert wattvlm.Report.load(tmp_path / "run.json").to_dict() == m.report.to_dict()


def test_hundreds_of_meters_in_a_row_share_one_sampling_process(gpu):
    from wattvlm.sampling.sampler import shared_sampler

    with wattvlm.meter(probes=gpu):
        first = shared_sampler(gpu).child_pid
    for _ in range(300):
        with wattvlm.meter(probes=gpu):
            pass
    assert shared_sampler(gpu).child_pid == first
