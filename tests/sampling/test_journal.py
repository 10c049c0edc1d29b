from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from wattvlm.sampling.journal import SEGMENT_BYTES, JournalWriter, Position, create, read_from, read_segments, segments
from wattvlm.sampling.marks import decode_marks, encode_mark
from wattvlm.trace import Mark

ROOT = Path(__file__).parents[2]


def marks_of(folder):
    return [mark for content in read_segments(folder, "marks") for mark in decode_marks(content)]


def test_a_journal_is_private_to_its_user(tmp_path):
    JournalWriter(tmp_path, "marks").close()
    assert stat.S_IMODE((tmp_path / "marks-000000").stat().st_mode) == 0o600


def test_nothing_is_written_through_a_link_that_lies_in_wait(tmp_path):
    target = tmp_path / "precious"
    target.write_text("untouched")
    (tmp_path / "marks-000000").symlink_to(target)
    with pytest.raises(OSError, match="exists"):
        JournalWriter(tmp_path, "marks")
    assert target.read_text() == "untouched"


def test_a_reader_follows_no_link_and_waits_for_no_pipe(tmp_path):
    (tmp_path / "secret").write_bytes(encode_mark(Mark(1, "note")))
    (tmp_path / "marks-000000").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "marks-000001")
    (tmp_path / "marks-000002").mkdir()
    assert marks_of(tmp_path) == []
    assert read_from(tmp_path / "missing", 0, 10) == b""


def test_journals_are_not_inherited_by_what_the_program_starts(tmp_path):
    descriptor = create(tmp_path / "one")
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


def test_many_threads_lose_and_mix_no_mark(tmp_path):
    journal = JournalWriter(tmp_path, "marks")

    def write(lane):
        for number in range(300):
            journal.append(encode_mark(Mark(number, "note", lane, text=f"{lane}" * (number % 200), lane=lane)))

    threads = [threading.Thread(target=write, args=(lane,)) for lane in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    read = marks_of(tmp_path)
    assert len(read) == 1200
    for lane in range(1, 5):
        own = [mark for mark in read if mark.lane == lane]
        assert [mark.time_ns for mark in own] == list(range(300))
        assert all(mark.text == f"{lane}" * (mark.time_ns % 200) for mark in own)


def test_segments_end_at_four_mebibytes_and_old_ones_can_go(tmp_path):
    journal = JournalWriter(tmp_path, "marks")
    record = bytes(2**20)
    for _ in range(9):
        journal.append(record)
    assert [path.stat().st_size for _, path in segments(tmp_path, "marks")] == [SEGMENT_BYTES, SEGMENT_BYTES, 2**20]
    assert journal.position == Position(2, 2**20)
    journal.delete_before(2)
    assert [number for number, _ in segments(tmp_path, "marks")] == [2]
    journal.delete_before(99)
    assert [number for number, _ in segments(tmp_path, "marks")] == [2], "the segment being written stays"
    journal.close()


def test_reading_begins_where_it_is_told_to(tmp_path):
    journal = JournalWriter(tmp_path, "marks")
    journal.append(encode_mark(Mark(1, "note")))
    later = journal.position
    journal.append(encode_mark(Mark(2, "note")))
    read = [mark for content in read_segments(tmp_path, "marks", later) for mark in decode_marks(content)]
    assert [mark.time_ns for mark in read] == [2]
    journal.close()


def test_a_closed_journal_refuses_and_never_writes_into_another_file(tmp_path):
    journal = JournalWriter(tmp_path, "marks")
    journal.close()
    other = create(tmp_path / "other")  # takes the descriptor number that the journal had
    with pytest.raises(OSError, match="closed"):
        journal.append(b"x" * 128)
    journal.close()
    assert os.write(other, b"still open") == 10
    os.close(other)


def test_a_full_disk_costs_the_marks_that_did_not_fit_and_no_other(tmp_path):
    program = """
import resource, sys
from pathlib import Path
from wattvlm.sampling.journal import JournalWriter
from wattvlm.sampling.marks import encode_mark
from wattvlm.trace import Mark
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
journal, refused = JournalWriter(Path(sys.argv[1]), "marks"), 0
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
for number in range(10):
    try:
        journal.append(encode_mark(Mark(number, "note")))
    except OSError:
        refused += 1
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
print(refused)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == 1
    assert [mark.time_ns for mark in marks_of(tmp_path)] == [0, 1, 2, 3, 4, 5, 6, 8, 9]
