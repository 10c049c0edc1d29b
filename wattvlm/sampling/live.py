"""A look at journals that are being written: which channels have given a reading, and up to when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wattvlm.sampling.journal import read_from, segments
from wattvlm.sampling.records import ENERGY, GAP, POWER, SAMPLE_BYTES, decode_sample
from wattvlm.sampling.sensor_log import read_log
from wattvlm.units import NS_PER_MS, NS_PER_S

_UNKNOWN_PERIOD_NS = 100 * NS_PER_MS
_SLACK_NS = 20 * NS_PER_MS
_LONGEST_WINDOW_NS = NS_PER_S
"""What a power is averaged over at most where nobody states it: NVML's mean on Ampere and later."""

_TAIL_BYTES = 2048 * SAMPLE_BYTES


class LiveView:
    """The state of one sampling process, read from its files; each look reads only what is new."""

    def __init__(self, folder: Path, generation: int) -> None:
        self._folder = folder
        self._generation = generation
        self._segment = -1
        self._offset = 0
        self._log_bytes = -1
        self._latest_ns: dict[int, int] = {}
        self._periods_ns: dict[int, int] = {}
        self._models: set[int] = set()
        self._counted: set[str] = set()
        self._remembers_ns: dict[str, int] = {}
        self._learned: dict[str, tuple[int | None, str]] = {}
        self._settled = False

    def is_settled(self) -> bool:
        """Every probe is open or absent."""
        self._look_at_log()
        return self._settled

    def learned(self) -> dict[str, tuple[int | None, str]]:
        """For each channel its tick period, where it keeps one, and how it is read now."""
        self._look_at_log()
        return self._learned

    def has_first_readings(self) -> bool:
        """Every probe is open or absent, and every channel that measures has given a reading.

        Models are not waited for: a load in percent takes 100 ms to be seen at all.
        """
        self._look()
        return self._settled and set(self._periods_ns) - self._models <= set(self._latest_ns)

    def is_past(self, time_ns: int, now_ns: int) -> bool:
        """Every live channel has a reading (or a gap) later than a time, or two of its periods have gone by.

        False while no channel is open yet and one may still come.
        """
        self._look()
        return (self._settled or bool(self._periods_ns)) and all(
            self._latest_ns.get(index, 0) > time_ns or now_ns > time_ns + 2 * period_ns + _SLACK_NS
            for index, period_ns in self._periods_ns.items()
        )

    def remembers_ns(self) -> int:
        """The longest window over which a power may be averaged that stands for a board, as no counter does; else 0."""
        self._look_at_log()
        return max((own for board, own in self._remembers_ns.items() if board not in self._counted), default=0)

    def _look(self) -> None:
        self._look_at_log()
        self._look_at_readings()

    def _look_at_log(self) -> None:
        path = self._folder / f"sensors-{self._generation}"
        try:
            size = path.stat().st_size
        except OSError:
            return
        if size == self._log_bytes:
            return
        self._log_bytes = size
        indices: dict[str, int] = {}
        for entry in read_log(path):
            self._heed(entry, indices)

    def _heed(self, entry: dict[str, Any], indices: dict[str, int]) -> None:
        what = entry.get("is")
        if what == "opened":
            for each in entry["channels"]:
                index, name = each["index"], each["channel"]["name"]
                indices[name] = index
                if each["channel"]["method"] == "model":
                    self._models.add(index)
                self._periods_ns[index] = each["channel"]["update_period_ns"] or _UNKNOWN_PERIOD_NS
                self._heed_memory(each["channel"])
        elif what == "learned":
            self._learned[entry["channel"]] = entry["period_ns"], entry["how"]
            if entry["period_ns"] and entry["channel"] in indices:
                self._periods_ns[indices[entry["channel"]]] = entry["period_ns"]
        elif what == "lost":
            self._periods_ns.pop(indices.get(entry["channel"], -1), None)
        elif what == "settled":
            self._settled = True

    def _heed_memory(self, channel: dict[str, Any]) -> None:
        board = channel["name"].split("/", 1)[0]
        if channel["method"] == "counter":
            self._counted.add(board)
        elif channel["method"] == "power":
            window_ns = _LONGEST_WINDOW_NS if channel["window_ns"] is None else channel["window_ns"]
            self._remembers_ns[board] = max(window_ns, self._remembers_ns.get(board, 0))

    def _look_at_readings(self) -> None:
        for number, path in segments(self._folder, f"readings-{self._generation}"):
            if number < self._segment:
                continue
            if number > self._segment:
                self._begin(number, path)
            content = read_from(path, self._offset, 2**20)
            whole = len(content) - len(content) % SAMPLE_BYTES
            self._offset += whole
            for start in range(0, whole, SAMPLE_BYTES):
                sample = decode_sample(content[start : start + SAMPLE_BYTES])
                if sample is not None and sample.kind in (ENERGY, POWER, GAP):
                    self._latest_ns[sample.channel] = sample.time_ns

    def _begin(self, number: int, path: Path) -> None:
        """Only the last readings of a segment matter; a first look at a long one begins near its end."""
        self._segment = number
        try:
            size = path.stat().st_size
        except OSError:
            size = 0
        self._offset = max(0, size - size % SAMPLE_BYTES - _TAIL_BYTES)
