"""Every test leaves the machine as it was: no process, no journal folder, no thread of its own."""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("any machine", deadline=None)  # no test is timed: a busy machine is no failure
settings.load_profile("any machine")


def _processes_naming(folder: Path) -> list[str]:
    """Running processes whose command line names the folder: sampling processes of this test, also orphaned ones."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes()
        except OSError:
            continue
        if str(folder).encode() in command:
            found.append(entry.parent.name)
    return found


@pytest.fixture(autouse=True)
def a_pytest_started_by_a_test_is_no_worker(monkeypatch):
    """pytest-benchmark takes any process with these variables for a worker of pytest-xdist, and measures nothing."""
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def nothing_is_left_behind(tmp_path_factory, monkeypatch):
    """Journals of the test go to a temporary folder of its own, which is empty of them afterwards."""
    folder = tmp_path_factory.mktemp("journals")
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    untouched_ns = folder.stat().st_mtime_ns
    threads = set(threading.enumerate())
    yield
    sampler = sys.modules.get("wattvlm.sampling.sampler")
    if sampler is not None:
        sampler.stop_shared_samplers()
    assert [thread.name for thread in threading.enumerate() if thread not in threads and not thread.daemon] == []
    if folder.stat().st_mtime_ns != untouched_ns:
        assert [path.name for path in folder.glob("wattvlm-*")] == []
        deadline = time.monotonic() + 3  # an orphaned sampling process looks for its parent four times a second
        while _processes_naming(folder) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert _processes_naming(folder) == []
