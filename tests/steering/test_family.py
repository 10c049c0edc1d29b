"""Whose a process is, as /proc tells it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from wattvlm.steering.family import is_of


def test_the_program_and_what_it_started_are_its_own_and_others_are_not():
    started = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert is_of(os.getpid(), os.getpid()) is True
        assert is_of(started.pid, os.getpid()) is True
        assert is_of(os.getpid(), started.pid) is False
    finally:
        started.communicate()


def test_a_number_that_proc_does_not_know_cannot_be_told(tmp_path: Path):
    assert is_of(7, 5, tmp_path) is None


def test_a_name_with_brackets_and_blanks_hides_no_parent(tmp_path: Path):
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "stat").write_text("7 (a) b (c) S 5 7 7 0")
    assert is_of(7, 5, tmp_path) is True
