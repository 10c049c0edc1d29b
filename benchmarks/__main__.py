"""`python -m benchmarks [NAME ...]`: run the named benchmarks, or all of them, one after the other."""

import importlib
import pkgutil
import sys
from pathlib import Path


def main(names: list[str]) -> None:
    """Run benchmarks by module name; each has a `run` that prints its table."""
    known = sorted(
        entry.name for entry in pkgutil.iter_modules([str(Path(__file__).parent)])
        if entry.name not in ("__main__", "tables")
    )  # fmt: skip
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise SystemExit(f"no benchmark {unknown}; there are {known}")
    for name in names or known:
        importlib.import_module(f"benchmarks.{name}").run()


if __name__ == "__main__":
    main(sys.argv[1:])
