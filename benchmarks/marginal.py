"""How often the interval of a marginal slope holds the truth, over sets of virtual runs with a known one.

python -m benchmarks marginal --sets 120
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.tables import show
from wattvlm import analyze, studies
from wattvlm.errors import NotResolved
from wattvlm.report import Report
from wattvlm.testing import Script, ScriptedPhase, VirtualSensor, simulate
from wattvlm.trace import TokenCounts
from wattvlm.units import NS_PER_MS

RUNS = ((64, 30, 10), (144, 60, 6), (256, 30, 14), (576, 45, 8), (1024, 60, 12), (1225, 30, 6))
"""Visual, text and output tokens a call of the runs of one set."""

ENCODE_W, PREFILL_W, DECODE_W = 310.0, 600.0, 380.0
ENCODE_MS, PREFILL_MS, DECODE_MS = 0.1, 0.15, 20.0
"""Watts of each phase, and milliseconds a token of it."""


@dataclass(frozen=True, slots=True)
class Question:
    """A slope that is asked of each set, and the joules that it has."""

    part: str
    per: str
    true_j: float


QUESTIONS = (
    Question("vision_encode", "visual_input", ENCODE_W * ENCODE_MS / 1e3),
    Question("prefill", "visual_input", PREFILL_W * PREFILL_MS / 1e3),
    Question("call", "visual_input", (ENCODE_W * ENCODE_MS + PREFILL_W * PREFILL_MS) / 1e3),
    Question("call", "output", DECODE_W * DECODE_MS / 1e3),
)


def one_run(visual: int, text: int, output: int, seed: int) -> Report:
    """Twelve calls on a counter that ticks each 100 ms; each phase differs by 2 % from call to call."""
    script = Script(
        (
            ScriptedPhase("vision_encode", round((40 + ENCODE_MS * visual) * NS_PER_MS), {"gpu": ENCODE_W}),
            ScriptedPhase("prefill", round((40 + PREFILL_MS * (visual + text)) * NS_PER_MS), {"gpu": PREFILL_W}),
            ScriptedPhase("decode", round(DECODE_MS * output * NS_PER_MS), {"gpu": DECODE_W}),
        ),
        calls=12,
        power_variation_fraction=0.02,
        tokens=TokenCounts(text_input=text, visual_input=visual, output=output),
        images=1,
        decode_steps=output - 1,
    )
    sensor = VirtualSensor("gpu-0/board", "gpu", period_ns=100 * NS_PER_MS, max_power_w=1100.0)
    return analyze(simulate(script, [sensor], seed).recording)


def run(arguments: Sequence[str] = ()) -> None:
    """Print, for each slope, how many sets of six runs hold it and how wide they are."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks marginal")
    parser.add_argument("--sets", type=int, default=120)
    sets: int = parser.parse_args(list(arguments)).sets
    covered = dict.fromkeys(QUESTIONS, 0)
    widths: dict[Question, list[float]] = {question: [] for question in QUESTIONS}
    for number in range(sets):
        reports = [one_run(*counts, seed=1000 * number + place) for place, counts in enumerate(RUNS)]
        for question in QUESTIONS:
            try:
                found = studies.marginal(reports, question.per, question.part).energy
            except NotResolved:
                continue
            covered[question] += found.interval_j[0] <= question.true_j <= found.interval_j[1]
            widths[question].append(found.half_width_j)
    rows: list[list[str]] = []
    for each, known in widths.items():
        holds = f"{covered[each]} of {len(known)}"
        rows.append([each.part, each.per, f"{each.true_j:.4g}", f"{median(known):.2g}", holds, str(sets - len(known))])
    header = ["slope of", "per", "truth J", "median ± J", "sets that hold it", "sets refused"]
    show(f"{sets} sets of {len(RUNS)} virtual runs, 12 calls each", header, rows)
