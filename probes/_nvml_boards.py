"""Which NVIDIA boards this process may use: CUDA_VISIBLE_DEVICES as CUDA itself reads it. A part of `nvml.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from wattvlm.sensing import Absence

VISIBLE = "CUDA_VISIBLE_DEVICES"
ORDER = "CUDA_DEVICE_ORDER"


@dataclass(frozen=True, slots=True)
class Board:
    """One GPU as NVML sees it; `mig` says whether it is cut into instances that share its energy."""

    handle: Any
    index: int
    uuid: str
    product: str
    mig: bool = False

    @property
    def name(self) -> str:
        """The device part of its channels' names."""
        return f"gpu-{self.uuid.removeprefix('GPU-')}"


def visible_boards(nvml: Any, environ: Mapping[str, str]) -> tuple[list[Board], list[Absence]]:
    """The boards that CUDA shows to this process, each once, and what is to be known of the others.

    CUDA ends the list at the first entry that names no device (CUDA programming guide, environment variables).
    """
    boards, absent = _all_boards(nvml)
    wanted = environ.get(VISIBLE)
    if wanted is None:
        return boards, absent
    entries = [entry.strip() for entry in wanted.split(",")]
    chosen: list[Board] = []
    for entry in entries:
        board = _named(nvml, boards, entry)
        if board is None:
            if chosen and entry != "-1":
                absent.append(_stopped_at(entry))
            break
        if board not in chosen:
            chosen.append(board)
    if any(entry.isdecimal() for entry in entries) and _order_is_unsure(boards, environ):
        absent.append(_unsure_order())
    return chosen, absent


def _all_boards(nvml: Any) -> tuple[list[Board], list[Absence]]:
    boards: list[Board] = []
    absent: list[Absence] = []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            board = Board(handle, index, nvml.nvmlDeviceGetUUID(handle), nvml.nvmlDeviceGetName(handle))
        except nvml.NVMLError as error:
            absent.append(
                Absence(
                    "gpu",
                    f"NVML cannot open GPU {index}: {error}",
                    "the joules of this GPU are absent",
                    "see `nvidia-smi` and `dmesg | grep -i nvrm`; a lost GPU needs a reset or a reboot",
                )
            )
            continue
        boards.append(replace(board, mig=_is_mig(nvml, handle)))
    return boards, absent


def _is_mig(nvml: Any, handle: Any) -> bool:
    try:
        current, _pending = nvml.nvmlDeviceGetMigMode(handle)
    except nvml.NVMLError:  # NOT_SUPPORTED on every board that cannot be cut
        return False
    return bool(current)


def _named(nvml: Any, boards: Sequence[Board], entry: str) -> Board | None:
    """The board that one entry names, by index, UUID (or a prefix of one board's only), or one of its instances."""
    if entry.isdecimal():
        return next((board for board in boards if board.index == int(entry)), None)
    if entry.startswith("MIG-GPU-"):  # before driver 470: MIG-GPU-<uuid>/<GPU instance>/<compute instance>
        return _by_uuid(boards, entry.removeprefix("MIG-").split("/")[0])
    if entry.startswith("MIG-"):
        return _parent_of_instance(nvml, boards, entry)
    if entry.startswith("GPU-"):
        return _by_uuid(boards, entry)
    return None


def _by_uuid(boards: Sequence[Board], prefix: str) -> Board | None:
    found = [board for board in boards if board.uuid.lower().startswith(prefix.lower())]
    return found[0] if len(found) == 1 else None


def _parent_of_instance(nvml: Any, boards: Sequence[Board], uuid: str) -> Board | None:
    try:
        instance = nvml.nvmlDeviceGetHandleByUUID(uuid)
        parent_uuid = nvml.nvmlDeviceGetUUID(nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(instance))
    except nvml.NVMLError:
        return None
    return _by_uuid(boards, parent_uuid)


def _order_is_unsure(boards: Sequence[Board], environ: Mapping[str, str]) -> bool:
    """CUDA's default order is FASTEST_FIRST, NVML's is by PCI bus: with unlike boards an index may name another."""
    return len({board.product for board in boards}) > 1 and environ.get(ORDER) != "PCI_BUS_ID"


def _stopped_at(entry: str) -> Absence:
    return Absence(
        "gpu",
        f"{VISIBLE} has {entry!r}, which names no GPU here, and CUDA stops reading at it",
        "GPUs named after it are neither used nor measured",
        "name GPUs as `nvidia-smi -L` prints them",
    )


def _unsure_order() -> Absence:
    return Absence(
        "gpu",
        f"{VISIBLE} names unlike GPUs by index, which CUDA counts by speed and NVML by PCI bus",
        "the joules may be those of another GPU than the one that ran",
        f"export {ORDER}=PCI_BUS_ID, or name GPUs by UUID as `nvidia-smi -L` prints them",
    )
