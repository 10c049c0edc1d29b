"""Baselines: the summaries of measured tests by node id, in a JSON file that people commit and read the diff of.

The file holds no date, no host name and no path, six significant digits, and one number a line: saving the same
measurement again gives the same file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path

from wattvlm import filing
from wattvlm.comparison import Expected
from wattvlm.regression.summary import Metric, Summary

KIND = "wattvlm energy baseline"
SCHEMA_VERSION = 1
USUAL_NAME = "baseline"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Baseline:
    """What tests took when the baseline was saved, by their node ids."""

    tests: Mapping[str, Summary] = field(default_factory=dict[str, Summary])


def path_of(name: str, folder: Path) -> Path:
    """Where a baseline of that name is; a name that ends in .json is the path itself. ValueError for no name."""
    if name.endswith(".json"):
        return Path(name)
    if not _NAME.fullmatch(name) or name.endswith(".py") or Path(name).exists():
        raise ValueError(
            f"{name!r} is no name of a baseline (letters, digits, '.', '_' and '-', and no file or folder here). "
            "Cure: write the option with an equals sign, --energy-save=NAME, or put it after the paths"
        )
    return folder / f"{name}.json"


def load(path: Path) -> Baseline:
    """The baseline in a file; ValueError where there is none, ReportFormatError where it is something else."""
    if not path.exists():
        others = sorted(each.stem for each in path.parent.glob("*.json"))
        there = f"there are {', '.join(others)}" if others else "there is none in that folder"
        raise ValueError(f"no baseline {path}; {there}. Cure: save one with --energy-save={path.stem}")
    return filing.load(path, KIND, SCHEMA_VERSION, lambda plain: filing.from_plain(Baseline, plain, "baseline"))


def save(path: Path, tests: Mapping[str, Summary]) -> None:
    """Write the tests into the baseline; others that it holds stay, so that a part of a suite can be renewed."""
    held = dict(load(path).tests) if path.exists() else {}
    held.update({test: kept(summary) for test, summary in tests.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    ordered = Baseline({test: held[test] for test in sorted(held)})
    filing.save(path, KIND, SCHEMA_VERSION, filing.to_plain(ordered), for_reading=True)


def kept(summary: Summary) -> Summary:
    """The metrics that are known, in order of their names, to six digits."""
    known = {
        name: replace(metric, expected=_rounded(metric.expected), why="")
        for name, metric in sorted(summary.metrics.items())
        if metric.expected is not None and _is_worth_keeping(summary, metric, metric.expected)
    }
    return replace(summary, metrics=known, too_short="")


def _is_worth_keeping(summary: Summary, metric: Metric, expected: Expected) -> bool:
    says_nothing = metric.kind == "energy" and summary.too_short
    return not says_nothing and isfinite(expected.low) and isfinite(expected.high)


def _rounded(found: Expected | None) -> Expected | None:
    if found is None:
        return None
    gains = tuple((board, _digits(gain)) for board, gain in found.gain_fractions)
    return Expected(_digits(found.value), _digits(found.low), _digits(found.high), found.is_bounds, gains)


def _digits(value: float) -> float:
    return float(f"{value:.6g}")
