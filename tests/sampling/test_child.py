from __future__ import annotations

import os

import pytest

from tests.sampling.journals import CPU, GPU, MS
from tests.sampling.simulated import SimulatedClock
from wattvlm.errors import ProbeUnavailable
from wattvlm.sampling.child import JournalSink, SamplingProcess, absence_of, make_probe
from wattvlm.sampling.columns import read_columns
from wattvlm.sampling.findings import read_findings
from wattvlm.sampling.journal import segments
from wattvlm.sampling.needs import Needs, NeedsFile, read_needs
from wattvlm.sampling.records import ENERGY
from wattvlm.sensing import EnergyReading, PowerReading, ProbeSource, Sensors
from wattvlm.units import NS_PER_S


@pytest.fixture
def clock():
    return SimulatedClock()


@pytest.fixture
def sink(tmp_path, clock):
    sink = JournalSink(tmp_path, 1, clock)
    sink.opened("tiny:Both", Sensors((GPU, CPU)))
    return sink


def test_a_reading_takes_no_more_than_64_bytes_of_disk(sink, clock, tmp_path):
    sink.forget_before(0)
    for number in range(120_000):
        clock.now_ns += 100 * MS
        sink.reading(EnergyReading(GPU.name, clock.now_ns - MS, clock.now_ns, MS, 10.0 * number))
    size = sum(path.stat().st_size for _, path in segments(tmp_path, "readings-1"))
    assert size <= 64 * 120_000
    assert len(segments(tmp_path, "readings-1")) == 2
    last = read_columns(tmp_path, "readings-1", clock.now_ns - NS_PER_S, clock.now_ns).of(ENERGY, 0)
    assert last.value[-1] == 10.0 * 119_999


def test_segments_that_no_meter_needs_are_deleted_and_the_others_stay(sink, clock, tmp_path):
    started_ns = clock.now_ns
    for number in range(110_000):
        clock.now_ns += 100 * MS
        sink.reading(PowerReading(CPU.name, clock.now_ns, MS, float(number)))
        if number % 1000 == 0:
            sink.forget_before(started_ns)
    assert len(segments(tmp_path, "readings-1")) == 2
    sink.forget_before(clock.now_ns - 30 * NS_PER_S)
    left = segments(tmp_path, "readings-1")
    assert len(left) == 1
    assert read_columns(tmp_path, "readings-1", 0, 2**62).value[-1] == 109_999.0


def test_reasons_and_notes_without_end_take_a_bounded_place(sink, tmp_path):
    for number in range(5000):
        sink.gap(GPU.name, 1, 2, f"failure number {number}")
        sink.note(f"note {number}")
    log = read_findings(tmp_path / "sensors-1")
    assert len(log.reasons) <= 201
    assert len(log.notes) <= 500
    assert log.reasons[200] == "other reasons"


def process(tmp_path, clock):
    return SamplingProcess(tmp_path, 1, os.getpid(), clock)


def test_a_sampling_process_ends_when_nobody_meters_for_a_minute(tmp_path, clock):
    child = process(tmp_path, clock)
    assert child.tend(Needs(), clock.now_ns + 59 * NS_PER_S) is None
    needs = NeedsFile(tmp_path)
    assert "no meter was open" in (child.tend(Needs(), clock.now_ns + 61 * NS_PER_S) or "")
    assert (tmp_path / "closing-1").exists()
    needs.close()


def test_a_sampling_process_stays_while_a_meter_is_open(tmp_path, clock):
    child = process(tmp_path, clock)
    for hour in range(48):
        assert child.tend(Needs(0, 1, 0), clock.now_ns + hour * 3600 * NS_PER_S) is None


def test_a_meter_that_opens_at_the_last_moment_keeps_the_sampling_process(tmp_path, clock):
    child = process(tmp_path, clock)
    needs = NeedsFile(tmp_path)
    needs.write(Needs(0, 1, 0))
    assert child.tend(Needs(), clock.now_ns + 61 * NS_PER_S) is None
    assert not (tmp_path / "closing-1").exists()
    needs.close()


def test_what_is_needed_is_read_as_it_was_written(tmp_path):
    needs = NeedsFile(tmp_path)
    assert read_needs(tmp_path) == Needs()
    needs.write(Needs(-5, 2, 1))
    needs.write(Needs(10**18, 1, 7))
    assert read_needs(tmp_path) == Needs(10**18, 1, 7)
    needs.close()
    needs.write(Needs())
    assert read_needs(tmp_path) == Needs(10**18, 1, 7)


@pytest.mark.parametrize("content", [b"", b"short", bytes(20), b"x" * 20])
def test_where_needs_cannot_be_read_nothing_is_deleted_and_nothing_ends(tmp_path, content):
    (tmp_path / "needs").write_bytes(content)
    assert read_needs(tmp_path).is_open
    assert read_needs(tmp_path).since_ns <= 0


def test_a_probe_is_made_of_its_target_and_arguments():
    probe = make_probe(ProbeSource("tests.sampling.tiny_probes:Counter", {"name": "gpu-7/board"}))
    assert probe.open().channels[0].name == "gpu-7/board"


def test_an_unavailable_sensor_keeps_its_own_words():
    class Gpu:
        domain = "gpu"

    absence = absence_of("x:PROBE", Gpu(), ProbeUnavailable("no driver", "no GPU joules", "install it"))
    assert (absence.domain, absence.what, absence.effect, absence.remedy) == (
        "gpu", "no driver", "no GPU joules", "install it",
    )  # fmt: skip


def test_a_probe_of_no_known_domain_speaks_for_the_node():
    class Odd:
        domain = ("gpu",)

    assert absence_of("x:PROBE", Odd(), KeyError("y")).domain == "node"
    assert absence_of("x:PROBE", None, KeyError("y")).domain == "node"
