"""The command line as a user types it: exit codes, output, and what goes to a file."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from wattvlm.cli import main


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report file, made by the demo's simulated session."""
    path = tmp_path_factory.mktemp("saved") / "run.json"
    result = run("demo", "--virtual", "--save", str(path))
    assert result.exit_code == 0, result.output
    return path


def test_help_names_each_command_with_its_own_words():
    shown = run("--help").output
    for command in ("demo", "doctor", "recover", "report"):
        assert command in shown
        assert run(command, "--help").exit_code == 0


def test_an_unknown_command_is_a_usage_error():
    assert run("meter").exit_code == 2


def test_the_virtual_demo_says_virtual_in_each_heading_and_gives_a_full_report():
    result = run("demo", "--virtual")
    assert result.exit_code == 0
    assert result.output.startswith("wattvlm VIRTUAL")
    for words in ("vision encode", "prefill", "decode", "visual token", "J per request"):
        assert words in result.output


def test_the_replayed_recording_needs_no_torch(tmp_path):
    program = (
        "import sys; sys.modules['torch'] = None; sys.modules['transformers'] = None\n"
        "from wattvlm.cli import main; main(['demo', '--replay'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "VIRTUAL" in done.stdout
    assert "visual token" in done.stdout


def test_the_same_recording_gives_the_same_report_each_time():
    assert run("demo", "--replay").output == run("demo", "--replay").output


def test_virtual_and_replay_together_are_refused():
    assert run("demo", "--virtual", "--replay").exit_code == 2


def test_the_demo_answers_questions_about_images_with_accuracy_beside_chance():
    pytest.importorskip("torch", reason="needs the extra wattvlm[torch]")
    result = run("demo", "--images", "5", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "best guess without looking" in result.output
    assert "15 calls" in result.output
    assert "16 visual" in result.output or "visual token" in result.output


def test_doctor_says_what_can_be_measured_and_its_exit_code_agrees():
    shown = run("doctor")
    found = json.loads(run("doctor", "--json").output)
    assert shown.exit_code == (0 if found["can_measure"] else 3)
    for absence in found["absent"]:
        assert absence["what"]
        assert absence["remedy"]
        assert "cure" in shown.output


def test_a_saved_report_is_shown_again_and_as_json(saved):
    shown = run("report", str(saved))
    assert shown.exit_code == 0
    assert "decode" in shown.output
    assert json.loads(run("report", str(saved), "--json").output)["kind"] == "wattvlm report"


def test_a_recording_is_shown_as_its_report(tmp_path):
    from wattvlm.demo import replay_path

    assert run("report", str(replay_path())).output == run("demo", "--replay").output


def test_grams_and_money_stand_on_lines_of_their_own(saved):
    shown = run("report", str(saved), "--co2", "475", "--price", "0.3").output
    assert "g CO2 per request, at 475 g CO2 a kWh (given by you)" in shown
    assert "money per request" in shown


@pytest.mark.parametrize("content", ["", "{}", "no json", '{"kind": "else", "schema_version": 1}'])
def test_a_broken_or_foreign_file_is_a_clear_error(tmp_path, content):
    path = tmp_path / "broken.json"
    path.write_text(content)
    result = run("report", str(path))
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert str(path) in result.output or "recording" in result.output


def test_a_file_that_breaks_off_while_it_is_read_is_a_usage_error_and_no_regression():
    result = run("report", "/proc/self/mem")
    assert result.exit_code == 2
    assert "was not read" in result.output


def test_an_unknown_format_names_those_there_are(saved):
    result = run("report", str(saved), "--format", "papyrus")
    assert result.exit_code == 2
    assert "console" in result.output


def test_a_report_can_be_written_to_a_file(saved, tmp_path):
    path = tmp_path / "picture.svg"
    assert run("report", str(saved), "--format", "svg", "-o", str(path)).exit_code == 0
    assert path.read_text().startswith("<svg")


def test_a_killed_run_is_recovered_with_its_marks_and_readings(tmp_path):
    program = (
        "import os, signal, sys, time, wattvlm\n"
        "m = wattvlm.meter(label='killed'); m.__enter__()\n"
        "with m.phase('until the end'):\n"
        "    time.sleep(0.5); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {"TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "-c", program], env=environment, check=False)
    done = subprocess.run(
        [sys.executable, "-c", "from wattvlm.cli import main; main(['recover'])"],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "until the end" in done.stdout


@pytest.mark.parametrize(
    ("option", "begins"),
    [("--csv", "call,"), ("--md", "### wattvlm"), ("--json", '{"kind"'), ("--emissions", "timestamp,"),
     ("--methods", "Energy is that of"), ("--perfetto", "{\"displayTimeUnit\"")],
)  # fmt: skip
def test_each_format_has_an_option_of_its_own(saved, option, begins):
    result = run("report", str(saved), option)
    assert result.exit_code == 0, result.output
    assert result.output.startswith(begins)


def test_a_picture_is_a_file_of_its_own_and_never_thrown_at_a_terminal(saved, tmp_path):
    path = tmp_path / "run.png"
    assert run("report", str(saved), "--png", "-o", str(path)).exit_code == 0
    assert path.read_bytes().startswith(b"\x89PNG")
    terminal, _ = os.openpty()
    done = subprocess.run(
        [sys.executable, "-c", "from wattvlm.cli import main; main()", "report", str(saved), "--png"],
        stdout=terminal, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "-o FILE" in done.stderr


def test_a_file_that_cannot_be_written_is_a_usage_error_and_no_regression(saved, tmp_path):
    result = run("report", str(saved), "--csv", "-o", str(tmp_path / "nowhere" / "run.csv"))
    assert result.exit_code == 2
    assert "was not written: No such file or directory" in result.output


def test_grams_stand_in_emissions_only_with_a_factor(saved):
    heading, row = run("report", str(saved), "--emissions", "--co2", "400").output.splitlines()[:2]
    without = run("report", str(saved), "--emissions").output.splitlines()[1]
    column = heading.split(",").index("emissions")
    assert float(row.split(",")[column]) > 0
    assert without.split(",")[column] == ""


def test_a_trace_that_is_none_is_not_merged_and_says_so(saved, tmp_path):
    broken = tmp_path / "torch.json"
    broken.write_text("[]")
    result = run("report", str(saved), "--perfetto", "--merge", str(broken))
    assert result.exit_code == 2
    assert "was not merged" in result.output
    assert run("report", str(saved), "--csv", "--merge", str(broken)).exit_code == 2
