"""The virtual machine: known power curves seen through stated sensors on a clock that tests move.

    curve = PowerCurve.of_segments(0, [(70.0, 10**9), (300.0, 10**9)])
    machine = VirtualMachine({"gpu": curve}, [VirtualSensor("gpu-0/board", max_power_w=700.0)])
    recording = machine.record(0, 2 * 10**9)

`record` gives what the real sampling process would have written: brackets of a counter's ticks a poll wide, fast
counters read at 100 Hz, powers with their stamps, gaps where reads failed. Everything follows from the seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from wattvlm.clock import take_anchor
from wattvlm.host import Host
from wattvlm.probes._virtual_sensors import Load, VirtualSensor
from wattvlm.probes.virtual import SensorProbe
from wattvlm.recording import Gap, Readings, Recording
from wattvlm.trace import Mark
from wattvlm.units import NS_PER_MS

WALL_EPOCH_NS = 1_700_000_000_000_000_000
"""Wall-clock time of a FakeClock at its monotonic zero (November 2023)."""

FAST_PERIOD_NS = 5 * NS_PER_MS
FAST_READ_NS = 10 * NS_PER_MS
"""Counters that tick at least each 5 ms are read each 10 ms, as the real sampler does."""


class FakeClock:
    """A Clock that moves only when it is told to, or slept on."""

    def __init__(self, now_ns: int = 0) -> None:
        self.now_ns = now_ns

    def monotonic_ns(self) -> int:
        return self.now_ns

    def wall_ns(self) -> int:
        return WALL_EPOCH_NS + self.now_ns

    def sleep_ns(self, duration_ns: int) -> None:
        self.now_ns += max(duration_ns, 0)

    def advance(self, duration_ns: int) -> None:
        """Move on by a duration; ValueError for a negative one."""
        if duration_ns < 0:
            raise ValueError("a monotonic clock does not go back")
        self.now_ns += duration_ns


class VirtualMachine:
    """Power curves, and sensors that see them.

    loads: power curves by the name of a sensor, of its board, or of its domain (looked up in that order).
    poll_ns: how often a counter is read around an expected tick; the width of the brackets.
    blind_ns: stretches (from, to) in which nothing was read at all.
    """

    def __init__(
        self,
        loads: Mapping[str, Load],
        sensors: Sequence[VirtualSensor],
        clock: FakeClock | None = None,
        *,
        poll_ns: int = 500_000,
        blind_ns: Sequence[tuple[int, int]] = (),
    ) -> None:
        self.clock = clock or FakeClock()
        self._sensors = tuple(sensors)
        self._loads = dict(loads)
        self._poll_ns = poll_ns
        self._blind_ns = tuple(blind_ns)

    def load_of(self, sensor: VirtualSensor) -> Load:
        """The power curve that a sensor sees; KeyError where none is for it."""
        for key in (sensor.name, sensor.channel.board, sensor.domain):
            if key in self._loads:
                return self._loads[key]
        raise KeyError(f"no power curve for {sensor.name}: give one by its name, its board or its domain")

    def probe(self) -> SensorProbe:
        """A Probe over this machine's sensors, on its clock."""
        return SensorProbe([(sensor, self.load_of(sensor)) for sensor in self._sensors], self.clock)

    def record(self, start_ns: int, end_ns: int, marks: Sequence[Mark] = (), *, host: Host | None = None) -> Recording:
        """What the sampling process would have written from start to end, with the marks of the measured process."""
        usable = [sensor for sensor in self._sensors if sensor.absence is None]
        readings: dict[str, Readings] = {}
        gaps: list[Gap] = []
        for sensor in usable:
            log = _ReadLog(sensor, self.load_of(sensor), self._poll_ns, self._blind_ns)
            log.run(start_ns, end_ns)
            readings[sensor.name] = log.readings()
            gaps += log.gaps
        absent = tuple(sensor.absence for sensor in self._sensors if sensor.absence is not None)
        return Recording(
            start_ns,
            end_ns,
            tuple(sensor.channel for sensor in usable),
            readings,
            tuple(gaps),
            absent,
            tuple(marks),
            (take_anchor(self.clock),),
            host or Host(name="virtual machine", system="virtual", cpu="virtual CPU"),
            virtual=True,
        )


