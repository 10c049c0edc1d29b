"""What each kind of work costs: joules a unit, and watts of an idle and of a busy device, that explain the readings.

Between two ticks a counter grows by what was done between them: E = sum over kinds of rate x amount. No kind gives
joules back (rates are not negative) and none takes more than all. Ticks are weighted by what is known of them: the
width of their brackets, and a misfit in proportion to their joules, found from the residuals, with tails (Student's t)
for what the kinds cannot explain. How sure the rates are is told by a Bayesian bootstrap over blocks of time, since
what a model lacks comes and goes with the load and is not independent from tick to tick.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattvlm.attribution.boundedfit import minimum_in_box
from wattvlm.attribution.serving.work import BUSY, CONTEXT, DECODED, IDLE, KINDS, Flow
from wattvlm.attribution.ticks import Floats, Ticks
from wattvlm.energy import DRAWS

KIND_MISFITS = 3.0
"""What the rates miss of the joules between ticks, where errors of kinds partly cancel, each kind may be off by this
many times: a prompt hides the weights' time in an iteration that is bound by computing, and no sum of kinds says so."""

FEWEST_INTERVALS = 40
"""Fewer stretches between ticks than this cannot tell seven rates apart."""

BLOCK_S = 2.0
"""Blocks of the bootstrap are at least as long as load usually takes to change: a request's time."""

MOST_BLOCKS = 200

LEFT_OUT: tuple[tuple[int, ...], ...] = ((), (CONTEXT,), (DECODED,))
"""Kinds that the draws leave out by turns: tokens decoded and the context they read grow together, and which of the two
costs the joules, readings of a steady batch hardly tell."""

_ROUNDS = 6
_TAIL_DEGREES = 4.0
_LEAST_MISFIT = 1e-3
_MEDIAN_OF_NORMAL = 0.6745
_RIDGE = 1e-9


@dataclass(frozen=True, slots=True)
class Rates:
    """Draws of the rates, (DRAWS, KINDS), of the ticks' times, (DRAWS, T), and the joules between ticks, (T - 1,).

    misfit_fraction: by how much the joules between two ticks are off from what the rates say, one sigma. misses: by
    what each kind may be off for that, (DRAWS, KINDS); it is in the rates.
    """

    rates: Floats
    time_s: Floats
    joules: Floats
    misfit_fraction: float
    misses: Floats


def rates_of(flow: Flow, ticks: Ticks, resolution_j: float, seed: int) -> Rates | None:
    """Rates from one unbroken stretch of ticks; None where there are too few of them while anything ran."""
    known = np.isfinite(ticks.early_s)
    early_s, late_s, energy_j = ticks.early_s[known], ticks.late_s[known], ticks.energy_j[known]
    if len(early_s) <= FEWEST_INTERVALS:
        return None
    middle_s = (early_s + late_s) / 2
    amounts = np.diff(flow.up_to(middle_s), axis=0)
    joules = np.diff(energy_j)
    if np.count_nonzero(np.any(amounts[:, :-1] > 0, axis=1)) < FEWEST_INTERVALS:
        return None
    power_w = joules / np.diff(middle_s)
    width_s = late_s - early_s
    reading_j2 = (power_w**2 * (width_s[1:] ** 2 + width_s[:-1] ** 2) + 2 * resolution_j**2) / 12
    total = np.sum(amounts, axis=0)
    done = np.array([kind for kind in range(KINDS) if total[kind] > 0 and kind != BUSY], np.int64)
    scale = np.sum(joules) / total[done]
    design = amounts[:, done] * scale
    weight, misfit = _weights(design, joules, reading_j2)
    chance = np.random.default_rng(seed)
    rates = np.zeros((DRAWS, amounts.shape[1]))
    fits = [np.isin(done, left_out, invert=True) for left_out in LEFT_OUT]
    rates[:, done] = _drawn(design, joules, weight, middle_s[1:] - middle_s[0], fits, chance) * scale
    misses = np.maximum(1.0 + KIND_MISFITS * misfit * chance.standard_normal(rates.shape), 0.0)
    rates[:, :IDLE] *= misses[:, :IDLE]
    time_s = early_s + chance.random((DRAWS, len(early_s))) * width_s
    return Rates(rates, time_s, joules, misfit, misses)


def _weights(design: Floats, joules: Floats, reading_j2: Floats) -> tuple[Floats, float]:
    """Weights of the ticks and their misfit, by turns with the fit."""
    misfit, tails = 0.05, np.ones(len(joules))
    for _ in range(_ROUNDS):
        explained = np.maximum(design @ _fitted(design, joules, tails / _variance(joules, reading_j2, misfit)), 0.0)
        left = joules - explained
        excess = np.median(np.abs(left)) / _MEDIAN_OF_NORMAL
        usual = max(float(np.median(joules)), float(np.finfo(float).tiny))
        misfit = max(float(np.sqrt(max(excess**2 - float(np.median(reading_j2)), 0.0))) / usual, _LEAST_MISFIT)
        tails = (_TAIL_DEGREES + 1) / (_TAIL_DEGREES + left**2 / _variance(explained, reading_j2, misfit))
    return np.asarray(tails / _variance(joules, reading_j2, misfit), np.float64), misfit


def _variance(joules: Floats, reading_j2: Floats, misfit: float) -> Floats:
    return np.asarray(reading_j2 + (misfit * np.maximum(joules, np.median(joules) / 10)) ** 2, np.float64)


def _fitted(design: Floats, joules: Floats, weight: Floats) -> Floats:
    weighted = np.transpose(design * weight[:, None])
    return _in_box(np.asarray(weighted @ design, np.float64), np.asarray(weighted @ joules, np.float64))


def _in_box(curvature: Floats, moment: Floats) -> Floats:
    kinds = len(moment)
    curvature = curvature + _RIDGE * np.trace(curvature) * np.eye(kinds)
    low, high = np.zeros(kinds), np.ones(kinds)
    return minimum_in_box(curvature, moment, low, high, np.full(kinds, 1.0 / kinds))


def _drawn(
    design: Floats,
    joules: Floats,
    weight: Floats,
    at_s: Floats,
    fits: Sequence[NDArray[np.bool_]],
    chance: np.random.Generator,
) -> Floats:
    """Draws of the scaled rates, (DRAWS, kinds): blocks of time count more or less, by chance; the fits take turns."""
    length_s = max(BLOCK_S, float(at_s[-1]) / MOST_BLOCKS)
    block = (at_s / length_s).astype(np.int64)
    starts = np.flatnonzero(np.diff(block, prepend=-1))
    curvatures = np.add.reduceat(design[:, :, None] * (weight[:, None] * design)[:, None, :], starts, axis=0)
    moments = np.add.reduceat(design * (weight * joules)[:, None], starts, axis=0)
    counts = chance.exponential(size=(DRAWS, len(starts)))
    found = np.zeros((DRAWS, design.shape[1]))
    for number, count in enumerate(counts):
        used = fits[number % len(fits)]
        curvature, moment = np.tensordot(count, curvatures, 1), np.tensordot(count, moments, 1)
        found[number, used] = _in_box(curvature[np.ix_(used, used)], moment[used])
    return found
