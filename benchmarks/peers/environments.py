"""A virtual environment for each peer, made once in a folder, and nvidia-smi's name for those that look for it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path

DEFAULT_FOLDER = Path(tempfile.gettempdir()) / "wattvlm-peers"

NVML_BINDINGS = "nvidia-ml-py==13.615.71"


@dataclass(frozen=True, slots=True)
class Peer:
    """A meter as a row shows it: the distributions it needs, and what its program (see `programs/`) is told.

    requirements: empty for our own, which runs in this environment.
    """

    words: str
    program: str
    requirements: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


OWN = "wattvlm"

PEERS = {
    OWN: Peer("wattvlm", "with_wattvlm"),
    "zeus": Peer("zeus 0.16.0", "with_zeus", ("zeus==0.16.0", NVML_BINDINGS)),
    "zeus-approx": Peer(
        "zeus 0.16.0, approx_instant_energy", "with_zeus", ("zeus==0.16.0", NVML_BINDINGS), ("approx",)
    ),
    "codecarbon": Peer("codecarbon 3.3.2, tasks", "with_codecarbon", ("codecarbon==3.3.2", NVML_BINDINGS)),
    "pyjoules": Peer("pyJoules 0.5.1", "with_pyjoules", ("pyJoules==0.5.1", NVML_BINDINGS)),
    "carbontracker": Peer(
        "carbontracker 2.4.7, each 1 s", "with_carbontracker", ("carbontracker==2.4.7", NVML_BINDINGS), ("1",)
    ),
    "carbontracker-10ms": Peer(
        "carbontracker 2.4.7, each 10 ms", "with_carbontracker", ("carbontracker==2.4.7", NVML_BINDINGS), ("0.01",)
    ),
    "nothing": Peer("no meter", "with_nothing"),
}


def interpreter_of(peer: Peer, folder: Path) -> Path:
    """The Python that has the peer; its environment is made first where it is not there. RuntimeError: it cannot be."""
    if not peer.requirements:
        return Path(sys.executable)
    home = folder / peer.requirements[0].replace("==", "-")
    python, ready = home / "bin" / "python", home / "ready"
    if not ready.exists():
        venv.create(home, clear=True, with_pip=True)
        command = [str(python), "-m", "pip", "install", "--quiet", *peer.requirements]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or ["pip failed"]
            raise RuntimeError(f"{peer.words} cannot be installed: {lines[-1]}")
        ready.touch()
    return python


def path_with_nvidia_smi(folder: Path) -> str:
    """A PATH on which `nvidia-smi` runs: codecarbon looks for NVIDIA's GPUs only where it does."""
    tool = folder / "nvidia-smi"
    folder.mkdir(parents=True, exist_ok=True)
    tool.write_text("#!/bin/sh\nexit 0\n")
    tool.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
