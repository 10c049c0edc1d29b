"""The CPU's power as an estimate from its load and nominal power, where no counter can be read.

P = nominal x share x (0.1 + 0.9 load^3), the curve of codecarbon 3 (external/hardware.py). Against RAPL on four
machines it is off by 15-58 % (docs, "How sure"), so these joules are always "modelled". nominal: the thermal design
power of all sockets. share: the CPUs this process may use (affinity, container quota) over all hardware threads; the
other tenants' watts are not ours. load: that of these CPUs since the last reading.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wattvlm.clock import Clock, SystemClock
from wattvlm.errors import ProbeLost, ProbeRetry, ProbeUnavailable
from wattvlm.probes import _cgroup, _codecarbon
from wattvlm.sensing import Channel, Domain, PowerReading, Sensors
from wattvlm.units import NS_PER_MS, NS_PER_US

PERIOD_NS = 100 * NS_PER_MS
"""/proc/stat counts in steps of 10 ms a thread, so a shorter mean would be mostly rounding."""

LONGEST_SHARE_OF_A_CORE = 0.002
"""A read of /proc/stat takes 10 microseconds on 2 threads and about 1 ms on some 200: the period grows with it."""

DEFAULT_W_PER_THREAD = 4.0

KNOWN_STD_FRACTION = 0.3
"""95 % is then +-59 %: the worst of four machines' mean errors was 58 %."""

DEFAULT_STD_FRACTION = 0.5
"""CPUs on sale have 2 to 8 W a hardware thread: half to twice the default."""

_ORNAMENTS = re.compile(r"\((r|tm)\)| cpu\b|( \S+-core)? processor\b.*| w(ith|/) .*| *@.*", re.IGNORECASE)

CpuTimes = Callable[[int], tuple[float, float]]
"""(busy, available) CPU time since some start, in one unit, at a monotonic time in ns."""


@dataclass(frozen=True, slots=True)
class Chip:
    """What /proc/cpuinfo says of the CPUs. virtual: inside a virtual machine, which may be a small part of the chip."""

    name: str
    threads: int
    sockets: int
    virtual: bool


@dataclass(frozen=True, slots=True)
class Nominal:
    """Power of all hardware threads under full load, and where it comes from."""

    power_w: float
    words: str
    source: str
    std_fraction: float


