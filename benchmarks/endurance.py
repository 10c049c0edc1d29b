"""A day of sampling on a clock that is sped up: memory, and disk a reading."""

from __future__ import annotations

import tempfile
import tracemalloc
from functools import partial
from pathlib import Path

from benchmarks.tables import show
from wattvlm.sampling.child import JournalSink
from wattvlm.sampling.schedule import read_until
from wattvlm.testing import FakeClock, PowerCurve, VirtualMachine, VirtualSensor
from wattvlm.units import NS_PER_MS, NS_PER_S

HOURS = 24
LOOKS_AT_HOURS = (1, 6, 12, 24)


def run() -> None:
    """One 100 ms counter, read by the real schedule into the real journal, with a meter open all day."""
    rows: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clock = FakeClock()
        sink = JournalSink(folder, 1, clock)
        machine = VirtualMachine(
            {"gpu": PowerCurve([(0, 300.0)])},
            [VirtualSensor("gpu-0/board", period_ns=100 * NS_PER_MS, latency_ns=150_000)],
            clock=clock,
        )
        probe = machine.probe()
        channels = sink.opened("virtual", probe.open())
        tracemalloc.start()
        for hours in LOOKS_AT_HOURS:
            until_ns = hours * 3600 * NS_PER_S
            read_until(partial(_is_past, clock, until_ns), probe, channels, clock, sink)
            readings = clock.monotonic_ns() // (100 * NS_PER_MS)
            disk = sum(path.stat().st_size for path in folder.iterdir())
            memory = tracemalloc.get_traced_memory()[0]
            rows.append((str(hours), f"{readings:,}", f"{disk / readings:.1f} bytes", f"{memory / 1e3:.0f} kB"))
    show(
        "A day in a few minutes",
        ("hours", "ticks", "disk a tick (goal: at most 64)", "Python memory of the sampler (goal: constant)"),
        rows,
        "A clock that jumps instead of sleeping.",
    )


def _is_past(clock: FakeClock, until_ns: int) -> bool:
    return clock.monotonic_ns() >= until_ns


if __name__ == "__main__":
    run()
