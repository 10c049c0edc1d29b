"""A run's folder written by the real writers, without a process: small, and the same each time."""

from __future__ import annotations

import json
from pathlib import Path

from wattvlm.clock import WallAnchor
from wattvlm.sampling.journal import JournalWriter
from wattvlm.sampling.marks import encode_mark
from wattvlm.sampling.records import COST, ENERGY, GAP, POWER, encode_sample
from wattvlm.sampling.sensor_log import SensorLog
from wattvlm.sensing import Absence, Channel, Sensors
from wattvlm.trace import Mark

MS = 1_000_000
START_NS = 10**12

GPU = Channel("gpu-0/board", "counter", "virtual", "gpu", "counter", 100 * MS, source={"window": "stated"})
CPU = Channel("cpu-0/package", "power", "virtual", "cpu", "power", 50 * MS)
ABSENT = Absence("ram", "no counter of memory", "its joules are absent", "none here")


def write_run(folder: Path, *, ticks: int = 40, marks: int = 20) -> Path:
    """A folder of one killed run: a counter that ticks each 100 ms at 100 W, a power, a gap, notes and marks."""
    folder.mkdir(mode=0o700)
    (folder / "owner").write_text(json.dumps({"pid": 2**22 + 1, "started": "0"}))
    log = SensorLog(folder / "sensors-1")
    log.started(START_NS, WallAnchor(START_NS, 10**18))
    log.opening("tiny:Both", START_NS)
    index = log.opened("tiny:Both", START_NS + MS, Sensors((GPU, CPU), (ABSENT,), {"driver": "1.2"}))
    log.settled(START_NS + MS)
    log.learned(GPU.name, 100 * MS, "read at its ticks")
    log.note("a line for the report")
    readings = JournalWriter(folder, "readings-1")
    for number in range(ticks):
        time_ns = START_NS + (number + 1) * 100 * MS
        readings.append(encode_sample(ENERGY, index[GPU.name], time_ns - MS, time_ns, MS, 10.0 * number))
        readings.append(encode_sample(POWER, index[CPU.name], time_ns, time_ns + MS, MS, 50.0))
        if number % 10 == 0:
            readings.append(encode_sample(COST, 0, 0, time_ns + MS, number * MS, 0.0))
    reason = log.reason("the driver was busy")
    gap = (START_NS + 200 * MS, START_NS + 300 * MS)
    readings.append(encode_sample(GAP, index[CPU.name], *gap, reason, 0.0))
    readings.close()
    journal = JournalWriter(folder, "marks")
    journal.append(encode_mark(Mark(START_NS + MS, "block_start", 1, "a run")))
    for number in range(marks):
        text = f"note {number} " * (1 + number % 20)
        journal.append(encode_mark(Mark(START_NS + (2 + number) * MS, "note", text=text)))
    journal.close()
    return folder
