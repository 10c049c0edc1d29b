"""One meter, one virtual GPU, one plan: a process of its own in which the real pynvml loads a virtual NVML."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.environments import PEERS, Peer, interpreter_of, path_with_nvidia_smi
from benchmarks.peers.plan import BETWEEN_W, CALL_LATENCY_NS, IDLE_W, LIMIT_W
from wattvlm.testing import VirtualGpu, VirtualNvml

ROOT = Path(__file__).parents[2]
SLACK_S = 240.0
"""A meter's process may take this much longer than twice its plan before it is given up."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one meter's process left: its sessions, the exception that ended it, and how the process ended.

    raised: "Type: message" of an exception that came out of the meter, or "". ended: "" for a normal end.
    """

    name: str
    sessions: tuple[Mapping[str, Any], ...]
    raised: str
    ended: str


def run_one(name: str, folder: Path, environments: Path, settings: Mapping[str, Any], plan: Mapping[str, Any]) -> Run:
    """Run a meter's program on its own virtual GPU; never raises for what the meter does."""
    folder.mkdir(parents=True, exist_ok=True)
    peer = PEERS[name]
    try:
        python = interpreter_of(peer, environments)
    except RuntimeError as error:
        return Run(name, (), "", f"not run: {error}")
    load, result = folder / "gpu.load", folder / "result.json"
    load.touch()
    own = {"latency_ns": CALL_LATENCY_NS, "limit_w": LIMIT_W, "max_limit_w": LIMIT_W, "idle_w": IDLE_W, **settings}
    library = VirtualNvml(folder / "library", [VirtualGpu(load=load, **own)])
    library.build()
    (folder / "plan.json").write_text(json.dumps({"load": str(load), "between_w": BETWEEN_W, "idle_w": IDLE_W, **plan}))
    return _read(name, result, _started(peer, python, folder, library, plan))


def _started(peer: Peer, python: Path, folder: Path, library: VirtualNvml, plan: Mapping[str, Any]) -> str:
    """Run the program to its end; "" or how it ended."""
    options = peer.options or (str(folder / "recordings"),)
    command = [
        str(python), "-m", f"benchmarks.peers.programs.{peer.program}", str(folder / "plan.json"),
        str(folder / "result.json"), *options,
    ]  # fmt: skip
    environment = library.environment()
    environment |= {"PYTHONPATH": str(ROOT), "PATH": path_with_nvidia_smi(folder / "tools"), "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False,
            timeout=SLACK_S + 2 * length_s(plan["sessions"]) + plan.get("starts_in_s", 0.0),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "hung"
    (folder / "errors.txt").write_text(done.stderr)
    if done.returncode == 0:
        return ""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return f"exit {done.returncode}: {lines[-1].strip() if lines else 'no message'}"


def _read(name: str, result: Path, ended: str) -> Run:
    if not result.exists():
        return Run(name, (), "", ended or "no result")
    found = json.loads(result.read_text())
    return Run(name, tuple(found["sessions"]), found["raised"], ended)


def read_again(name: str, folder: Path) -> Run:
    """What a run left in its folder."""
    return _read(name, folder / "result.json", "")


def length_s(sessions: Sequence[Mapping[str, Any]]) -> float:
    """How long a plan takes in seconds, the waiting of our own reports included."""
    total_s: float = sum(
        1.0
        + session["rest_ns"] * 1e-9
        + sum(call["pause_ns"] + sum(phase[1] for phase in call["phases"]) for call in session["calls"]) * 1e-9
        for session in sessions
    )
    return total_s


def run_together(
    names: Sequence[str],
    folder: Path,
    environments: Path,
    settings: Mapping[str, Any],
    plan: Mapping[str, Any],
    together: int,
) -> dict[str, Run]:
    """Several meters on virtual GPUs of their own, so many at a time, with the same calls."""
    for name in names:  # one after the other, since two rows may share an environment
        with suppress(RuntimeError):  # each run says it of itself
            interpreter_of(PEERS[name], environments)
    with ThreadPoolExecutor(together) as pool:
        runs = pool.map(lambda name: run_one(name, folder / name, environments, settings, plan), names)
        return {run.name: run for run in runs}
