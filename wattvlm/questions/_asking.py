"""Which questions of a benchmark a study asks, and how its answers are marked over all passes of a question."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from wattvlm.bench.subjects import SHIPPED
from wattvlm.benchmark_files import Benchmark, Question, read
from wattvlm.benchmark_files.marking import over_passes, whole_groups
from wattvlm.benchmark_files.mmbench import circular, one_pass
from wattvlm.demo.benchmarks import digits_path
from wattvlm.questions.asked import Asked, Run


def marks_of(run: Run) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """(marks over all passes, chance of that, marks of the first pass) by question, of those wholly marked."""
    groups = {each.question: each.group for each in run.answers}
    unmarked = {each.group for each in run.answers if each.score is None}
    whole = [each for each in run.answers if each.group not in unmarked]
    right = over_passes({each.question: each.score or 0.0 for each in whole}, groups)
    chance = over_passes({each.question: each.chance for each in whole if each.chance is not None}, groups)
    first: dict[str, float] = {}
    for each in whole:
        first.setdefault(each.group, each.score or 0.0)
    return right, chance, first


def benchmark_of(asked: Asked) -> Benchmark:
    """The file's questions, one pass or all; those that ship with wattvlm where none is given."""
    if asked.benchmark in ("", SHIPPED):
        found = _read(str(digits_path()), "", 0)
    else:
        stamp = Path(asked.benchmark).stat().st_mtime_ns if Path(asked.benchmark).exists() else 0
        found = _read(asked.benchmark, asked.pictures, stamp)
    if asked.is_circular and found.marking != "option":
        raise ValueError(f"--circular turns options, and {found.name} has none")
    return circular(found) if asked.is_circular else one_pass(found)


@lru_cache(maxsize=1)
def _read(path: str, pictures: str, stamp: int) -> Benchmark:
    return read(path, pictures or None)


def questions_of(asked: Asked, benchmark: Benchmark) -> list[Question]:
    """As many as calls are allowed, drawn once and for all; a question goes with all its passes."""
    by_group: dict[str, list[Question]] = {}
    for each in benchmark.questions:
        by_group.setdefault(each.group or each.id, []).append(each)
    groups = list(by_group.values())
    random.Random(0).shuffle(groups)
    found = whole_groups((each for group in groups for each in group), asked.most_calls)
    if not found:
        raise ValueError(f"{asked.most_calls} calls are fewer than one question of {benchmark.name} has passes")
    return found


def digest(questions: Sequence[Question]) -> str:
    """Tells whether another run asked the same questions."""
    return hashlib.sha256("\n".join(sorted(each.id for each in questions)).encode()).hexdigest()[:12]
