"""Who else used a device: processes that are not the measured program's, as far as that can be told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wattvlm.recording import States

LEAST_SHARE_WORTH_SAYING = 0.01
"""A process that keeps memory on a device and computes nothing takes no joules but a little of its idle power."""

_MOST_NAMED = 3


def process_lines(device: str, states: Sequence[States]) -> Iterator[str]:
    """Lines on other processes and on sharing, none where the device was the measured program's alone."""
    shares = shares_of(states)
    pids = {each.pid: each for each in states if each.pid and each.quantity in ("process", "busy_fraction")}
    has_own = any(each.is_own for each in pids.values())
    computing = {each.pid for each in states if each.quantity == "process"}
    yield from _server_lines(device, states)
    if not has_own and any(each.is_own is None for each in pids.values()):
        yield from _untold_lines(device, computing)
        return
    others = [
        each for each in pids.values()
        if not each.is_own and _takes_part(each.pid, computing, shares)
    ]  # fmt: skip
    if not others:
        return
    named = _named(others, shares)
    if has_own:
        yield (
            f"{device}: other processes used it at the same time ({named}): their joules are in the numbers, which "
            "are too high for this program by that. Cure: measure on a device that nobody else uses"
        )
    else:
        yield (
            f"{device}: not this program used it, but other processes did ({named}): its joules are theirs. If they "
            "are the server of these calls, that is meant; else let this program see only the devices that it uses"
        )


def shares_of(states: Sequence[States]) -> dict[int, float]:
    """By process, the mean part of the device that it kept busy; empty where the sensor never told one.

    A look in which a process is not listed found it doing nothing.
    """
    told = [each for each in states if each.pid and each.quantity == "busy_fraction"]
    looks = max((len(each) for each in states), default=0)
    return {each.pid: float(each.value.sum()) / max(looks, len(each)) for each in told}


def _takes_part(pid: int, computing: set[int], shares: dict[int, float]) -> bool:
    if shares:
        return shares.get(pid, 0.0) >= LEAST_SHARE_WORTH_SAYING
    return pid in computing


def _named(others: Sequence[States], shares: dict[int, float]) -> str:
    words: list[str] = []
    for each in sorted(others, key=lambda each: -shares.get(each.pid, 0.0))[:_MOST_NAMED]:
        share = f", {shares[each.pid]:.0%} of it" if each.pid in shares else ""
        words.append(f"pid {each.pid}{' ' + each.process if each.process else ''}{share}")
    more = len(others) - _MOST_NAMED
    return "; ".join(words) + (f"; and {more} more" if more > 0 else "")


def _untold_lines(device: str, computing: set[int]) -> Iterator[str]:
    """In a container the driver's process numbers mean nothing; one process is then most likely this program."""
    if len(computing) > 1:
        yield (
            f"{device}: {len(computing)} processes used it, and from inside this container it cannot be told which of "
            "them are this program's: joules of others may be in the numbers. Cure: run the container with --pid=host "
            "to have them named, or make sure that nobody else uses the device"
        )


def _server_lines(device: str, states: Sequence[States]) -> Iterator[str]:
    if any(each.quantity == "shared_by_server" for each in states):
        yield (
            f"{device}: an MPS server runs the work of its clients on it at the same time; its power is shared "
            "and joules of single clients are not measured. Cure: be its only client while measuring, or stop it"
        )
