"""How many right answers a changed model has left: Wilson's interval, and a paired test against the whole one."""

from __future__ import annotations

from collections.abc import Mapping

from wattvlm.answers import Claim, Finding
from wattvlm.comparison import Expected, Score
from wattvlm.questions._asking import marks_of
from wattvlm.questions.asked import Run
from wattvlm.studies.significance import SIGNIFICANT, holm, mcnemar


def score_of(run: Run) -> Expected | None:
    """Right answers of those that were asked, with Wilson's interval; None where nothing is marked."""
    right = marks_of(run)[0]
    if not right:
        return None
    score = Score("", sum(right.values()), len(right))
    return Expected(score.fraction, *score.interval_fraction)


def right_answers(label: str, whole: Run, changed: Mapping[str, Run]) -> list[Finding]:
    """What is left with each way, and whether the whole model answers otherwise; nothing where nothing is marked.

    McNemar's exact test on the same questions, all p values of the model by Holm together.
    """
    before = marks_of(whole)[0]
    marked = {way: right for way, run in changed.items() if (right := marks_of(run)[0])}
    if not before or not marked:
        return []
    pairs = {way: _common(before, right) for way, right in marked.items()}
    corrected = holm([mcnemar(*pair) for pair in pairs.values()])
    found = [_finding(f"{label}: right answers, whole", whole, "", "")]
    for (way, (kept, right)), p in zip(pairs.items(), corrected):
        had, has = sum(kept.values()), sum(right.values())
        part = f"{has / had * 100:.3g} % of the whole model's" if had else "the whole model has none"
        words = f"; {part}; McNemar's exact test, p = {p:.2g} (by Holm over all ways)"
        claim: Claim = "does not hold" if p < SIGNIFICANT else "cannot tell"
        found.append(_finding(f"{label}: right answers with {way}", changed[way], words, claim))
    return found


def _common(before: Mapping[str, float], after: Mapping[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    names = [name for name in before if name in after]
    return {name: before[name] for name in names}, {name: after[name] for name in names}


def _finding(what: str, run: Run, words: str, claim: Claim) -> Finding:
    score, asked = score_of(run), len(marks_of(run)[0])
    ends = "" if score is None else f" (95 %: {score.low * 100:.1f} to {score.high * 100:.1f} %)"
    return Finding(what, f"of {asked} questions{ends}{words}", score, "%",
                   "as many as the whole model" if claim else "", claim)  # fmt: skip
