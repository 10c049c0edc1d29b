"""What share of the machine this process may use: its control groups, version 1 and 2, as a container sees them.

Files and words: the kernel's Documentation/admin-guide/cgroup-v2.rst, and cgroup-v1/memory.rst and sched-bwc.rst.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True, slots=True)
class CpuQuota:
    """CPU time a group may use: `cpus` seconds a second. usage: the file that counts what it used, if there is one."""

    cpus: float
    usage: Path | None


def cpu_quota(root: Path) -> CpuQuota | None:
    """The tightest CPU quota above this process, or None without one."""
    quotas: list[CpuQuota] = []
    for folder in _folders(root, "cpu"):
        words, usage = _words(folder / "cpu.max"), folder / "cpu.stat"
        if not words:
            words = _words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us")
            usage = folder / "cpuacct.usage"
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]):
            quotas.append(CpuQuota(int(words[0]) / int(words[1]), usage if usage.is_file() else None))
    return min(quotas, key=_cpus, default=None)


def memory_limit_bytes(root: Path) -> int | None:
    """The tightest memory limit above this process in bytes, or None without one."""
    limits: list[int] = []
    for folder in _folders(root, "memory"):
        words = _words(folder / "memory.max") or _words(folder / "memory.limit_in_bytes")
        limits += [int(word) for word in words if word.isdigit()]
    return min(limits, default=None)


def _cpus(quota: CpuQuota) -> float:
    return quota.cpus


def _folders(root: Path, controller: str) -> Iterator[Path]:
    """This process's group and its parents; in a container the path may be the host's and only the last one is here."""
    mounted = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        if line.count(":") < 2:
            continue
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        hierarchy = mounted / controller if controllers else mounted
        group = PurePosixPath("/", path)
        for parent in (group, *group.parents):
            yield hierarchy / parent.relative_to("/")


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").split()
    except OSError:
        return []
