"""What NVML can be asked about a board's energy and power, and what each answer means. A part of `nvml.py`.

Field numbers, scopes and return codes are NVML's stable binary interface (nvml.h 13.5).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from wattvlm.errors import ProbeUnavailable
from wattvlm.probes._nvml_boards import Board
from wattvlm.sensing import Channel
from wattvlm.units import J_PER_MILLIJOULE, NS_PER_S, W_PER_MILLIWATT

NOT_SUPPORTED = 3
NO_PERMISSION = 4
DRIVER_NOT_LOADED = 9
LIBRARY_NOT_FOUND = 12
VERSION_MISMATCH = 18
UNKNOWN = 999
LOST_CODES = frozenset({1, DRIVER_NOT_LOADED, 15, 16, VERSION_MISMATCH})
"""UNINITIALIZED, driver gone, GPU_IS_LOST, RESET_REQUIRED, mismatch: no later read can work. All others may."""

Scope = Literal["gpu", "module", "memory"]

SCOPES: dict[Scope, int] = {"gpu": 0, "module": 1, "memory": 2}
_TOTAL_POWER_SAMPLES = 0
_NOT_FOUND = 6
_VALUE_MEMBERS = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")

GAIN_STD_FRACTION = 0.045
SHORT_POWER_FACTOR = 1.6

Ask = Callable[[int], Sequence[tuple[int, int]]]

Kind = Literal["counter", "samples", "instant", "average", "usage"]


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to ask: a field with a scope, or a call of its own where `field` is None."""

    kind: Kind
    field: int | None
    scope: Scope = "gpu"

    @property
    def stamped(self) -> bool:
        """The driver says when the value was true."""
        return self.field is not None or self.kind == "samples"

    @property
    def words(self) -> str:
        """What is asked, as nvml.h names it."""
        if self.field is None:
            return _CALLS[self.kind]
        return f"NVML field {self.field}, scope {self.scope}"

    def bound(self, nvml: Any, handle: Any) -> Ask:
        """A call that gives values newer than a stamp, as (millijoules or milliwatts, the driver's stamp) each.

        Stamps are µs since 1970, 0 where the driver gives none; only a buffer heeds the one that it is given.
        """
        if self.kind == "samples":
            return lambda last_us: _samples(nvml, handle, last_us)
        if self.field is not None:
            wanted = [(self.field, SCOPES[self.scope])]
            return lambda last_us: [_field_value(nvml, nvml.nvmlDeviceGetFieldValues(handle, wanted)[0])]
        if self.kind == "counter":
            return lambda last_us: [(nvml.nvmlDeviceGetTotalEnergyConsumption(handle), 0)]
        return lambda last_us: [(nvml.nvmlDeviceGetPowerUsage(handle), 0)]


_CALLS: dict[Kind, str] = {
    "counter": "nvmlDeviceGetTotalEnergyConsumption",
    "samples": "nvmlDeviceGetSamples of NVML_TOTAL_POWER_SAMPLES",
    "usage": "nvmlDeviceGetPowerUsage",
}

COUNTER = (Question("counter", None), Question("counter", 83), Question("counter", 191))
"""The call first: it is the cheapest. Field 191 is the same counter on newer drivers."""

POWER = (
    Question("samples", None),
    Question("instant", 186),
    Question("average", 185),
    Question("usage", None),
    Question("instant", 186, "module"),
    Question("average", 185, "module"),
)
"""Best first. Grace Hopper may refuse the GPU's scope and answer for the module (CPU + GPU) only."""

MEMORY = (Question("instant", 186, "memory"), Question("average", 185, "memory"))
"""The part of the power that the GPU's memory draws, where the driver tells it."""

_WINDOW_NS: dict[Kind, int | None] = {
    "counter": 0,
    "samples": None,
    "instant": None,
    "average": NS_PER_S,
    "usage": None,
}
_WINDOW_SOURCES: dict[Kind, str] = {
    "counter": "an integral has no window",
    "samples": "unknown: the driver does not say how its samples are averaged",
    "instant": "unknown: the driver does not say; 25 ms of each 100 ms on A100 and H100, 100 ms on GA10x and Ada "
    "(arXiv 2312.02741)",
    "average": "nvml.h: averaged over 1 s",
    "usage": "unknown: nvml.h says a 1 s mean on Ampere (except GA100) and newer, instantaneous on older boards; "
    "100 ms with driver 530 (arXiv 2312.02741)",
}
_SENSOR_NAMES: dict[Kind, str] = {
    "counter": "NVML energy counter",
    "samples": "NVML power samples",
    "instant": "NVML instant power",
    "average": "NVML average power",
    "usage": "NVML power",
}