class _ReadLog:
    """The reads of one channel in the order in which they would happen."""

    def __init__(self, sensor: VirtualSensor, load: Load, poll_ns: int, blind_ns: Sequence[tuple[int, int]]) -> None:
        self.gaps: list[Gap] = []
        self._sensor = sensor
        self._load = load
        self._poll_ns = max(poll_ns, sensor.latency_ns, 1)
        self._blind_ns = blind_ns
        self._rows: list[tuple[int, int, int, float]] = []
        self._attempts = 0
        self._good_at_ns: int | None = None
        self._failing_since_ns: int | None = None

    def run(self, start_ns: int, end_ns: int) -> None:
        """All reads from start to end."""
        for read_ns, older_read_ns in self._reads(start_ns, end_ns):
            if self._sensor.lost_at_ns is not None and read_ns >= self._sensor.lost_at_ns:
                self.gaps.append(Gap(self._sensor.name, self._good_at_ns or start_ns, end_ns, "the sensor was lost"))
                return
            self._attempts += 1
            is_blind = any(from_ns <= read_ns < to_ns for from_ns, to_ns in self._blind_ns)
            if is_blind or self._sensor.fails(self._attempts):
                self._failing_since_ns = self._failing_since_ns or self._good_at_ns or start_ns
            else:
                self._keep(read_ns, older_read_ns)

    def readings(self) -> Readings:
        """The columns of what was kept."""
        time_ns, unchanged_at_ns, took_ns = (
            np.array([row[field] for row in self._rows], dtype=np.int64) for field in range(3)
        )
        value = np.array([row[3] for row in self._rows], dtype=np.float64)
        return Readings(self._sensor.name, time_ns, unchanged_at_ns, took_ns, value)

    def _reads(self, start_ns: int, end_ns: int) -> list[tuple[int, int | None]]:
        """(start of a read, start of the poll before it) of each read that could show something new."""
        sensor = self._sensor
        if sensor.method == "counter" and sensor.period_ns > FAST_PERIOD_NS:
            reads: list[tuple[int, int | None]] = [(start_ns, None)]
            tick = sensor.tick_at(start_ns) + 1
            while (tick_ns := sensor.tick_ns(tick)) < end_ns:
                polls = -(-(tick_ns - start_ns) // self._poll_ns)
                read_ns = start_ns + polls * self._poll_ns
                reads.append((read_ns, read_ns - self._poll_ns))
                tick += 1
            return reads
        every_ns = FAST_READ_NS if sensor.method == "counter" else max(sensor.period_ns // 2, 1)
        return [(read_ns, None) for read_ns in range(start_ns, end_ns, every_ns)]

    def _keep(self, read_ns: int, older_read_ns: int | None) -> None:
        sensor = self._sensor
        shown, took_ns = sensor.shown(self._load, read_ns), sensor.latency_ns
        if sensor.method == "counter":
            self._keep_count(read_ns, older_read_ns, took_ns, shown)
        else:
            time_ns = sensor.tick_ns(sensor.tick_at(read_ns)) if sensor.stamped else read_ns + took_ns
            if not self._rows or time_ns > self._rows[-1][0]:
                self._rows.append((time_ns, time_ns, took_ns, shown))
        if self._failing_since_ns is not None:
            self.gaps.append(Gap(sensor.name, self._failing_since_ns, read_ns, "reads failed"))
            self._failing_since_ns = None
        self._good_at_ns = read_ns

    def _keep_count(self, read_ns: int, older_read_ns: int | None, took_ns: int, shown: float) -> None:
        if self._good_at_ns is None:
            self._rows.append((read_ns + took_ns, read_ns, took_ns, shown))
        elif shown != self._rows[-1][3]:
            known_old_ns = self._good_at_ns
            if older_read_ns is not None and self._failing_since_ns is None:
                known_old_ns = max(known_old_ns, older_read_ns)
            self._rows.append((read_ns + took_ns, known_old_ns, took_ns, shown))
