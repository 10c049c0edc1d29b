"""Calibration records: what they hold, where they are kept, and what happens to a file that is none."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from wattvlm.calibration import Calibration, calibrations_folder, driver_of, known_calibrations
from wattvlm.errors import ReportFormatError
from wattvlm.sensing import Channel, Domain

RECORD = Calibration(
    "gpu-8f2c/board", "570.86", "2026-11-22T14:00:00Z", "against wall.csv", "0.1.0", "NVIDIA H100 PCIe", 100_000_000,
    "boxcar", (24_000_000, 26_000_000), (-1_000_000, 2_000_000), 0.954, 0.0025, -1.2, 0.4,
)  # fmt: skip


def test_a_record_survives_its_file(tmp_path):
    path = RECORD.keep(tmp_path / "not" / "yet")
    assert Calibration.load(path) == RECORD
    assert known_calibrations(["gpu-8f2c"], folder=path.parent).records == (RECORD,)


def test_records_of_other_boards_are_not_even_opened(tmp_path):
    (tmp_path / "gpu-other_board.json").write_text("this is no record")
    assert known_calibrations(["gpu-8f2c"], folder=tmp_path) == known_calibrations([], folder=tmp_path)


def test_two_drivers_of_one_board_have_a_record_each(tmp_path):
    newer = replace(RECORD, driver="580.1")
    assert RECORD.keep(tmp_path) != newer.keep(tmp_path)
    assert set(known_calibrations(["gpu-8f2c"], folder=tmp_path).records) == {RECORD, newer}


def test_a_broken_file_is_a_note_with_the_cure_and_no_exception(tmp_path):
    RECORD.keep(tmp_path).write_text('{"kind": "wattvlm calibration", "schema_version": 1, "channel": 7}')
    known = known_calibrations(["gpu-8f2c"], folder=tmp_path)
    assert known.records == ()
    assert len(known.notes) == 1
    assert "Cure: run `wattvlm calibrate` again" in known.notes[0]
    assert "not used" in known_calibrations(["gpu-8f2c"], [tmp_path / "nowhere.json"]).notes[0]


def test_a_folder_that_is_not_there_or_no_folder_gives_no_records(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "none", tmp_path / "file"):
        assert known_calibrations(["gpu-8f2c"], folder=folder).records == ()


@pytest.mark.parametrize(
    ("environ", "platform", "folder"),
    [
        ({"HOME": "/home/ada"}, "linux", "/home/ada/.local/share/wattvlm/calibrations"),
        ({"HOME": "/home/ada", "XDG_DATA_HOME": "/data"}, "linux", "/data/wattvlm/calibrations"),
        ({"HOME": "/home/ada", "XDG_DATA_HOME": "data"}, "linux", "/home/ada/.local/share/wattvlm/calibrations"),
        ({"HOME": "/Users/ada"}, "darwin", "/Users/ada/Library/Application Support/wattvlm/calibrations"),
        ({"HOME": "/h", "LOCALAPPDATA": "/local"}, "win32", "/local/wattvlm/calibrations"),
    ],
)
def test_records_are_kept_where_the_platform_keeps_data(environ, platform, folder):
    assert calibrations_folder(environ, platform) == Path(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"gain": 3.0}, {"gain": None}, {"gain_std_fraction": -0.1}, {"offset_std_w": -1.0},
        {"window_ns": (5, 4)}, {"lag_ns": (1, 0)}, {"update_period_ns": 0},
    ],
)  # fmt: skip
def test_a_record_that_cannot_be_is_refused(change, tmp_path):
    with pytest.raises(ValueError, match=r"gain|negative|interval|positive"):
        replace(RECORD, **change)
    path = RECORD.keep(tmp_path)
    plain = json.loads(path.read_text()) | change
    path.write_text(json.dumps(plain))
    with pytest.raises(ReportFormatError, match="does not hold together"):
        Calibration.load(path)


def test_only_accelerators_have_a_driver_and_a_boards_own_comes_first():
    facts = {"driver": "570.86", "gpu-amd driver": "6.4"}
    named: tuple[tuple[str, Domain], ...] = (
        ("gpu-8f2c/board", "gpu"),
        ("gpu-amd/board", "gpu"),
        ("cpu-0/package", "cpu"),
    )
    channels = [Channel(name, "", "", domain, "counter") for name, domain in named]
    assert [driver_of(channel, facts) for channel in channels] == ["570.86", "6.4", ""]
