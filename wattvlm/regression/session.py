"""One pytest session: what each test measured, what its checks said, and the lines at the end of the run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from inspect import iscoroutinefunction
from math import isfinite
from pathlib import Path
from typing import Any, Protocol

from wattvlm.regression import baselines
from wattvlm.regression.baselines import Baseline, kept
from wattvlm.regression.bounds import Check, check_bounds, one_name, unknown_metric
from wattvlm.regression.changes import change_of, check_changes, refusal
from wattvlm.regression.summary import Summary, summarise
from wattvlm.regression.table import Row, change_words, closing_line, table
from wattvlm.regression.thresholds import Threshold, thresholds_of
from wattvlm.regression.window import USUAL_ROUNDS, Plan, Window, measure
from wattvlm.report import Report
from wattvlm.sensing import ProbeSource
from wattvlm.units import NS_PER_S

UNDER_XDIST = (
    "energy_benchmark does not run in a worker of pytest-xdist: workers share the sensors of one machine, and each "
    "would count the joules of all. Cure: run these tests on their own, `pytest -n0 -m energy`, and the others with "
    "`-n ... -m 'not energy'`"
)


class Stated(Protocol):
    """What a marker of pytest has."""

    @property
    def args(self) -> tuple[Any, ...]: ...

    @property
    def kwargs(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Wish:
    """What the markers of one test ask for: how long to repeat, and upper bounds by metric."""

    plan: Plan
    bounds: dict[str, float] = field(default_factory=dict[str, float])


def wish_of(markers: Iterable[Stated], limit_ns: int) -> Wish:
    """What markers ask for together, the closest first; ValueError for what no marker may have."""
    stated: dict[str, Any] = {}
    for marker in markers:
        if marker.args:
            raise ValueError(f"@pytest.mark.energy takes names only, such as joules_per_request=520, not {marker.args}")
        stated = {**marker.kwargs, **stated}
    rounds, until = stated.pop("rounds", USUAL_ROUNDS), stated.pop("until", None)
    if type(rounds) is not int or rounds < 1:
        raise ValueError(f"@pytest.mark.energy(rounds={rounds!r}): it must be a whole number from 1 on")
    if until is not None and not (isinstance(until, (int, float)) and 0 < until < 1):
        raise ValueError(f"@pytest.mark.energy(until={until!r}): it must be a fraction, 0.02 for ±2 %")
    for name, bound in stated.items():
        unknown = unknown_metric(one_name(name))
        if unknown:
            raise ValueError(f"@pytest.mark.energy: {unknown}, and rounds, until")
        if not isinstance(bound, (int, float)) or not isfinite(bound):
            raise ValueError(f"@pytest.mark.energy({name}={bound!r}): a bound is a number")
    return Wish(Plan(rounds, until, limit_ns), {one_name(name): float(bound) for name, bound in stated.items()})


class EnergyBenchmark:
    """What the fixture `energy_benchmark` gives: call it once a test with a function and its arguments.

    report: the Report of the window, after the call.
    """

    def __init__(
        self,
        test: str,
        plan: Plan,
        probes: Sequence[ProbeSource] | None,
        extra_info: dict[str, Any] | None = None,
    ) -> None:
        self._test = test
        self._plan = plan
        self._probes = probes
        self._extra_info = extra_info
        self.window: Window | None = None

    def __call__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Repeat function(*args, **kwargs) under a meter, and give the result of its last call."""
        if self.window is not None:
            raise RuntimeError("energy_benchmark measures one function a test. Cure: one test for each function")
        if iscoroutinefunction(function):
            raise TypeError(
                "energy_benchmark cannot await a coroutine function. Cure: give it a function that runs the loop, such "
                "as `lambda: asyncio.run(answer())`"
            )
        self.window = measure(partial(function, *args, **kwargs), self._plan, probes=self._probes, label=self._test)
        if self._extra_info is not None:
            self._extra_info["energy"] = extra_info_of(self.window)
        return self.window.result

    @property
    def report(self) -> Report:
        """The Report of the window; RuntimeError before anything was measured."""
        if self.window is None:
            raise RuntimeError("nothing was measured yet: call energy_benchmark(function, ...) first")
        return self.window.report


def extra_info_of(window: Window) -> dict[str, Any]:
    """What goes into pytest-benchmark's extra_info: each metric with its interval, and what the joules are of."""
    summary = kept(summarise(window.report, window.too_short))
    return {
        "provenance": summary.identity.provenance,
        "devices": list(summary.identity.devices),
        "rounds": window.rounds,
        "iterations": window.iterations,
        "too_short": window.too_short,
        "metrics": {
            name: {"value": each.expected.value, "low": each.expected.low, "high": each.expected.high}
            for name, each in summary.metrics.items()
            if each.expected is not None
        },
    }


