"""How often studies find a true effect of a stated size, and how often they tell one where there is none.

python -m benchmarks studies --sessions 100

Each session is a study over virtual runs of calls whose power scatters by 3 %, on a counter of 20 ms with a gain that
is not known. What is told is what the study's intervals or its own verdicts say. No two rows share a run: rows that do
are wrong together. --study NAME: the rows of one study alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from benchmarks.tables import show
from wattvlm.answers import Answer
from wattvlm.bench import Cell
from wattvlm.comparison import Score
from wattvlm.questions import Asked, Run, devices, models, output_length, stages, visual_tokens
from wattvlm.questions.asked import Study
from wattvlm.report import Report
from wattvlm.testing import CostModel, Request
from wattvlm.units import NS_PER_MS

CALLS = 20
PLAIN = CostModel(encode_ns=0.0, encode_ns_per_token=0.0, prefill_ns_per_token=0.0, decode_ns_per_context=0.0)
"""A request whose joules are the same with and without a picture."""

EDGES = ("one", "other")
SEEDS_OF_ROW, SEEDS_OF_SESSION = 10_000_000, 100


def thriftless(effect: float) -> CostModel:
    """The same request with all its powers larger by an effect."""
    return replace(PLAIN, prefill_w=PLAIN.prefill_w * (1 + effect), decode_w=PLAIN.decode_w * (1 + effect))


@dataclass(frozen=True, slots=True)
class Tried:
    """A study whose effect is known. costs: of a cell where the effect has a size; told: whether an answer tells it."""

    study: Study
    asked: Asked
    effect_of: str
    costs: Callable[[Cell, float], CostModel]
    told: Callable[[Answer], bool]


def _differs_from(value: float, what: str) -> Callable[[Answer], bool]:
    def told(answer: Answer) -> bool:
        found = answer.finding(what).found
        return found is not None and not found.low <= value <= found.high

    return told


def _of_pictures(cell: Cell, effect: float) -> CostModel:
    return thriftless(effect if cell.images else 0.0)


def _of_last(cell: Cell, effect: float) -> CostModel:
    return thriftless(effect if EDGES[1] in (cell.model, cell.device) else 0.0)


def _of_tokens(cell: Cell, effect: float) -> CostModel:
    """All visual tokens of the largest request together take the effect's part of a request without any."""
    whole_j = PLAIN.truth_j(request_of(Cell("m", images=1, resolution=(28, 28))))["call"]
    a_token_ns = effect * whole_j / 1024 / PLAIN.prefill_w * 1e9
    return replace(PLAIN, prefill_ns_per_token=a_token_ns)


def _of_length(cell: Cell, effect: float) -> CostModel:
    """Half of the 64 tokens take the effect's part of a request; the rest is a long prefill."""
    base = replace(PLAIN, prefill_ns=300.0 * NS_PER_MS, decode_ns=0.0, decode_ns_per_sequence=0.0)
    base_j = base.truth_j(request_of(cell))["call"]
    a_step_j = effect * base_j / (32 - 63 * effect)
    return replace(base, decode_ns=a_step_j / PLAIN.decode_w * 1e9)


def _one_is_more(answer: Answer) -> bool:
    return any(finding.claim == "it takes more" and finding.verdict == "holds" for finding in answer.findings)


TRIED = (
    Tried(stages, Asked(("m",), resolutions=((448, 448),)), "a picture against text alone", _of_pictures,
          _differs_from(0.0, "m: more than text alone at 448 x 448")),
    Tried(output_length, Asked(("m",), output_tokens=(32, 64)), "half of an answer, of a request", _of_length,
          _differs_from(0.0, "m: halving the answer")),
    Tried(visual_tokens, Asked(("m",)), "1,024 visual tokens, of a request", _of_tokens,
          _differs_from(0.0, "m: one more visual token")),
    Tried(models, Asked(EDGES), "two models", _of_last, _one_is_more),
    Tried(models, Asked(("a", "b", "c", "d", EDGES[1])), "five models, one of them", _of_last, _one_is_more),
    Tried(devices, Asked(("m",), devices=EDGES), "two settings of one board", _of_last,
          _differs_from(1.0, f"{EDGES[1]}: a request")),
)  # fmt: skip


def request_of(cell: Cell) -> Request:
    """A native-resolution model: one visual token for 28 x 28 pixels."""
    width, height = cell.resolution or (336, 336)
    return Request(cell.images, cell.images * (width // 28) * (height // 28), 32, cell.output_tokens, cell.batch_size)


def session(tried: Tried, effect: float, seed: int, calls: int) -> bool:
    """Whether one session of a study tells the effect; cells in the order of its matrix, a board's gain common."""
    design = tried.study.design(tried.asked)
    gain = 1.0 + 0.025 * ((seed * 7) % 5 - 2) / 2
    first = SEEDS_OF_ROW * TRIED.index(tried) + SEEDS_OF_SESSION * seed
    runs = [
        Run(cell, _report(tried.costs(cell, effect), request_of(cell), calls, first + place, gain))
        for place, cell in enumerate(sorted(design.cells(), key=lambda cell: cell.name))
    ]
    return tried.told(tried.study.answer(runs, design))


@lru_cache(maxsize=64)
def _report(costs: CostModel, request: Request, calls: int, seed: int, gain: float) -> Report:
    """Kept, as cells without an effect are the same where another cell has one."""
    return costs.report(request, calls, seed, 20 * NS_PER_MS, gain)


def in_words(told: int, sessions: int) -> str:
    """In how many of the sessions something was told, with Wilson's 95 % interval."""
    share = Score("", told, sessions)
    low, high = (100 * end for end in share.interval_fraction)
    return f"{told} of {sessions}: {100 * share.fraction:.1f} % ({low:.1f} to {high:.1f})"


def run(arguments: Sequence[str] = ()) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks studies", description=__doc__)
    parser.add_argument("--sessions", type=int, default=10)
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--effect", type=float, default=0.05)
    parser.add_argument("--study", default="", choices=("", *dict.fromkeys(tried.study.NAME for tried in TRIED)))
    asked = parser.parse_args(arguments)
    chosen = [tried for tried in TRIED if asked.study in ("", tried.study.NAME)]
    effects = (asked.effect, 0.0)
    all_told = dict.fromkeys(effects, 0)
    rows: list[tuple[str, ...]] = []
    for tried in chosen:
        told = dict.fromkeys(effects, 0)
        for seed in range(1, asked.sessions + 1):
            for effect in effects:
                told[effect] += session(tried, effect, seed, asked.calls)
        for effect in effects:
            all_told[effect] += told[effect]
        rows.append(
            (tried.study.NAME, tried.effect_of, *(in_words(told[effect], asked.sessions) for effect in effects))
        )
    together = asked.sessions * len(chosen)
    rows.append(("all", "", *(in_words(all_told[effect], together) for effect in effects)))
    title = f"{asked.sessions} sessions each, {asked.calls} calls a cell"
    show(title, ("study", "effect of", f"{asked.effect * 100:g} % is told", "none, but told"), rows)
