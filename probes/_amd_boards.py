"""Which AMD GPUs this process may use, and which of their sensors tell the truth. A part of `amdsmi.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from wattvlm.sensing import Absence
from wattvlm.units import J_PER_MICROJOULE, W_PER_MICROWATT

ROCR = "ROCR_VISIBLE_DEVICES"
HIP = ("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES")
"""HIP takes the first of them that is set (HIP documentation, environment variables)."""

LEAST_RATIO, MOST_RATIO = 0.1, 10.0
"""A counter's joules over power x time: outside of these its unit is wrong or it stands still (amdsmi issue 38)."""

LEAST_PLAUSIBLE_W, MOST_PLAUSIBLE_W = 1.0, 3000.0
"""What a counter may show where no power is known to compare it with."""

_MOST_CAP_W = 10_000.0
_POWER_FIELDS = ("current_socket_power", "average_socket_power", "socket_power")


@dataclass(frozen=True, slots=True)
class Board:
    """One GPU as amdsmi lists it; of a card with two dies, each die is one.

    compute_units: 0 where the library does not tell.
    uuid: as amdsmi prints it. hip_index, hip_uuid: as HIP counts and names it, for the variables that choose GPUs.
    """

    handle: Any
    index: int
    uuid: str
    product: str
    hip_index: int
    hip_uuid: str
    is_second_die: bool = False
    compute_units: int = 0

    @property
    def name(self) -> str:
        """The device part of its channels' names."""
        return f"gpu-{self.uuid.removeprefix('GPU-')}"

    @property
    def has_two_dies(self) -> bool:
        """An MI250 or MI250X: its odd die reads 0, the even one's sensors are the card's (zeus, device/gpu/amd.py)."""
        return "MI250" in self.product


def all_boards(amdsmi: Any) -> list[Board]:
    """Every GPU, in the library's order; AmdSmiException where the library cannot list them."""
    boards: list[Board] = []
    for index, handle in enumerate(amdsmi.amdsmi_get_processor_handles()):
        numbers = facts_of(amdsmi, "amdsmi_get_gpu_enumeration_info", handle)
        hip_index = numbers.get("hip_id")
        chip = facts_of(amdsmi, "amdsmi_get_gpu_asic_info", handle)
        compute_units = chip.get("num_compute_units")
        board = Board(
            handle,
            index,
            str(_given(amdsmi, "amdsmi_get_gpu_device_uuid", handle) or f"amd-{index}"),
            str(chip.get("market_name", "AMD GPU")),
            hip_index if isinstance(hip_index, int) else index,
            str(numbers.get("hip_uuid", "")),
            compute_units=compute_units if isinstance(compute_units, int) else 0,
        )
        follows_a_first_die = bool(boards) and boards[-1].has_two_dies and not boards[-1].is_second_die
        if board.has_two_dies and follows_a_first_die and _shows_no_power(amdsmi, board):
            board = replace(board, is_second_die=True)
        boards.append(board)
    return boards


def visible_boards(boards: Sequence[Board], environ: Mapping[str, str]) -> tuple[list[Board], list[Absence]]:
    """The boards whose sensors hold the work of this process, each once, and what is to be known of them.

    ROCR_VISIBLE_DEVICES chooses first, the HIP variable then counts among what is left (ROCm documentation, GPU
    isolation). A second die stands for its first one.
    """
    shown = _chosen(sorted(boards, key=lambda board: board.hip_index), environ.get(ROCR))
    hip = next((environ[name] for name in HIP if name in environ), None)
    chosen: list[Board] = []
    absent: list[Absence] = []
    for board in _chosen(shown, hip):
        first = board if not board.is_second_die else next(each for each in boards if each.index == board.index - 1)
        if board.has_two_dies and first not in chosen:
            absent.append(_two_dies(first))
        if first not in chosen:
            chosen.append(first)
    return chosen, absent


