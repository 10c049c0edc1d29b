"""CPU time in a block: sums of /proc, read about once a second, between the block's start and end."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import numpy as np

from wattvlm.recording import Recording, States
from wattvlm.report import Seen
from wattvlm.trace import Block

COUNTED = "cpu_time_ns"


def cpu_time_seen(recording: Recording, block: Block) -> Iterator[Seen]:
    """What each sum rose from and to, interpolated at the block's ends, or as far as looks reach."""
    sums = sorted((each for each in recording.conditions if each.quantity == COUNTED), key=_pid)
    for pid, group in groupby(sums, _pid):
        pieces = list(group)
        time_ns = np.concatenate([each.time_ns for each in pieces])
        value = np.concatenate([each.value for each in pieces])
        order = np.argsort(time_ns, kind="stable")
        if len(order):
            ends = np.interp([block.start_ns, block.end_ns], time_ns[order], value[order])
            least, most = float(ends.min()), float(ends.max())
            last = pieces[-1]
            yield Seen(
                last.device, last.quantity, len(order), least, (least + most) / 2, most, pid, last.process, last.is_own
            )  # fmt: skip


def _pid(states: States) -> int:
    return states.pid
