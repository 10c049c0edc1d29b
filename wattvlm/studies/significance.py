"""Exact tests of paired answers, and several tests at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb

SIGNIFICANT = 0.05


def mcnemar(before: Mapping[str, float], after: Mapping[str, float]) -> float:
    """Exact two-sided p of as many or more of the differing questions on one side (McNemar 1947, binomial form).

    For soft scores the sign of each difference counts.
    """
    gained = sum(after[question] > before[question] for question in before)
    lost = sum(after[question] < before[question] for question in before)
    n, fewer = gained + lost, min(gained, lost)
    return min(1.0, 2.0 * sum(comb(n, k) for k in range(fewer + 1)) / 2.0**n)


def holm(values: Sequence[float]) -> list[float]:
    """p values made larger so that all of them together are wrong in one of 20 studies (Holm 1979)."""
    order = sorted(range(len(values)), key=lambda place: values[place])
    found, largest = [1.0] * len(values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * values[place]))
        found[place] = largest
    return found


def least_differing() -> int:
    """On how many questions two models must differ, all to one side, for McNemar's exact test to tell them apart."""
    return next(n for n in range(1, 20) if 2.0 / 2**n < SIGNIFICANT)
