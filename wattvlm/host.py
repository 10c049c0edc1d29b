"""What machine this is: names and versions that a reader needs to judge or repeat a measurement."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Host:
    """The machine and the versions of what ran on it; facts are what the probes said of their devices."""

    name: str = ""
    system: str = ""
    cpu: str = ""
    cpu_threads: int | None = None
    memory_bytes: int | None = None
    python: str = ""
    versions: Mapping[str, str] = field(default_factory=dict[str, str])
    facts: Mapping[str, str] = field(default_factory=dict[str, str])


def this_host(facts: Mapping[str, str] | None = None, proc: Path = Path("/proc")) -> Host:
    """The Host of this process; versions are those of libraries that are already imported."""
    return Host(
        name=platform.node(),
        system=platform.platform(terse=True),
        cpu=_cpu_name(proc),
        cpu_threads=os.cpu_count(),
        memory_bytes=_memory_bytes(proc),
        python=platform.python_version(),
        versions=_imported_versions(),
        facts=dict(facts or {}),
    )


JOB = ("slurm job", "slurm step", "torchrun job", "ranks")
"""Facts that all processes of one job have in common; "rank" and "local rank" are each one's own."""

_OF_SLURM = {
    "slurm job": "SLURM_JOB_ID", "slurm step": "SLURM_STEP_ID", "ranks": "SLURM_STEP_NUM_TASKS", "rank": "SLURM_PROCID",
    "local rank": "SLURM_LOCALID",
}  # fmt: skip
_OF_TORCHRUN = {
    "torchrun job": "TORCHELASTIC_RUN_ID", "ranks": "WORLD_SIZE", "rank": "RANK", "local rank": "LOCAL_RANK"
}  # fmt: skip


def job_facts(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The job that this process is of, as Slurm's srun and torchrun tell their processes; empty outside of both.

    Ranks are those of torchrun where both tell theirs. Slurm's are of a step: a batch script itself has none.
    """
    known = os.environ if environ is None else environ
    of_slurm = {fact: known[name] for fact, name in _OF_SLURM.items() if known.get(name)}
    if "slurm step" not in of_slurm:
        of_slurm = {fact: value for fact, value in of_slurm.items() if fact == "slurm job"}
    of_torchrun = {fact: known[name] for fact, name in _OF_TORCHRUN.items() if known.get(name)}
    if of_torchrun.get("torchrun job") == "none":  # torchrun's name for a job that nobody named
        del of_torchrun["torchrun job"]
    return {**of_slurm, **(of_torchrun if "rank" in of_torchrun else {})}


def _cpu_name(proc: Path) -> str:
    try:
        lines = (proc / "cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith(("model name", "Model"))]
    return names[0] if names else platform.processor()


def _memory_bytes(proc: Path) -> int | None:
    try:
        lines = (proc / "meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def _imported_versions() -> dict[str, str]:
    from wattvlm import __version__

    versions = {"wattvlm": __version__}
    for name in ("torch", "transformers", "numpy"):
        version = getattr(sys.modules.get(name), "__version__", None)
        if version is not None:
            versions[name] = str(version)
    return versions