class CpuModelProbe:
    """One channel, "cpu/model": watts of the CPUs this process may use, modelled.

    root: where proc and sys are. table: CPU name -> watts (default: codecarbon's where installed).
    cpus: the numbers of the CPUs this process may run on. times: CPU time counters (default: the container's where it
    has a quota, else /proc/stat, else psutil).
    """

    domain: Domain = "cpu"

    def __init__(
        self,
        root: str | Path = "/",
        clock: Clock | None = None,
        table: Mapping[str, float] | None = None,
        cpus: Collection[int] | None = None,
        times: CpuTimes | None = None,
    ) -> None:
        self._root = Path(root)
        self._clock: Clock = clock or SystemClock()
        self._table = table
        self._cpus = cpus
        self._given_times = times
        self._times: CpuTimes | None = None
        self._descriptor: int | None = None
        self._power_w = 0.0
        self._period_ns = PERIOD_NS
        self._last: tuple[int, float, float] | None = None

    def open(self) -> Sensors:
        """The one channel; raises ProbeUnavailable where no load can be read."""
        self.close()
        chip = read_chip(self._root)
        nominal = nominal_power(chip, self._table)
        allowed = self._allowed(chip)
        quota = _cgroup.cpu_quota(self._root)
        if quota is not None and quota.cpus >= len(allowed):
            quota = None
        usable = min(chip.threads, len(allowed)) if quota is None else quota.cpus
        self._power_w = nominal.power_w * usable / chip.threads
        try:
            self._times, load = self._choose_times(chip, allowed, quota)
            self._period_ns = max(PERIOD_NS, round(self._cost_ns() / LONGEST_SHARE_OF_A_CORE))
        except (OSError, ProbeRetry) as error:
            self.close()
            remedy = "measure where /proc/stat can be read, or with a sensor (RAPL)"
            raise ProbeUnavailable(f"no CPU load: {error}", "modelled CPU joules are absent", remedy) from error
        share = f"{usable:g} of {chip.threads} threads" if usable < chip.threads else f"{chip.threads} threads"
        return Sensors((self._channel(chip, nominal, share, load),))

    def _allowed(self, chip: Chip) -> set[int]:
        if self._cpus is not None:
            return set(self._cpus)
        affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)  # Linux only
        return affinity(0) if affinity is not None else set(range(chip.threads))

    def _choose_times(self, chip: Chip, allowed: set[int], quota: _cgroup.CpuQuota | None) -> tuple[CpuTimes, str]:
        if self._given_times is not None:
            return self._given_times, "given load"
        if quota is not None and quota.usage is not None:
            self._descriptor = os.open(quota.usage, os.O_RDONLY | os.O_CLOEXEC)
            return group_times(self._descriptor, quota.cpus), f"the container's load ({quota.usage.name})"
        try:
            self._descriptor = os.open(self._root / "proc/stat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return psutil_times(), "psutil load"
        part = None if len(allowed) >= chip.threads else allowed
        return stat_times(self._descriptor, chip.threads, part), "load from /proc/stat"

    def _cost_ns(self) -> int:
        """What one read takes: the least of three, since a preempted one says nothing of the file."""
        taken: list[int] = []
        for _ in range(3):
            before_ns = self._clock.monotonic_ns()
            self._count(before_ns)
            taken.append(self._clock.monotonic_ns() - before_ns)
        return min(taken)

    def _channel(self, chip: Chip, nominal: Nominal, share: str, load: str) -> Channel:
        where = " of a virtual machine on" if chip.virtual else " of"
        return Channel(
            name="cpu/model",
            sensor=f"{share}{where} {_ORNAMENTS.sub('', chip.name).strip()} ({nominal.words}), {load}",
            device=chip.name,
            domain="cpu",
            method="model",
            update_period_ns=self._period_ns,
            window_ns=self._period_ns,
            max_power_w=self._power_w,
            gain_std_fraction=nominal.std_fraction,
            source={
                "power": "nominal x share x (0.1 + 0.9 load^3), the curve of codecarbon 3, external/hardware.py",
                "nominal": nominal.source,
                "share": f"{share}: CPU affinity and container quota",
                "load": load,
                "max_power_w": "the model's own largest value; the real CPU may pass it for a short time",
                "gain_std_fraction": "mean errors of 15-58 % against RAPL on four machines; 2 to 8 W a thread where "
                "the nominal power is a default",
            },
        )

    def read(self, channel: Channel) -> Sequence[PowerReading]:
        """Mean watts since the last reading; nothing at the first read, and until a period has passed."""
        before_ns = self._clock.monotonic_ns()
        if self._last is not None and before_ns - self._last[0] < 0.9 * self._period_ns:
            return ()
        busy, available = self._count(before_ns)
        last, self._last = self._last, (before_ns, busy, available)
        if last is None or available <= last[2]:
            return ()
        load = min(1.0, max(0.0, (busy - last[1]) / (available - last[2])))
        now_ns = self._clock.monotonic_ns()
        return (PowerReading(channel.name, now_ns, now_ns - before_ns, self._power_w * (0.1 + 0.9 * load**3)),)

    def _count(self, now_ns: int) -> tuple[float, float]:
        if self._times is None:
            raise ProbeLost("the CPU model is not open; its joules are absent. Cure: open the probe first")
        try:
            return self._times(now_ns)
        except (OSError, ValueError, IndexError) as error:
            raise ProbeRetry(f"CPU load could not be read ({error}); the modelled CPU joules have a gap") from error

    def close(self) -> None:
        """Gives the file back; the probe may be opened again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = self._times = self._last = None


def read_chip(root: Path) -> Chip:
    """The CPUs of /proc/cpuinfo, or what Python knows of them where there is no such file."""
    try:
        text = (root / "proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return Chip(platform.processor() or "unknown CPU", os.cpu_count() or 1, 1, virtual=False)
    entries: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        entries.setdefault(name.strip(), []).append(value.strip())
    name = (entries.get("model name") or entries.get("Model") or ["unknown CPU"])[0]
    threads = len(entries.get("processor", [])) or os.cpu_count() or 1
    flags = (entries.get("flags") or [""])[0].split()
    return Chip(name, threads, len(set(entries.get("physical id", ["0"]))), virtual="hypervisor" in flags)


def nominal_power(chip: Chip, table: Mapping[str, float] | None) -> Nominal:
    """Power of all threads: from a table of thermal design powers, else a default for each thread.

    In a virtual machine the chip's own number of threads is hidden, so the default also bounds the table's watts.
    """
    source = "a table that was given"
    if table is None:
        installed = _codecarbon.folder()
        table = {} if installed is None else _codecarbon.cpu_table(installed)
        source = f"{_codecarbon.version()}, data/hardware/cpu_power.csv" if table else "there is no codecarbon here"
    default_w = DEFAULT_W_PER_THREAD * chip.threads
    key = _codecarbon.model_key(chip.name)
    telling = max(key.split(), key=len, default="")  # most of the 5,000 names fall out without taking them apart
    candidates = [(name, power_w) for name, power_w in table.items() if telling in name.lower()]
    found = [power_w for name, power_w in candidates if _codecarbon.model_key(name) == key]
    socket_w = max(found, default=0.0)
    if socket_w and not (chip.virtual and socket_w * chip.sockets > default_w):
        sockets = f"{chip.sockets} x " if chip.sockets > 1 else ""
        words = f"{sockets}{socket_w:g} W TDP"
        return Nominal(socket_w * chip.sockets, words, f"{words}: {source}", KNOWN_STD_FRACTION)
    why = "a virtual machine hides how much of the chip it has" if socket_w else f"no such CPU in its table: {source}"
    words = f"{DEFAULT_W_PER_THREAD:g} W a thread"
    return Nominal(default_w, words, f"{words}, codecarbon 3's default for an unknown CPU; {why}", DEFAULT_STD_FRACTION)


def stat_times(descriptor: int, threads: int, cpus: Collection[int] | None) -> CpuTimes:
    """CPU times of /proc/stat in ticks: of all CPUs, or of some by number."""
    rows = ["cpu"] if cpus is None else [f"cpu{number}" for number in sorted(cpus)]
    heads = [f"\n{row} ".encode() for row in rows]
    length = 256 * (threads + 1)  # a row is ten numbers of at most 20 digits

    def times(_: int) -> tuple[float, float]:
        content = b"\n" + os.pread(descriptor, length, 0)
        online = [(start, len(head)) for head in heads if (start := content.find(head)) >= 0]
        if not online:
            raise ValueError(f"no row of {', '.join(rows[:3])}")
        busy = available = 0
        for start, skipped in online:
            row = content[start + skipped : content.index(b"\n", start + 1)].split()
            user, nice, system, idle, waiting, interrupts, soft_interrupts, stolen = map(int, row[:8])
            ran = user + nice + system + interrupts + soft_interrupts
            busy += ran
            available += ran + idle + waiting + stolen
        return busy, available

    return times


def group_times(descriptor: int, cpus: float) -> CpuTimes:
    """CPU time that a control group used and was allowed, in ns: cpu.stat (version 2) or cpuacct.usage."""

    def times(now_ns: int) -> tuple[float, float]:
        words = os.pread(descriptor, 4096, 0).split()
        in_us = b"usage_usec" in words
        used_ns = int(words[words.index(b"usage_usec") + 1]) * NS_PER_US if in_us else int(words[0])
        return used_ns, now_ns * cpus

    return times


def psutil_times() -> CpuTimes:
    """CPU times of the whole machine in seconds, where there is no /proc/stat."""
    import psutil

    def times(_: int) -> tuple[float, float]:
        counted = psutil.cpu_times()._asdict()
        available = sum(counted.values()) - counted.get("guest", 0.0) - counted.get("guest_nice", 0.0)
        idle = sum(counted.get(name, 0.0) for name in ("idle", "iowait", "steal"))
        return available - idle, available

    return times


PROBE = CpuModelProbe
