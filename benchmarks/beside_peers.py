"""Joules of a prefill by wattvlm and by other meters: the same calls in real time, a virtual GPU for each meter.

    python -m benchmarks beside_peers --keep runs            the tables of docs/accuracy.md (an hour)
    python -m benchmarks beside_peers --sessions 4 --sensor counter-100ms --phase 45
    python -m benchmarks beside_peers --keep runs --again    the same runs, our recordings analyzed again

Each meter runs in a process and an environment of its own (installed from the package index on the first run) and is
driven as its documentation says, told of the beginning and end of each phase. Powers are drawn anew in each session.
Truth is what was drawn between the boundaries that the meter was told of, so that delays do not count as errors.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from statistics import fmean, median
from typing import Any

from benchmarks.peers.environments import DEFAULT_FOLDER, OWN, PEERS
from benchmarks.peers.plan import CALL_LATENCY_NS, SENSORS, sessions
from benchmarks.peers.running import Run, read_again, run_together
from benchmarks.tables import show
from wattvlm.attribution import analyze
from wattvlm.recording import Recording
from wattvlm.trace import PREFILL

CELLS = (("counter-100ms", 45), ("counter-100ms", 120), ("counter-20ms", 45), ("counter-20ms", 120),
         ("mean-1s", 45), ("mean-1s", 120), ("part-25ms", 45))  # fmt: skip
CALLS = (1, 20)
NOTHING = "nothing"
NOTE = "Virtual hardware in real time; no figure is from a real board."


@dataclass(frozen=True, slots=True)
class Figures:
    """One meter in one cell. errors by number of calls, as fractions of the truth; zeros: calls said to have taken 0 J.

    refused: by number of calls, the share of our figures that are not resolved; the middle of their bounds counts.
    covered: share of intervals that hold the truth. added_ns: median time in the meter a call of three phases.
    core_fraction: CPU time of the process and its children, of one core, while calls ran.
    """

    errors: Mapping[int, tuple[float, ...]]
    zeros: int
    values: int
    refused: Mapping[int, float]
    covered: float | None
    added_ns: float
    core_fraction: float
    failed: str


def run(options: Sequence[str] = ()) -> None:
    """All cells that are asked for, one after the other, the meters of a cell side by side."""
    asked = _parser().parse_args(options)
    names = [name for name in PEERS if not asked.meter or name in (*asked.meter, OWN, NOTHING)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.keep or Path(temporary)
        found = {
            (sensor, ms): _cell(sensor, ms, names, folder / f"{sensor}-{ms}ms", asked)
            for sensor, ms in CELLS
            if (not asked.sensor or sensor in asked.sensor) and (not asked.phase or ms in asked.phase)
        }
    _show(found)


def _cell(sensor: str, prefill_ms: int, names: Sequence[str], folder: Path, asked: Any) -> dict[str, Figures]:
    if asked.again:
        runs = {name: read_again(name, folder / name) for name in names}
    else:
        planned = [session for calls in CALLS for session in sessions(prefill_ms, calls, asked.sessions)]
        runs = run_together(
            names, folder, asked.environments, SENSORS[sensor].settings, {"sessions": planned}, asked.together
        )
    for each in runs.values():
        if each.ended:
            print(f"{sensor}, {prefill_ms} ms, {PEERS[each.name].words}: {each.ended}", flush=True)
    figures = {name: _figures(each, folder, asked.again) for name, each in runs.items()}
    _print_line(sensor, prefill_ms, figures)
    return figures


def _figures(run: Run, folder: Path, again: bool) -> Figures:
    errors: dict[int, list[float]] = {}
    covered: list[bool] = []
    refused: dict[int, list[bool]] = {}
    zeros = values = 0
    for session in run.sessions:
        truths_j = [call[PREFILL]["joules"] for call in session["calls"] if PREFILL in call]
        said = _said(session, folder / run.name, again) if run.name == OWN else session.get("said", {})
        truth_j = fmean(truths_j) if truths_j else 0.0
        if "pooled" in said:
            figure = said["pooled"].get(PREFILL)
            if figure is not None:
                errors.setdefault(len(truths_j), []).append(figure[0] / truth_j - 1.0)
                covered.append(figure[1] <= truth_j <= figure[2])
                refused.setdefault(len(truths_j), []).append(figure[3])
        elif len(said.get(PREFILL, ())) == len(truths_j) > 0:
            errors.setdefault(len(truths_j), []).append(fmean(said[PREFILL]) / truth_j - 1.0)
            zeros += sum(1 for value in said[PREFILL] if value == 0.0)
            values += len(said[PREFILL])
    added = [each for session in run.sessions for each in session["added_ns"]]
    whole = [session for session in run.sessions if "wall_s" in session]
    wall_s = sum(session["wall_s"] for session in whole)
    return Figures(
        {calls: tuple(own) for calls, own in errors.items()},
        zeros,
        values,
        {calls: fmean(own) for calls, own in refused.items()},
        fmean(covered) if covered else None,
        median(added) if added else float("nan"),
        sum(session["cpu_s"] for session in whole) / wall_s if wall_s else float("nan"),
        run.raised or run.ended,
    )


def _said(session: Mapping[str, Any], folder: Path, again: bool) -> Mapping[str, Any]:
    """What our report said, or says now of the recording that was kept."""
    if not again:
        said: Mapping[str, Any] = session.get("said", {})
        return said
    from benchmarks.peers.programs.with_wattvlm import said_of

    return said_of(analyze(Recording.load(folder / "recordings" / f"{session['seed']}.json.gz")))


def _print_line(sensor: str, prefill_ms: int, figures: Mapping[str, Figures]) -> None:
    parts = [f"{name} {_errors(own, 1)} / {_errors(own, 20)}" for name, own in figures.items() if name != NOTHING]
    print(f"{sensor}, {prefill_ms} ms (RMS of 1 / 20 calls): {'; '.join(parts)}", flush=True)


def _show(found: Mapping[tuple[str, int], Mapping[str, Figures]]) -> None:
    meters = list(dict.fromkeys(name for own in found.values() for name in own if name != NOTHING))
    for calls in CALLS:
        header = ("meter", *(f"{SENSORS[sensor].words}: {ms} ms" for sensor, ms in found))
        rows = [(PEERS[name].words, *(_errors(own[name], calls, zeros=calls == 1) for own in found.values()))
                for name in meters]  # fmt: skip
        rows.append(("**wattvlm / best peer**", *(_ratio(own, calls) for own in found.values())))
        count = max((len(own.errors.get(calls, ())) for each in found.values() for own in each.values()), default=0)
        words = "one call" if calls == 1 else f"the mean of {calls} calls"
        show(f"Prefill joules of {words}: RMS error", header, rows, f"{count} sessions a cell. {NOTE}")
    rows = [(PEERS[name].words, *_cost(name, found)) for name in meters]
    show(
        "What each meter costs",
        (
            "meter",
            "time in the meter a call (median)",
            "CPU, of a core",
            "intervals that hold the truth",
        ),
        rows,
        f"Each NVML call takes {CALL_LATENCY_NS // 1000} µs. CPU: process and children, less a run without a meter. "
        f"{NOTE}",
    )
    goals = list(_goals(found))
    if goals:
        show("Goals", ("goal", "found", "met"), goals)


def _errors(own: Figures, calls: int, zeros: bool = False) -> str:
    errors = own.errors.get(calls)
    if not errors:
        return own.failed.partition(":")[0] if own.failed else "-"
    said_zero = f" (0 J in {100 * own.zeros / own.values:.0f} %)" if zeros and own.zeros else ""
    refused = f" (refused in {100 * own.refused[calls]:.0f} %)" if own.refused.get(calls) else ""
    return f"{_percent(_rms(errors))}{said_zero}{refused}"


def _percent(fraction: float) -> str:
    """Two significant digits, and all digits before the point."""
    return f"{100 * fraction:.0f} %" if fraction >= 0.095 else f"{100 * fraction:.2g} %"


def _rms(errors: Sequence[float]) -> float:
    return sqrt(fmean(error * error for error in errors))


def _best_peer(own: Mapping[str, Figures], calls: int) -> float | None:
    return min((_rms(each.errors[calls]) for name, each in own.items() if name != OWN and each.errors.get(calls)),
               default=None)  # fmt: skip


def _ratio(own: Mapping[str, Figures], calls: int) -> str:
    best, errors = _best_peer(own, calls), own[OWN].errors.get(calls)
    return f"{_rms(errors) / best:.2g}" if best and errors else "-"


def _cost(name: str, found: Mapping[tuple[str, int], Mapping[str, Figures]]) -> tuple[str, str, str]:
    own = [each[name] for each in found.values() if each[name].errors]
    if not own:
        return "-", "-", "-"
    covered = [each.covered for each in own if each.covered is not None]
    return (
        f"{_added_ns(name, found) / 1e6:.3f} ms",
        f"{100 * _core_fraction(name, found):.2f} %",
        f"{100 * fmean(covered):.0f} %" if covered else "none stated",
    )


def _added_ns(name: str, found: Mapping[tuple[str, int], Mapping[str, Figures]]) -> float:
    return median(each[name].added_ns for each in found.values() if each[name].errors)


def _core_fraction(name: str, found: Mapping[tuple[str, int], Mapping[str, Figures]]) -> float:
    return fmean(
        each[name].core_fraction - (each[NOTHING].core_fraction if NOTHING in each else 0.0)
        for each in found.values()
        if each[name].errors
    )


def _goals(found: Mapping[tuple[str, int], Mapping[str, Figures]]) -> Iterator[tuple[str, str, str]]:
    peers = [name for name in PEERS if name not in (OWN, NOTHING)]
    ran = [name for name in peers if any(name in own and own[name].errors for own in found.values())]
    if not ran:
        return
    for calls in CALLS:
        behind = [f"{sensor} {ms} ms" for (sensor, ms), own in found.items() if not _is_ahead(own, calls)]
        words = "one call" if calls == 1 else f"{calls} calls"
        yield f"{words}: a smaller RMS error than every peer's", ", ".join(behind) or "in all cells", _met(not behind)
    added, fraction = _added_ns(OWN, found), _core_fraction(OWN, found)
    least_ns = min(_added_ns(name, found) for name in ran)
    least = min(_core_fraction(name, found) for name in ran)
    yield (
        "time in the meter a call below every peer's",
        f"{added / 1e6:.3f} ms, least peer {least_ns / 1e6:.3f} ms",
        _met(added < least_ns),
    )
    yield (
        "CPU below every peer's",
        f"{100 * fraction:.2f} % of a core, least peer {100 * least:.2f} %",
        _met(fraction < least),
    )


def _is_ahead(own: Mapping[str, Figures], calls: int) -> bool:
    best, errors = _best_peer(own, calls), own[OWN].errors.get(calls)
    return bool(errors) and (best is None or _rms(errors or ()) < best)


def _met(met: bool) -> str:
    return "yes" if met else "**no**"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks beside_peers")
    parser.add_argument("--sessions", type=int, default=40, help="of one call, and as many of 20 calls, a cell")
    parser.add_argument("--sensor", action="append", default=[], choices=list(SENSORS))
    parser.add_argument("--phase", action="append", default=[], type=int, choices=sorted({ms for _, ms in CELLS}))
    parser.add_argument("--meter", action="append", default=[], choices=list(PEERS), help="beside our own")
    parser.add_argument("--together", type=int, default=len(PEERS), help="meters that run at the same time")
    parser.add_argument("--environments", type=Path, default=DEFAULT_FOLDER, help="where peers are installed")
    parser.add_argument("--keep", type=Path, help="a folder for the runs' results and our recordings")
    parser.add_argument("--again", action="store_true", help="read the kept runs, and analyze our recordings again")
    return parser


if __name__ == "__main__":
    run()