@dataclass(frozen=True, slots=True)
class Settings:
    """What the options ask for. save_as: the baseline to write. baseline: the one to compare with, and its name.

    is_required: a test whose joules are not measured, or not checked, fails.
    """

    save_as: Path | None = None
    baseline: Baseline | None = None
    baseline_name: str = ""
    thresholds: tuple[Threshold, ...] = ()
    is_gated: bool = False
    is_required: bool = False


def settings_of(
    folder: Path, save: str | None, compare: str | None, compare_fail: str | None, *, is_required: bool
) -> Settings:
    """The settings of the options as they were given; ValueError or ReportFormatError where they cannot be followed."""
    thresholds = () if compare_fail is None else thresholds_of(compare_fail)
    if compare is None and compare_fail is not None:
        compare = baselines.USUAL_NAME
    path = None if compare is None else baselines.path_of(compare, folder)
    save_as = None if save is None else baselines.path_of(save, folder)
    if save_as is not None and save_as.exists():
        baselines.load(save_as)  # a file that cannot be renewed is told before anything is measured
    return Settings(
        save_as=save_as,
        baseline=None if path is None else baselines.load(path),
        baseline_name="" if path is None else path.stem,
        thresholds=thresholds,
        is_gated=compare_fail is not None,
        is_required=is_required,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One test: its name, its window, what is kept of it, and its checks."""

    test: str
    window: Window
    summary: Summary
    checks: tuple[Check, ...]


class EnergySession:
    """All that was measured in one run of pytest."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._measured: list[Measured] = []
        self._saved = ""

    def check(self, test: str, wish: Wish, benchmark: EnergyBenchmark | None) -> str:
        """The checks of a test that passed; the message it fails with, or ""."""
        if benchmark is None or benchmark.window is None:
            if not wish.bounds:
                return ""
            return (
                f"@pytest.mark.energy bounds {', '.join(wish.bounds)}, and the test measured nothing. Cure: call the "
                "fixture energy_benchmark(function, ...) in it"
            )
        window = benchmark.window
        summary = summarise(window.report, window.too_short)
        checks = [*check_bounds(summary, wish.bounds), *self._changes(test, summary)]
        failures = [each.words for each in checks if each.state == "failed"]
        if self._settings.is_required:
            failures += _missing(summary, checks)
        self._measured.append(Measured(test, window, summary, tuple(checks)))
        return "\n".join(failures)

    def _changes(self, test: str, summary: Summary) -> list[Check]:
        before = self._before(test)
        if before is None or not self._settings.is_gated:
            return []
        return list(check_changes(before, summary, self._settings.thresholds))

    def _before(self, test: str) -> Summary | None:
        return None if self._settings.baseline is None else self._settings.baseline.tests.get(test)

    def save(self) -> bool:
        """Write the baseline of all measured tests, where one was asked for; False where it cannot be written.

        A test that failed only for its joules or counts is saved too: saving is how a change is accepted.
        """
        if self._settings.save_as is None or not self._measured:
            return True
        try:
            baselines.save(self._settings.save_as, {each.test: each.summary for each in self._measured})
        except OSError as error:
            self._saved = f"baseline not saved: {error}. Cure: a folder that can be written, --energy-baselines=FOLDER"
            return False
        self._saved = f"saved {len(self._measured)} tests as {self._settings.save_as}"
        return True

    def lines(self) -> list[str]:
        """The table of all tests, and the last line: whether joules were checked."""
        if not self._measured:
            return []
        comparing = self._settings.baseline is not None
        rows = [
            Row(each.test, each.window, each.summary, self._change(each) if comparing else None)
            for each in self._measured
        ]
        checks = [check for each in self._measured for check in each.checks]
        closing = closing_line([each.summary for each in self._measured], checks)
        return [*table(rows, self._settings.baseline_name), *filter(None, [self._saved]), closing]

    def _change(self, measured: Measured) -> str:
        before = self._before(measured.test)
        if before is None:
            return "new"
        if refusal(before, measured.summary):
            return "refused"
        return change_words(change_of(before, measured.summary, "joules_per_request"))


def _missing(summary: Summary, checks: Sequence[Check]) -> list[str]:
    """Why --energy-require fails a test: joules that were not measured, or not checked."""
    cure = "Cure: run it where `wattvlm doctor` names a sensor, or without --energy-require"
    if not summary.has_sensor:
        return [f"--energy-require: no sensor gives joules here (they are {summary.identity.provenance}). {cure}"]
    if summary.too_short:
        cure = "Cure: a longer --energy-max-time, or more work a call"
        return [f"--energy-require: the window is too short: {summary.too_short}. {cure}"]
    missed = [check for check in checks if check.kind == "energy" and check.state == "not checked"]
    return [f"--energy-require: {check.metric} was not checked: {check.words}" for check in missed]


def limit_ns_of(seconds: float) -> int:
    """The time limit in ns; ValueError where it is not positive."""
    if not (isfinite(seconds) and seconds > 0):
        raise ValueError(f"--energy-max-time={seconds}: it must be a positive number of seconds")
    return round(seconds * NS_PER_S)
