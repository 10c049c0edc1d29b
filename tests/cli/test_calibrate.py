"""`wattvlm calibrate` as a user types it: what it prints, keeps, and ends with."""

import json
import subprocess
import sys

from click.testing import CliRunner, Result

from wattvlm.calibration import known_calibrations
from wattvlm.cli import main


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["calibrate", *arguments])


def test_a_virtual_board_is_calibrated_and_its_records_are_kept_where_asked(tmp_path):
    result = run("--virtual", "--seconds", "36", "--keep-in", str(tmp_path), "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    records = known_calibrations(["gpu-virtual-0"], folder=tmp_path).records
    assert {record.channel for record in records} == set(found)
    instant = found["gpu-virtual-0/instant"]["record"]
    low_ns, high_ns = instant["window_ns"]
    assert low_ns <= 25_000_000 <= high_ns
    assert abs(instant["gain"] - 0.954) < 2.5 * instant["gain_std_fraction"]
    assert found["gpu-virtual-0/board"]["record"]["response"] == "counter"
    assert all(entry["kept"].startswith(str(tmp_path)) for entry in found.values())


def test_what_was_found_is_shown_in_words_and_a_virtual_record_is_not_kept_by_itself():
    result = run("--virtual", "--seconds", "36")
    assert result.exit_code == 0
    assert result.output.startswith("VIRTUAL")
    for words in (
        "updates",
        "each 100 ms",
        "an exact counter",
        "lag",
        "gain",
        "offset",
        "not kept: the board is virtual",
    ):
        assert words in result.output
    assert max(map(len, result.output.splitlines())) <= 100


def test_two_references_or_too_short_a_time_are_usage_errors(tmp_path):
    meter = tmp_path / "meter.csv"
    meter.write_text("1,2\n2,3\n")
    assert run("--meter", str(meter), "--against", "meter-0/board").exit_code == 2
    short = run("--virtual", "--seconds", "5")
    assert short.exit_code == 2
    assert "too short" in short.output
    assert run("--virtual", "--seconds", "36", "--meter", str(meter)).exit_code == 3


def test_a_device_that_torch_has_not_is_said_with_the_cure_and_code_3():
    result = run("--device", "no-such-device")
    assert result.exit_code == 3
    assert "nothing was measured" in " ".join(result.output.split())
    assert "Cure" in result.output


def test_without_torch_the_cure_is_said_and_the_exit_code_is_3(tmp_path):
    program = (
        "import sys, importlib.util as util\n"
        "import importlib.abc\n"
        "class NoTorch(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'torch': raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, NoTorch())\n"
        "from wattvlm.cli import main; main(['calibrate'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert "pip install 'wattvlm[torch]'" in " ".join(done.stderr.split())
