"""The ends of a sum of unknowns among all solutions in a box that fit: against a general solver, where one is there."""

import numpy as np
import pytest

from wattvlm.attribution.boundedfit import bounded_fit


def problem(seed):
    chance = np.random.default_rng(seed)
    design = chance.normal(size=(12, 5))
    values = design @ chance.uniform(0.0, 1.0, 5) + 0.3 * chance.normal(size=12)
    return design, values, chance.normal(size=5)


@pytest.mark.parametrize("seed", range(6))
def test_the_ends_are_those_of_a_general_solver(seed):
    optimize = pytest.importorskip("scipy.optimize", reason="compared with scipy where it is installed")
    design, values, weights = problem(seed)
    fit = bounded_fit(design, values, np.zeros(5), np.ones(5))
    best = optimize.lsq_linear(design, values, (0.0, 1.0)).x
    assert np.allclose(fit.best, best, atol=0.01)
    threshold = fit.misfit + 2.0
    fits = {"type": "ineq", "fun": lambda x: threshold - fit.misfit_of(x)}
    wanted = optimize.minimize(lambda x: -weights @ x, best, bounds=[(0.0, 1.0)] * 5, constraints=[fits], tol=1e-9)
    assert weights @ fit.furthest(weights, threshold) == pytest.approx(-wanted.fun, abs=0.01)


@pytest.mark.parametrize("seed", range(6))
def test_no_random_solution_that_fits_lies_beyond_the_ends(seed):
    design, values, weights = problem(seed)
    fit = bounded_fit(design, values, np.zeros(5), np.ones(5))
    threshold = fit.misfit + 20.0
    most = float(weights @ fit.furthest(weights, threshold))
    others = np.random.default_rng(seed).uniform(0.0, 1.0, (20_000, 5))
    fitting = [x for x in others if fit.misfit_of(x) <= threshold]
    assert fitting
    assert max(float(weights @ x) for x in fitting) <= most + 0.01 * abs(most) + 1e-6
    end = fit.furthest(weights, threshold)
    assert fit.misfit_of(end) <= threshold * (1 + 1e-6)
    assert np.all((end >= -1e-9) & (end <= 1.0 + 1e-9))
    assert most <= fit.beyond(weights, threshold) + 1e-9


def test_what_nothing_was_read_of_may_be_anything_in_its_range():
    design = np.array([[1.0, 0.0], [1.0, 0.0]])
    fit = bounded_fit(design / 0.01, np.array([0.4, 0.4]) / 0.01, np.zeros(2), np.ones(2))
    unread = np.array([0.0, 1.0])
    assert unread @ fit.furthest(unread, fit.misfit + 4.0) == pytest.approx(1.0, abs=1e-3)
    assert unread @ fit.furthest(-unread, fit.misfit + 4.0) == pytest.approx(0.0, abs=1e-3)