_SCOPE_WORDS: dict[Scope, str] = {"gpu": "", "module": ", whole module", "memory": ", its memory alone"}
_SCOPE_SOURCES: dict[Scope, str] = {
    "gpu": "the board with its memory (nvml.h)",
    "module": "module scope: CPU + GPU + memory of one module (nvml.h), so neither the GPU's nor the CPU's alone",
    "memory": "memory scope: the GPU's memory, a part of the board (nvml.h)",
}


def channel_of(nvml: Any, board: Board, question: Question, part: str) -> Channel:
    """The channel of one question to one board, each fact with its source."""
    counts = question.kind == "counter"
    most_w = _max_power_w(nvml, board) if question.scope == "gpu" else None
    return Channel(
        name=f"{board.name}/{part}",
        sensor=_SENSOR_NAMES[question.kind] + _SCOPE_WORDS[question.scope],
        device=board.product,
        domain="soc" if question.scope == "module" else "gpu",
        method="counter" if counts else "power",
        window_ns=_WINDOW_NS[question.kind],
        resolution_j=J_PER_MILLIJOULE if counts else None,
        resolution_w=None if counts else W_PER_MILLIWATT,
        max_power_w=most_w,
        gain_std_fraction=GAIN_STD_FRACTION,
        source={
            "value": question.words,
            "domain": _SCOPE_SOURCES[question.scope],
            "update_period_ns": "unknown until observed: 100 ms on recent boards, 20 ms on older (arXiv 2312.02741)",
            "window_ns": _WINDOW_SOURCES[question.kind],
            "max_power_w": "unknown: the driver gives no limit for this"
            if most_w is None
            else f"{SHORT_POWER_FACTOR} x the highest limit that the board accepts: boards pass their limit briefly, "
            "and power supplies must carry 160 % for 10 ms (Intel ATX 3.0 design guide, table 3-3)",
            "gain_std_fraction": "rms gain error of 11 boards against an external meter, 0 to 9.2 % (arXiv 2312.02741)",
        },
    )


def code_of(error: BaseException) -> int:
    """NVML's return code of an NVMLError; UNKNOWN for any other error."""
    value = getattr(error, "value", UNKNOWN)
    return value if isinstance(value, int) else UNKNOWN


def never_started(code: int, text: str) -> ProbeUnavailable:
    """Why NVML did not start, with the cure."""
    effect = "GPU joules are absent"
    if code == LIBRARY_NOT_FOUND:
        return ProbeUnavailable(
            "libnvidia-ml.so.1 is not here",
            effect,
            "install the NVIDIA driver; in a container: docker run --gpus all -e "
            "NVIDIA_DRIVER_CAPABILITIES=compute,utility (needs the NVIDIA Container Toolkit on the host)",
        )
    if code == DRIVER_NOT_LOADED:
        return ProbeUnavailable(
            "the NVIDIA kernel driver is not loaded",
            effect,
            "sudo modprobe nvidia; in a container: docker run --gpus all",
        )
    if code == VERSION_MISMATCH:
        return ProbeUnavailable(
            "the NVIDIA kernel driver and its library have different versions",
            effect,
            "reboot (or reload the kernel module), so that both come from the same driver",
        )
    if code == NO_PERMISSION:
        return ProbeUnavailable(
            "this user may not use NVML", effect, "run as root, or give the user access to /dev/nvidia*"
        )
    return ProbeUnavailable(f"NVML did not start: {text}", effect, "see `nvidia-smi` and `dmesg | grep -i nvrm`")


def _field_value(nvml: Any, item: Any) -> tuple[int, int]:
    """Value and stamp of one field; each field has a return code of its own, beside that of the call."""
    if item.nvmlReturn != 0:
        raise nvml.NVMLError(item.nvmlReturn)
    member = _VALUE_MEMBERS[int(item.valueType)]
    return int(getattr(item.value, member)), int(item.timestamp)


def _samples(nvml: Any, handle: Any, last_us: int) -> list[tuple[int, int]]:
    """The driver's own power samples after a stamp; none where nothing is newer (NOT_FOUND)."""
    try:
        kind, samples = nvml.nvmlDeviceGetSamples(handle, _TOTAL_POWER_SAMPLES, last_us)
    except nvml.NVMLError as error:
        if code_of(error) == _NOT_FOUND:
            return []
        raise
    member = _VALUE_MEMBERS[int(kind)]
    return [
        (int(getattr(sample.sampleValue, member)), int(sample.timeStamp)) for sample in samples
        if sample.timeStamp > last_us
    ]  # fmt: skip


def _max_power_w(nvml: Any, board: Board) -> float | None:
    try:
        _least_mw, most_mw = nvml.nvmlDeviceGetPowerManagementLimitConstraints(board.handle)
    except (nvml.NVMLError, AttributeError):
        return None
    return most_mw * W_PER_MILLIWATT * SHORT_POWER_FACTOR if most_mw else None
