"""Programs of a few lines that meter something in a process of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]

PREAMBLE = f"""
import os, sys, time
sys.path.append({str(ROOT)!r})
from wattvlm.sampling.sampler import Sampler, shared_sampler
from wattvlm.sensing import ProbeSource
from wattvlm.trace import Mark
COUNTER = [ProbeSource("tests.sampling.tiny_probes:Counter")]
"""


def started(program: str, *, cwd: Path | None = None, own_group: bool = False) -> subprocess.Popen[str]:
    """The program, running; what it prints can be read line by line."""
    return subprocess.Popen(
        [sys.executable, "-u", "-c", PREAMBLE + program], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=own_group,
    )  # fmt: skip


def printed(program: str, *, cwd: Path | None = None) -> list[str]:
    """The lines that the program prints; it must end well and say nothing on stderr."""
    process = started(program, cwd=cwd)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    return out.splitlines()


def is_running(pid: int) -> bool:
    """The process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def comes_true(condition: Callable[[], bool], within_s: float = 30.0) -> bool:
    """The condition holds within a while; a busy machine may need long."""
    deadline = time.monotonic() + within_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def ends(pid: int, within_s: float = 30.0) -> bool:
    """The process ends by itself within a while."""
    return comes_true(lambda: not is_running(pid), within_s)


def end(process: subprocess.Popen[str]) -> None:
    """Kill the program without a chance to tidy up."""
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
