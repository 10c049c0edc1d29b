"""`python -m benchmarks [NAME ...] [OPTIONS]`: run the named benchmarks, or all short ones, one after the other.

Options go to the one benchmark that is named: `python -m benchmarks accuracy --help`.
"""

import importlib
import pkgutil
import sys
from pathlib import Path

PARTS = ("__main__", "tables", "virtual_gpu", "rapl_tree", "fleet_nodes")
"""Modules that benchmarks are made of; packages are such parts too."""


LONG = ("accuracy", "beside_peers", "faults", "fleet", "marginal", "serving", "studies", "verdicts")
"""Minutes to hours, and other meters are installed for two of them: only where they are named."""


def main(arguments: list[str]) -> None:
    """Run benchmarks by module name; each has a `run` that prints its table, and takes options where it has any."""
    first = next((number for number, each in enumerate(arguments) if each.startswith("-")), len(arguments))
    names, options = arguments[:first], arguments[first:]
    known = sorted(
        entry.name for entry in pkgutil.iter_modules([str(Path(__file__).parent)])
        if not entry.ispkg and entry.name not in PARTS
    )  # fmt: skip
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise SystemExit(f"no benchmark {unknown}; there are {known}")
    if options and len(names) != 1:
        raise SystemExit(f"options {options} need one benchmark's name before them; there are {known}")
    for name in names or [each for each in known if each not in LONG]:
        benchmark = importlib.import_module(f"benchmarks.{name}")
        if options:
            benchmark.run(options)
        else:
            benchmark.run()


if __name__ == "__main__":
    main(sys.argv[1:])
