"""How benchmark results are printed: a title, the machine, and a Markdown table that docs can take as it is."""

from __future__ import annotations

import platform
import resource
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from statistics import median, quantiles


def show(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> None:
    """Print one table."""
    print(f"\n## {title}\n\n{_machine()}{' ' + note if note else ''}\n")
    print(f"| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def _machine() -> str:
    names = ("torch", "transformers", "numpy")
    found = [f"{name} {package}" for name in names if (package := package_version(name))]
    return f"Python {platform.python_version()}, {', '.join(found)}."


def package_version(name: str) -> str:
    """The installed version of a package, or '' where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def spread(values: Sequence[float], unit: str, digits: int = 2) -> str:
    """Median and quartiles of repeated measurements."""
    if len(values) < 2:
        return f"{values[0]:.{digits}f} {unit}"
    low, _, high = quantiles(values, n=4)
    return f"{median(values):.{digits}f} {unit} [{low:.{digits}f}, {high:.{digits}f}]"


def children_cpu_s() -> float:
    """CPU seconds of all programs that this process started and that have ended: other load hardly changes them."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def standard_error_of_median(values: Sequence[float], draws: int = 500) -> float:
    """Standard error of the median by the bootstrap (fixed seed)."""
    import numpy as np

    array = np.asarray(values)
    picks = np.random.default_rng(0).integers(0, len(array), size=(draws, len(array)))
    return float(np.std(np.median(array[picks], axis=1)))
