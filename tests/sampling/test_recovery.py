from __future__ import annotations

import json
import os
import random

import pytest

from tests.sampling.journals import ABSENT, CPU, GPU, START_NS, write_run
from wattvlm.clock import WallAnchor
from wattvlm.errors import ReportFormatError
from wattvlm.recording import Recording
from wattvlm.sampling.recovery import recover, unfinished_runs
from wattvlm.sampling.sampler import process_start
from wattvlm.sampling.sensor_log import SensorLog
from wattvlm.sensing import Absence, Channel, Sensors


@pytest.fixture
def folder(tmp_path):
    return write_run(tmp_path / "wattvlm-killed")


def notes_of(recording):
    return [mark.text for mark in recording.marks if mark.kind == "note"]


def expected_notes(count=20):
    return [f"note {number} " * (1 + number % 20) for number in range(count)]


def test_a_killed_run_gives_all_that_it_wrote(folder):
    recording = recover(folder)
    assert recording.channels == (GPU, CPU)
    assert recording.readings["gpu-0/board"].value.tolist() == [10.0 * n for n in range(40)]
    assert recording.readings["gpu-0/board"].unchanged_at_ns[0] == recording.readings["gpu-0/board"].time_ns[0] - 10**6
    assert recording.readings["cpu-0/package"].value.tolist() == [50.0] * 40
    assert recording.absent == (ABSENT,)
    assert recording.host.facts == {"driver": "1.2"}
    assert notes_of(recording) == expected_notes()
    assert [block.label for block in recording.trace.blocks] == ["a run"]
    assert "a line for the report" in recording.notes
    assert [(gap.channel, gap.why) for gap in recording.gaps if gap.to_ns < START_NS + 10**9] == [
        ("cpu-0/package", "the driver was busy")
    ]
    assert recording.sampler_cost is not None
    assert recording.sampler_cost.core_fraction == pytest.approx(0.01)
    assert not recording.virtual


def test_a_recovered_run_can_be_saved(folder, tmp_path):
    recover(folder).save(tmp_path / "run.json")
    assert Recording.load(tmp_path / "run.json").to_dict() == recover(folder).to_dict()


@pytest.mark.parametrize("cut", range(1, 90, 7))
def test_a_torn_journal_keeps_every_whole_reading(folder, cut):
    path = folder / "readings-1-000000"
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    records = (len(whole) - cut) // 40
    recording = recover(folder)
    kept = sum(len(readings) for readings in recording.readings.values())
    assert kept == records - 4  # the gap is the last record and gone; four are costs


def test_damage_in_the_middle_costs_the_damaged_record_only(folder):
    path = folder / "readings-1-000000"
    content = bytearray(path.read_bytes())
    content[43 * 40 + 20] ^= 1
    path.write_bytes(content)
    recording = recover(folder)
    assert sum(len(readings) for readings in recording.readings.values()) == 79


def test_a_sensor_log_that_is_torn_still_names_its_channels(folder):
    path = folder / "sensors-1"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:4]) + b'{"is": "opened", "target": 3}\n[1, 2]\nnonsense\n' + lines[4][:20])
    recording = recover(folder)
    assert recording.channels == (GPU, CPU)
    assert len(recording.readings["gpu-0/board"]) == 40
    assert any("damaged entries" in note for note in recording.notes)


HOSTILE_LINES = [
    '{"is": "opened", "target": "x", "at_ns": 1e400, "channels": [], "absent": [], "facts": {}}',
    '{"is": "opened", "target": "x", "at_ns": 1, "channels": [{"index": 99999999999, "channel": {}}]}',
    '{"is": "opened", "target": "x", "at_ns": 1, "channels": 7, "absent": [], "facts": {}}',
    '{"is": "opened", "target": "x", "at_ns": 1, "channels": [], "absent": [], "facts": {"a": 1}}',
    '{"is": "anchor", "monotonic_ns": NaN, "wall_ns": Infinity}',
    '{"is": "anchor", "monotonic_ns": ' + "9" * 300 + ', "wall_ns": 1}',
    '{"is": "lost", "channel": "gpu-0/board", "at_ns": -4611686018427387905, "why": "x"}',
    '{"is": "lost", "channel": "gpu-0/board", "at_ns": 4611686018427387903, "why": "x"}',
    '{"is": ["opened"]}',
    '{"is": {"is": "note"}, "text": 3}',
    '{"is": "reason", "index": Infinity, "text": "x"}',
    '{"is": "started", "at_ns": 4611686018427387903}',
    '{"is": "ended", "at_ns": -5}',
    "[" * 100_000,
    '{"is": "note", "text": "' + "\\ud800" * 10 + '"}',
    "9" * 10_000,
]


@pytest.mark.parametrize("line", HOSTILE_LINES)
def test_a_hostile_line_in_the_sensor_log_harms_no_reading(folder, line):
    with (folder / "sensors-1").open("a") as file:
        file.write(line + "\n")
    recording = recover(folder)
    assert len(recording.readings["gpu-0/board"]) == 40
    Recording.from_dict(json.loads(json.dumps(recording.to_dict(), allow_nan=False)))


