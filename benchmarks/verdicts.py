"""How often two runs of the same are called different, and how often a true +5 % is found, over pairs of virtual runs.

python -m benchmarks verdicts --pairs 300 --sensors counter-100ms counter-1ms part-25ms
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from statistics import median

from benchmarks.simulated.cells import SENSORS
from benchmarks.tables import show
from wattvlm import analyze
from wattvlm.comparison import Difference
from wattvlm.regression.thresholds import Threshold, check_change
from wattvlm.report import Report
from wattvlm.studies import compare
from wattvlm.testing import Script, ScriptedPhase, VirtualSensor, simulate
from wattvlm.trace import TokenCounts
from wattvlm.units import NS_PER_MS

METRICS = ("joules_per_request", "joules_per_image", "vision_encode_joules", "prefill_joules", "decode_joules")
GATES = (0.01, 0.02)
PHASES = {"vision_encode": (40, 310.0), "prefill": (120, 600.0), "decode": (800, 380.0)}
"""Milliseconds and watts."""


def one_run(sensor: str, calls: int, more: float, seed: int) -> Report:
    """Calls whose powers scatter by 3 % from call to call and phase to phase; all of them times `more`.

    The board's gain is the same in every run, as it is when one machine is compared with itself.
    """
    script = Script(
        tuple(
            ScriptedPhase(name, milliseconds * NS_PER_MS, {"gpu": more * power_w})
            for name, (milliseconds, power_w) in PHASES.items()
        ),
        calls=calls,
        power_variation_fraction=0.03,
        duration_variation_fraction=0.01,
        tokens=TokenCounts(text_input=30, visual_encoded=576, visual_input=576, output=40),
        images=1,
        decode_steps=39,
    )
    board = VirtualSensor("gpu-0/board", "gpu", gain=1.02, gain_std_fraction=0.025, max_power_w=1100.0, seed=seed,
                          phase_ns=seed * 7_919_417 % (100 * NS_PER_MS), **SENSORS[sensor].behaviour)  # fmt: skip
    return analyze(simulate(script, [board], seed).recording)


class _Tally:
    """What verdicts and gates said of many pairs, metric by metric."""

    def __init__(self) -> None:
        self.verdicts: dict[str, Counter[str]] = {metric: Counter() for metric in METRICS}
        self.alarms: dict[tuple[str, float], int] = Counter()
        self.half_fractions: dict[str, list[float]] = {metric: [] for metric in METRICS}

    def add(self, before: Report, after: Report) -> None:
        """One pair of runs."""
        found = compare(before, after)
        for metric in METRICS:
            self._add(found.of(metric))

    def _add(self, found: Difference) -> None:
        self.verdicts[found.metric][found.verdict] += 1
        if found.interval_fraction is not None:
            low, high = found.interval_fraction
            self.half_fractions[found.metric].append((high - low) / 2)
        for gate in GATES:
            check = check_change(found, Threshold(found.metric, gate, is_fraction=True), "")
            self.alarms[found.metric, gate] += check.state == "failed"


def run(arguments: Sequence[str] = ()) -> None:
    """Print, for each sensor and metric, how many pairs got which verdict, and how many made a gate fail."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks verdicts")
    parser.add_argument("--pairs", type=int, default=300)
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--sensors", nargs="+", choices=list(SENSORS), default=["counter-100ms"])
    chosen = parser.parse_args(list(arguments))
    rows: list[list[str]] = []
    for sensor in chosen.sensors:
        same, dearer = _Tally(), _Tally()
        for number in range(chosen.pairs):
            before, again, after = (
                one_run(sensor, chosen.calls, more, 3 * number + place) for place, more in enumerate((1.0, 1.0, 1.05))
            )
            same.add(before, again)
            dearer.add(before, after)
        rows += [_row(SENSORS[sensor].words, metric, same, dearer, chosen.pairs) for metric in METRICS]
    gates = [f"gate {gate * 100:g} %" for gate in GATES]
    header = ["sensor", "metric", "change known to", "no change: a verdict", *gates, "+5 %: worse", *gates]
    show(f"{chosen.pairs} pairs of runs of {chosen.calls} calls, with no change and with +5 % of power", header, rows,
         "Powers scatter by 3 % from call to call; a gate fails where the whole interval is over it.")  # fmt: skip


def _row(sensor: str, metric: str, same: _Tally, dearer: _Tally, pairs: int) -> list[str]:
    known = same.half_fractions[metric]
    row = [sensor, metric, f"±{median(known) * 100:.1f} %" if known else "not resolved"]
    wrong = same.verdicts[metric]["worse"] + same.verdicts[metric]["better"]
    for tally, told in ((same, wrong), (dearer, dearer.verdicts[metric]["worse"])):
        counts = [told, *(tally.alarms[metric, gate] for gate in GATES)]
        row += [f"{count / pairs * 100:.1f} %" for count in counts]
    return row
