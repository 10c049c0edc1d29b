"""A program's share of a device that it does not have alone: by CPU time, or by the time it kept a GPU's SMs busy.

A share is a model. It takes each second of work for as costly as any other, and shares idle power out like all other
power; nothing of this is in the interval, which holds only what the readings and their rounding leave open.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wattvlm.energy import Energy
from wattvlm.errors import NotResolved
from wattvlm.parts import ChannelUse, PartEnergy, Seen
from wattvlm.sensing import CPU_DEVICE, Domain
from wattvlm.units import NS_PER_MS

LEAST_CPU_TIME_NS = 200 * NS_PER_MS
"""Below this the steps of 10 ms in which /proc counts are a large part."""

_CPU_ROUNDING_NS = 20 * NS_PER_MS
_SM_ROUNDING_FRACTION = 0.005
"""The driver gives SM utilisation in whole percent."""

MOST_UNLIKE_BOARDS_FRACTION = 0.1

Share = tuple[float, float]
"""The least and the most that a share can be, of 1."""


def process_share(
    domain: Domain, of_block: PartEnergy | None, channels: Sequence[ChannelUse], seen: Sequence[Seen]
) -> Energy:
    """The measured processes' part of a block's joules, as a model; NotResolved says what is missing for it."""
    if domain not in ("cpu", "gpu"):
        raise NotResolved(
            f"which part of the {domain}'s joules is this program's is not known, so its share is absent. Cure: ask "
            "for the share of the cpu or the gpu"
        )
    if of_block is None or of_block.energy.is_modelled:
        what = "has no joules here" if of_block is None else "has no sensor here, and its model is of this program only"
        raise NotResolved(f"the {domain} {what}: there is nothing to share out. Cure: see `wattvlm doctor`")
    if domain == "cpu":
        return share_of(of_block.energy, share_of_cpu_time(seen))
    used = (use.channel for use in channels if use.in_totals)
    boards = dict.fromkeys(channel.board for channel in used if channel.domain == "gpu")
    return share_of(of_block.energy, share_of_gpus(seen, boards))


def share_of_cpu_time(seen: Sequence[Seen]) -> Share:
    """The measured processes' part of the CPU time that the machine ran; NotResolved where it was not seen."""
    times = [each for each in seen if each.device == CPU_DEVICE and each.quantity == "cpu_time_ns"]
    busy_ns = sum(each.most - each.least for each in times if not each.pid)
    own_ns = sum(each.most - each.least for each in times if each.is_own)
    if busy_ns < LEAST_CPU_TIME_NS or not any(each.is_own for each in times):
        raise NotResolved(
            "how much of the machine's CPU time was this program's was not seen, so its share of the CPU's joules is "
            "absent. Cure: meter a block of two seconds or more, on Linux with /proc"
        )
    return _within_one(own_ns - _CPU_ROUNDING_NS, own_ns + _CPU_ROUNDING_NS, busy_ns)


def share_of_gpus(seen: Sequence[Seen], boards: Iterable[str]) -> Share:
    """The measured processes' part of the SM time that was used; of several boards the hull of their shares.

    NotResolved where the driver did not tell it, and where boards differ by more than a tenth.
    """
    shares = [_share_of_board([each for each in seen if each.device == board], board) for board in boards]
    if not shares:
        raise NotResolved("no GPU has joules here; `wattvlm doctor` says why and the cure")
    least, most = min(low for low, _ in shares), max(high for _, high in shares)
    narrowest = min(high - low for low, high in shares)
    if most - least - narrowest > MOST_UNLIKE_BOARDS_FRACTION:
        raise NotResolved(
            f"this program had {least:.0%} to {most:.0%} of single GPUs, and joules are of all of them together, so "
            "its share is absent. Cure: let it see only the GPUs that it uses (CUDA_VISIBLE_DEVICES)"
        )
    return least, most


def share_of(energy: Energy, share: Share) -> Energy:
    """That part of some joules, as a model."""
    low, high = share
    products_j = [edge_j * part for edge_j in energy.interval_j for part in share]
    middle = (low + high) / 2
    return Energy(
        None if energy.mean_j is None else energy.mean_j * middle,
        (min(products_j), max(products_j)),
        "modelled",
        {board: gain_j * middle for board, gain_j in energy.gains_j.items()},
    )


def _share_of_board(seen: Sequence[Seen], board: str) -> Share:
    if any(each.quantity == "shared_by_server" for each in seen):
        raise NotResolved(
            f"{board}: an MPS server runs the work of all its clients, and the driver does not tell them apart, so "
            "this program's share is absent. Cure: be its only client while measuring, or stop it"
        )
    told = [each for each in seen if each.pid and each.quantity == "busy_fraction"]
    looks = max((each.looks for each in seen), default=0)
    used = {each.pid: each.mean * each.looks / looks for each in told}
    if sum(used.values()) <= _SM_ROUNDING_FRACTION:
        raise NotResolved(
            f"{board}: the driver did not tell how busy single processes kept it (no board does on MIG instances), so "
            "this program's share is absent. Cure: meter a block of two seconds or more; the whole GPU's joules stand"
        )
    own = sum(used[each.pid] for each in told if _is_ours(each, told))
    whole = sum(used.values())
    return _within_one(own - _SM_ROUNDING_FRACTION, own + _SM_ROUNDING_FRACTION, whole)


def _within_one(least: float, most: float, whole: float) -> Share:
    """Two parts of a whole as fractions; two ways of counting may put a part above its whole."""
    return min(1.0, max(0.0, least / whole)), min(1.0, most / whole)


def _is_ours(process: Seen, told: Sequence[Seen]) -> bool:
    """In a container the driver's process numbers mean nothing; one process alone is then most likely this program."""
    if any(each.is_own for each in told) or process.is_own is False:
        return bool(process.is_own)
    if len(told) == 1:
        return True
    raise NotResolved(
        f"{process.device}: {len(told)} processes used it, and from inside this container it cannot be told which are "
        "this program's, so its share is absent. Cure: run the container with --pid=host"
    )