def _chosen(boards: Sequence[Board], wanted: str | None) -> list[Board]:
    """The boards that a list of indices or UUIDs names; it ends at the first entry that names none."""
    if wanted is None:
        return list(boards)
    chosen: list[Board] = []
    for entry in (each.strip() for each in wanted.split(",")):
        if entry.isdecimal():
            board = boards[int(entry)] if int(entry) < len(boards) else None
        else:
            named = (each for each in boards if _same_uuid(each.uuid, entry) or _same_uuid(each.hip_uuid, entry))
            board = next(named, None)
        if board is None:
            break
        chosen.append(board)
    return chosen


def _same_uuid(uuid: str, entry: str) -> bool:
    plain, wanted = (text.removeprefix("GPU-").replace("-", "").lower() for text in (uuid, entry))
    return bool(plain) and plain == wanted


def _given(amdsmi: Any, function: str, handle: Any) -> Any:
    """What a function of the library gives; None where it or this version of it does not."""
    try:
        return getattr(amdsmi, function)(handle)
    except (amdsmi.AmdSmiException, AttributeError, KeyError):
        return None


def facts_of(amdsmi: Any, function: str, handle: Any) -> dict[str, Any]:
    """What a function of the library gives; nothing where it or this version of it does not."""
    found: dict[str, Any] = _given(amdsmi, function, handle) or {}
    return found


def _shows_no_power(amdsmi: Any, board: Board) -> bool:
    return _watts(facts_of(amdsmi, "amdsmi_get_power_info", board.handle)) is None


def energy_j(amdsmi: Any, board: Board) -> float:
    """The counter in joules; AmdSmiException or KeyError where there is none.

    `power` is the accumulator's name before ROCm 6.2 (amdsmi changelog).
    """
    counted: Mapping[str, Any] = amdsmi.amdsmi_get_energy_count(board.handle)
    ticks = counted["energy_accumulator"] if "energy_accumulator" in counted else counted["power"]
    return float(ticks) * float(counted["counter_resolution"]) * J_PER_MICROJOULE


def power_w(amdsmi: Any, board: Board) -> float | None:
    """The socket's power in watts; None where no field has a number above 0 ("N/A" means not supported)."""
    return _watts(amdsmi.amdsmi_get_power_info(board.handle))


def _watts(fields: Mapping[str, Any]) -> float | None:
    values = (fields.get(name) for name in _POWER_FIELDS)
    return next((float(value) for value in values if isinstance(value, (int, float)) and value > 0), None)


def cap_w(amdsmi: Any, board: Board, name: str = "max_power_cap") -> float | None:
    """A power limit of the board (default: the highest that it accepts), in watts; None where the library gives none.

    The library gives µW, or W in some versions: no board has 10 kW.
    """
    cap = facts_of(amdsmi, "amdsmi_get_power_cap_info", board.handle).get(name)
    if not isinstance(cap, (int, float)) or cap <= 0:
        return None
    return float(cap) if cap < _MOST_CAP_W else float(cap) * W_PER_MICROWATT


def why_not_trusted(counted_j: float, seconds: float, watts: float | None) -> str:
    """Why a counter that rose by so much meanwhile is not believed; "" where it is."""
    seen_w = counted_j / seconds if seconds > 0 else 0.0
    if watts is None:
        return "" if LEAST_PLAUSIBLE_W < seen_w < MOST_PLAUSIBLE_W else f"it showed {seen_w:.3g} W"
    if LEAST_RATIO < seen_w / watts < MOST_RATIO:
        return ""
    return f"it showed {seen_w:.3g} W where the socket drew {watts:.3g} W"


def _two_dies(board: Board) -> Absence:
    return Absence(
        "gpu",
        f"{board.product} has two dies, and the sensors of the first ({board.name}) are those of the whole card",
        "its joules hold the work of both dies",
        "none in software: leave the other die idle, or give both to this process",
    )
