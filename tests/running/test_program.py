"""Which words on a command line are a script, a module or any other program."""

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from wattvlm.cli import main
from wattvlm.errors import WattvlmError
from wattvlm.recording import Recording
from wattvlm.running.metered import run_program
from wattvlm.running.program import Program, program_of
from wattvlm.sensing import ProbeSource
from wattvlm.trace import Mark

COUNTER = (ProbeSource("tests.sampling.tiny_probes:Counter"),)


@pytest.fixture
def script(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ask.py").write_text("")
    return "ask.py"


def test_a_file_of_python_is_a_script_also_behind_this_python(script):
    expected = Program("script", script, ("--images", "3"))
    assert program_of([script, "--images", "3"]) == expected
    assert program_of([sys.executable, script, "--images", "3"]) == expected


def test_options_of_python_itself_are_kept(script):
    words = ["-u", "-W", "error", "-Xdev", script, "-u"]
    flags = ("-u", "-W", "error", "-Xdev")
    assert program_of([sys.executable, *words]) == Program("script", script, ("-u",), flags)
    assert program_of([sys.executable, "-i", script]).kind == "command"


def test_m_is_a_module(script):
    assert program_of(["-m", "models.ask", "-m", "x"]) == Program("module", "models.ask", ("-m", "x"))
    assert program_of([sys.executable, "-m", "models.ask"]) == Program("module", "models.ask")


def test_what_pip_installed_in_this_environment_is_a_script(tmp_path):
    installed = tmp_path / "ask-models"
    installed.write_text(f"#!{sys.executable}\nprint('asked')\n")
    installed.chmod(0o755)
    assert program_of([str(installed), "x"]) == Program("script", str(installed), ("x",))


def test_any_other_program_is_a_command_also_a_python_with_options_of_its_own():
    assert program_of(["sleep", "1"]) == Program("command", "sleep", ("1",))
    assert program_of([sys.executable, "-c", "1"]).kind == "command"


@pytest.mark.parametrize("words", [[], ["-m"], ["missing.py"], ["no-such-program-here"]])
def test_what_cannot_be_run_is_refused_before_anything_is_measured(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WattvlmError):
        program_of(words)


def test_a_command_is_one_phase_with_the_joules_of_its_time():
    outcome = run_program(Program("command", "sleep", ("0.5",)), probes=COUNTER)
    report = outcome.report
    assert outcome.exit_code == 0
    (part,) = report.own_phases
    assert part.name == "sleep"
    assert (part.duration_ns or 0) >= 0.5e9
    low_j, high_j = part.energies["gpu"].bounds_j
    assert 0.0 < low_j <= 100.0 * (part.duration_ns or 0) / 1e9 <= high_j
    assert any("metered as a whole" in note for note in report.notes)


def test_a_program_that_a_signal_ended_has_the_exit_code_that_shells_give():
    assert run_program(Program("command", "sh", ("-c", "kill -KILL $$")), probes=COUNTER).exit_code == 137


def test_a_call_that_a_killed_worker_left_open_ends_with_its_last_mark(tmp_path):
    from wattvlm.sampling.children import ChildMarks, child_marks

    marks = ChildMarks(tmp_path)
    for mark in (Mark(1, "call_end", 1), Mark(2, "call_start", 2), Mark(5, "note")):
        marks.mark(mark)
    begun, note, ended = child_marks(tmp_path)
    assert (begun.kind, note.kind, ended.kind) == ("call_start", "note", "call_end")
    assert begun.call_id == ended.call_id != 2
    assert (ended.time_ns, ended.text) == (5, "not ended")


def test_a_worker_that_only_prepares_inputs_adds_nothing_to_the_calls(tmp_path):
    from wattvlm.sampling.children import ChildMarks, child_marks

    marks = ChildMarks(tmp_path)
    marks.mark(Mark(1, "phase_start", name="preprocess"))
    marks.mark(Mark(2, "phase_end", name="preprocess"))
    assert child_marks(tmp_path) == []
    assert list(Path(tmp_path).iterdir()) != []


@pytest.mark.parametrize(("variable", "rank"), [("RANK", "3"), ("SLURM_PROCID", "7"), ("NONE", "0")])
def test_each_rank_of_a_job_has_a_recording_of_its_own(tmp_path, monkeypatch, variable, rank):
    for name in ("RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, rank)
    words = ["run", "-q", "--recording", str(tmp_path / "run-{rank}.json.gz"), "--", "true"]
    assert CliRunner().invoke(main, words).exit_code == 0
    assert [phase.name for phase in Recording.load(tmp_path / f"run-{rank}.json.gz").trace.own_phases] == ["true"]