def mutated(content, chance):
    """The bytes with a cut, flips, a stretch of noise, of zeros, or of itself."""
    content = bytearray(content)
    for _ in range(chance.randint(1, 6)):
        place = chance.randrange(len(content) + 1)
        size = chance.choice([1, 2, 39, 40, 64, 128, 1000])
        what = chance.randrange(6)
        if what == 0:
            del content[place:]
        elif what == 1 and place < len(content):
            content[place] ^= 1 << chance.randrange(8)
        elif what == 2:
            content[place : place + size] = chance.randbytes(size)
        elif what == 3:
            content[place:place] = bytes(size)
        elif what == 4:
            content[place:place] = content[: min(size, len(content))]
        else:
            del content[place : place + size]
    return bytes(content)


def test_thousands_of_damaged_runs_give_a_recording_each_and_invent_nothing(folder):
    chance = random.Random(20)
    names = ["readings-1-000000", "marks-000000", "sensors-1", "owner"]
    whole = {name: (folder / name).read_bytes() for name in names}
    known = set(expected_notes())
    values = {10.0 * number for number in range(40)} | {50.0}
    for _ in range(2000):
        damaged = chance.sample(names, chance.randint(1, 2))
        for name in damaged:
            (folder / name).unlink()  # written anew: ext4 makes a truncated file wait for the disk
            (folder / name).write_bytes(mutated(whole[name], chance))
        recording = recover(folder)
        assert set(notes_of(recording)) <= known
        for readings in recording.readings.values():
            assert set(readings.value.tolist()) <= values
            assert (readings.time_ns[1:] >= readings.time_ns[:-1]).all()
        assert len(set(recording.trace.blocks)) <= 1
        for name in damaged:
            (folder / name).unlink()
            (folder / name).write_bytes(whole[name])


def test_files_of_pure_noise_give_an_empty_recording(folder):
    chance = random.Random(3)
    for _ in range(50):
        for name in ("readings-1-000000", "marks-000000", "sensors-1"):
            (folder / name).write_bytes(chance.randbytes(chance.randrange(5000)))
        recording = recover(folder)
        assert (recording.channels, recording.marks) == ((), ())


def test_an_empty_folder_is_an_empty_run(tmp_path):
    (tmp_path / "wattvlm-empty").mkdir(mode=0o700)
    assert recover(tmp_path / "wattvlm-empty").channels == ()


def test_no_link_pipe_or_folder_in_a_journals_place_is_followed_or_waited_for(folder, tmp_path):
    (folder / "sensors-2").symlink_to(folder / "sensors-1")
    os.mkfifo(folder / "readings-1-000001")
    (folder / "readings-1-000002").mkdir()
    (folder / "marks-000001").symlink_to("/dev/zero")
    recording = recover(folder)
    assert len(recording.readings["gpu-0/board"]) == 40


def test_a_file_without_end_is_read_only_so_far(folder):
    with (folder / "marks-000001").open("wb") as file:
        file.truncate(2**40)
    assert notes_of(recover(folder)) == expected_notes()


def test_a_folder_that_others_may_write_is_not_read(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    folder.chmod(0o770)
    for path in (folder, tmp_path / "link", tmp_path / "missing", folder / "owner", "zero\0byte"):
        with pytest.raises(ReportFormatError, match="Cure"):
            recover(path)


def test_runs_that_were_killed_are_found_and_running_ones_are_not(tmp_path):
    write_run(tmp_path / "wattvlm-killed")
    running = write_run(tmp_path / "wattvlm-running")
    (running / "owner").write_text(json.dumps({"pid": os.getpid(), "started": process_start(os.getpid())}))
    reused = write_run(tmp_path / "wattvlm-reused")
    (reused / "owner").write_text(json.dumps({"pid": os.getpid(), "started": "1"}))
    damaged = write_run(tmp_path / "wattvlm-damaged")
    (damaged / "owner").write_text("{")
    (tmp_path / "wattvlm-link").symlink_to(damaged)
    (tmp_path / "wattvlm-file").touch()
    write_run(tmp_path / "wattvlm-open").chmod(0o755)
    (tmp_path / "wattvlm-being-made").mkdir(mode=0o700)
    write_run(tmp_path / "other-program")
    found = {path.name for path in unfinished_runs(tmp_path)}
    assert found == {"wattvlm-killed", "wattvlm-reused", "wattvlm-damaged"}
    assert unfinished_runs(tmp_path / "missing") == []


def opened(log, target, *channels, absent=()):
    log.opened(target, START_NS, Sensors(tuple(channels), absent))


@pytest.mark.parametrize(
    ("domain", "method", "is_news"),
    [("cpu", "counter", False), ("cpu", "model", True), ("gpu", "counter", True)],
    ids=["perf reads what powercap denies", "a model measures nothing", "a machine may have other GPUs"],
)
def test_what_one_probe_is_denied_and_another_one_measures_is_not_absent(tmp_path, domain, method, is_news):
    denied = Absence(domain, "denied: only root may read it", "its joules are not measured", "chmod")
    log = SensorLog(tmp_path / "sensors-1")
    log.started(START_NS, WallAnchor(START_NS, START_NS))
    opened(log, "one:PROBE", absent=(denied,))
    opened(log, "other:PROBE", Channel("x/package", "other", "x", domain, method))
    assert recover(tmp_path).absent == ((denied,) if is_news else ())
