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
