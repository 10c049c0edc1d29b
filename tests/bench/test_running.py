"""A bench on a virtual GPU: repeated until known, cut off at any moment and gone on with, and never mixed up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.bench.virtual_subject import DECODE_W, VirtualSubject
from wattvlm import bench
from wattvlm.bench import keeping
from wattvlm.bench.keeping import DesignChanged
from wattvlm.bench.running import Progress
from wattvlm.errors import ReportFormatError, WattvlmError
from wattvlm.units import NS_PER_S

DESIGN = bench.Design(
    models=("virtual",), output_tokens=(8, 32), until_fraction=0.4, fewest_calls=5, most_calls=6, cool_down_ns=0, seed=1
)


@pytest.fixture
def subject(tmp_path: Path) -> VirtualSubject:
    return VirtualSubject(tmp_path / "gpu.load")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bench.Results, list[Progress]]:
    """A folder with a whole bench in it, what it gave, and what was told of it."""
    folder = tmp_path_factory.mktemp("bench")
    subject, told = VirtualSubject(folder / "gpu.load"), list[Progress]()
    results = bench.run(DESIGN, folder / "results", subject=subject, probes=subject.probes, tell=told.append)
    return folder / "results", results, told


def test_each_cell_has_a_report_with_the_joules_of_its_own_calls(done):
    folder, results, _ = done
    found = bench.reports(folder)
    assert sorted(found) == sorted(results.order)
    for tokens in (8, 32):
        decode = found[f"virtual_1_batch1_out{tokens}"].phase("decode")
        seconds = (decode.duration_ns or 0.0) / NS_PER_S
        assert seconds >= 0.002 * tokens
        energy = decode.energies["gpu"].energy
        assert energy.middle_j == pytest.approx(DECODE_W * seconds, rel=0.1, abs=3 * energy.half_width_j)


def test_the_index_says_how_each_cell_ended(done):
    _, results, _ = done
    for each in results.finished:
        assert 5 <= each.calls <= 6
        assert each.stopped in ("each phase that can be is within", "6 calls are the most")
    assert results.missing == ()


def test_progress_is_told_cell_by_cell_and_call_by_call(done):
    _, _, told = done
    assert [each.done for each in told if each.finished is not None] == [1, 2]
    assert max(each.calls for each in told) >= 5
    assert {each.cells for each in told} == {2}


def test_a_finished_bench_measures_nothing_again(done, subject: VirtualSubject):
    folder, results, _ = done
    assert bench.run(DESIGN, folder, subject=subject, probes=subject.probes) == results
    assert subject.calls == []


def test_another_design_is_refused_with_the_difference_named(done, subject: VirtualSubject):
    folder, _, _ = done
    other = bench.Design(
        models=("virtual",), output_tokens=(8, 64), until_fraction=0.4, fewest_calls=5, most_calls=6, cool_down_ns=0
    )
    with pytest.raises(DesignChanged, match=r"output_tokens was \(8, 32\) and is \(8, 64\) now; seed was 1 and is 0"):
        bench.run(other, folder, subject=subject)
    with pytest.raises(DesignChanged, match=r"output_tokens was \(8, 32\) and is \(8, 64\) now\. Cure"):
        bench.run(other, folder, subject=subject, keep_seed=True)


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path, subject: VirtualSubject):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(DesignChanged, match=r"thesis\.txt is in it"):
        bench.run(DESIGN, tmp_path / "mine", subject=subject)
    with pytest.raises(ReportFormatError, match=r"holds no results of wattvlm bench"):
        bench.reports(tmp_path / "mine")


def test_two_at_once_into_one_folder_are_refused(done, subject: VirtualSubject):
    folder, _, _ = done
    with keeping.alone_in(folder), pytest.raises(WattvlmError, match="another bench is measuring"):
        bench.run(DESIGN, folder, subject=subject)


def test_a_model_that_fails_costs_its_own_cells_only_and_is_tried_again(tmp_path: Path):
    design = bench.Design(models=("sound", "broken"), until_fraction=0.4, fewest_calls=2, most_calls=2, cool_down_ns=0)
    subject = VirtualSubject(tmp_path / "gpu.load", failing=("broken",))
    results = bench.run(design, tmp_path / "results", subject=subject, probes=subject.probes)
    failed = results.of("broken_1_batch1_out32")
    assert failed.failure == "MemoryError: no room for it"
    assert results.missing == (failed.name,)
    assert list(bench.reports(tmp_path / "results")) == ["sound_1_batch1_out32"]
    subject.failing, subject.calls = (), []
    results = bench.run(design, tmp_path / "results", subject=subject, probes=subject.probes)
    assert results.missing == ()
    assert set(subject.calls) == {failed.name}


def test_time_that_is_up_ends_a_cell_at_the_fewest_calls_that_have_an_interval(tmp_path: Path, subject: VirtualSubject):
    design = bench.Design(
        models=("virtual",), output_tokens=(1,), fewest_calls=50, limit_ns=NS_PER_S // 10, cool_down_ns=0
    )
    results = bench.run(design, tmp_path / "results", subject=subject, probes=subject.probes)
    (only,) = results.finished
    assert only.stopped == "time is up"
    assert 5 <= only.calls < 50
    assert any("±" in words for words in only.open_parts)


def test_without_a_sensor_a_cell_ends_after_its_fewest_calls(tmp_path: Path, subject: VirtualSubject):
    subject.probes = []
    design = bench.Design(models=("virtual",), output_tokens=(1,), fewest_calls=3, cool_down_ns=0)
    (only,) = bench.run(design, tmp_path / "results", subject=subject, probes=[]).finished
    assert (only.calls, only.stopped) == (3, "no sensor: joules are modelled or absent")


KILLED = """
import sys
from pathlib import Path
from tests.bench.test_running import DESIGN
from tests.bench.virtual_subject import VirtualSubject
from wattvlm import bench
subject = VirtualSubject(Path(sys.argv[1]) / "gpu.load")
bench.run(DESIGN, Path(sys.argv[1]) / "results", subject=subject, probes=subject.probes)
"""


def test_a_run_that_is_killed_loses_no_finished_cell_and_goes_on_with_the_rest(tmp_path: Path):
    folder = tmp_path / "results"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}  # where the killed run's journals stay for `wattvlm recover`
    program = [sys.executable, "-c", KILLED, str(tmp_path)]
    running = subprocess.Popen(program, cwd=Path(__file__).parents[2], env=environment)
    try:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and running.poll() is None:
            if keeping.is_bench(folder) and keeping.load(folder).finished:
                break
            time.sleep(0.02)
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    (kept,) = keeping.load(folder).finished
    before = (folder / kept.file).read_bytes()
    subject = VirtualSubject(tmp_path / "gpu.load")
    results = bench.run(DESIGN, folder, subject=subject, probes=subject.probes)
    assert results.missing == ()
    assert (folder / kept.file).read_bytes() == before
    assert kept.name not in subject.calls
