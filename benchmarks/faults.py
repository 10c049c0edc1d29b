"""What a faulty sensor does to a program and to its joules, by wattvlm and by other meters.

    python -m benchmarks faults
    python -m benchmarks faults --fault lost --meter zeus

The same twelve calls with a 400 ms prefill on a counter that ticks each 20 ms, where every meter is right while nothing
fails. In the middle of the run something fails. Each call's prefill is then right (within 25 %), wrong, or not given.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.environments import DEFAULT_FOLDER, PEERS
from benchmarks.peers.plan import CALL_LATENCY_NS, SENSORS, sessions
from benchmarks.peers.running import Run, run_together
from benchmarks.tables import show
from wattvlm.trace import PREFILL
from wattvlm.units import NS_PER_MS, NS_PER_S

CALLS = 12
PREFILL_MS = 400
STARTS_IN_S = 40.0
"""All meters are imported and open by then; faults come in a prefill in the middle of the calls that begin then."""

INTO_THE_PREFILL = 0.4
WRONG_FRACTION = 0.25
NOTHING = "nothing"

Settings = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """Words for a row, and what the virtual GPU does from a moment on."""

    words: str
    settings: Callable[[int], Settings]


FAULTS = {
    "none": Fault("nothing fails", lambda _: {}),
    "reset": Fault("the driver is reloaded: the counter starts again from 0", lambda at_ns: {"reload_at_ns": at_ns}),
    "backwards": Fault("the counter falls by 150 J", lambda at_ns: {"falls_at_ns": at_ns, "falls_by_j": 150.0}),
    "stuck": Fault("the counter stands still for 2 s", lambda at_ns: {"stuck_ns": (at_ns, at_ns + 2 * NS_PER_S)}),
    "flaky": Fault("one call in ten fails with UNKNOWN", lambda _: {"flaky_fraction": 0.1}),
    "lost": Fault("the GPU is lost", lambda at_ns: {"lost_at_ns": at_ns}),
    "slow": Fault("each call takes 5 ms", lambda _: {"latency_ns": 5 * NS_PER_MS}),
    "noise": Fault("no counter, 20 W of noise in the power", lambda _: {
        "has_counter": False, "has_fields": False, "usage": "instant", "power_period_ns": 20 * NS_PER_MS,
        "instant_window_ns": 20 * NS_PER_MS, "power_noise_w": 20.0}),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """Calls whose prefill was right, wrong or not given, the worst error; what reached the program; what was said."""

    right: int
    wrong: int
    absent: int
    worst_j: float
    reached: str
    told: frozenset[str]
    added_ms: float


def run(options: Sequence[str] = ()) -> None:
    """One table a fault, the meters side by side, and one of all faults."""
    asked = _parser().parse_args(options)
    names = [name for name in PEERS if name != "nothing" and (not asked.meter or name in asked.meter)]
    usual: dict[str, frozenset[str]] = {}
    summary: list[tuple[str, ...]] = []
    for key, fault in FAULTS.items():
        if asked.fault and key not in (*asked.fault, "none"):
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = _outcomes(fault, names, Path(folder), asked.environments, asked.together)
        if key == "none":
            usual = {name: each.told for name, each in found.items()}
        _show(key, fault, found, usual)
        summary.append((fault.words, *(_short(each) for each in found.values())))
    show(
        f"Faults: prefills of {CALLS} calls right / wrong / not given",
        ("fault", *(PEERS[name].words for name in names)),
        summary,
        f"Virtual hardware in real time. Wrong: off by more than {WRONG_FRACTION:.0%} (the worst in joules). "
        "Raises: an exception came out of the meter into the measured program, which ends there.",
    )


def _outcomes(
    fault: Fault, names: Sequence[str], folder: Path, environments: Path, together: int
) -> dict[str, Outcome]:
    planned = sessions(PREFILL_MS, CALLS, 1)
    start_ns = time.monotonic_ns() + round(STARTS_IN_S * NS_PER_S)
    middle_ns = start_ns + _into_a_prefill_ns(planned[0]["calls"])
    settings = {"latency_ns": CALL_LATENCY_NS, **SENSORS["counter-20ms"].settings, **fault.settings(middle_ns)}
    plan = {"sessions": planned, "start_ns": start_ns, "starts_in_s": STARTS_IN_S}
    runs = run_together(names, folder, environments, settings, plan, together)
    return {name: _outcome(each, folder / name) for name, each in runs.items()}


def _into_a_prefill_ns(calls: Sequence[Mapping[str, Any]]) -> int:
    """From the first call's pause to a moment in the prefill of the call in the middle, by the plan."""
    *before, last = calls[: len(calls) // 2]
    whole_ns: float = sum(
        call["pause_ns"] + sum(duration_ns for _, duration_ns, _ in call["phases"]) for call in before
    )
    encode, prefill, _ = last["phases"]
    into_ns: float = whole_ns + last["pause_ns"] + encode[1] + INTO_THE_PREFILL * prefill[1]
    return round(into_ns)


def _outcome(run: Run, folder: Path) -> Outcome:
    session = run.sessions[0] if run.sessions else {"calls": [], "added_ns": []}
    truths_j = [call[PREFILL]["joules"] if PREFILL in call else None for call in session["calls"]]
    said = _said(session.get("said", {}))
    right = wrong = 0
    worst_j = 0.0
    for truth_j, value_j in zip(truths_j, said):
        if truth_j is None or value_j is None:
            continue
        worst_j = max(worst_j, value_j - truth_j, key=abs)
        if abs(value_j - truth_j) > WRONG_FRACTION * truth_j:
            wrong += 1
        else:
            right += 1
    errors = folder / "errors.txt"
    lines = [*(errors.read_text().splitlines() if errors.exists() else ()), *_notes(session)]
    added_ns = sorted(session["added_ns"]) or [0]
    return Outcome(
        right, wrong, CALLS - right - wrong, worst_j, _reached(run, len(truths_j)),
        frozenset(re.sub(r"[\d.,:+-]+", "#", line) for line in lines if line.strip()),
        added_ns[len(added_ns) // 2] / NS_PER_MS,
    )  # fmt: skip


def _said(said: Mapping[str, Any]) -> list[float | None]:
    """Joules of each call's prefill; None where none were given, or bounds too wide to be called a figure."""
    if "each" not in said:
        return list(said.get(PREFILL, ()))
    figures = [call.get(PREFILL) for call in said["each"]]
    return [None if figure is None or figure[3] else figure[0] for figure in figures]


def _notes(session: Mapping[str, Any]) -> list[str]:
    return list(session.get("said", {}).get("notes", ()))


def _reached(run: Run, calls: int) -> str:
    if run.raised:
        return f"raised in call {calls}: {run.raised.partition(':')[0]}"
    return run.ended.partition(":")[0] if run.ended else NOTHING


def _show(key: str, fault: Fault, found: Mapping[str, Outcome], usual: Mapping[str, frozenset[str]]) -> None:
    rows = [
        (
            PEERS[name].words, each.reached, str(each.right), str(each.wrong), str(each.absent),
            f"{each.worst_j:+,.0f} J", "-" if key == "none" else _yes(bool(each.told - usual.get(name, frozenset()))),
            f"{each.added_ms:.1f} ms",
        )
        for name, each in found.items()
    ]  # fmt: skip
    header = ("meter", "what reached the program", "calls right", "wrong", "not given", "worst error", "said",
              "time in the meter a call")  # fmt: skip
    note = "Virtual hardware in real time. Said: a line in the report, the log or on the console that is not usual."
    show(f"Fault: {fault.words}", header, rows, note)


def _short(found: Outcome) -> str:
    worst = f" ({found.worst_j:+,.0f} J)" if found.wrong else ""
    reached = "; raises" if found.reached.startswith("raised") else f"; {found.reached}"
    return f"{found.right} / {found.wrong} / {found.absent}{worst}{'' if found.reached == NOTHING else reached}"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks faults")
    parser.add_argument("--fault", action="append", default=[], choices=list(FAULTS))
    parser.add_argument("--meter", action="append", default=[], choices=list(PEERS))
    parser.add_argument("--together", type=int, default=len(PEERS), help="meters that run at the same time")
    parser.add_argument("--environments", type=Path, default=DEFAULT_FOLDER, help="where peers are installed")
    return parser


if __name__ == "__main__":
    run()
