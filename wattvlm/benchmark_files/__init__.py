"""Files of benchmarks, as their authors publish them: questions, pictures and what is right. One module, one format.

    from wattvlm import benchmark_files

    benchmark = benchmark_files.read("MMBench_DEV_EN.tsv")
    benchmark = benchmark_files.read("v2_OpenEnded_mscoco_val2014_questions.json", pictures="val2014")

A format's module has NAME, TELLS (what it needs, in words), knows(path, head) and read(path, pictures) -> Benchmark;
they are found by themselves. head: the first characters of the file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol, cast

from wattvlm.benchmark_files.question import Benchmark as Benchmark
from wattvlm.benchmark_files.question import BenchmarkFileError as BenchmarkFileError
from wattvlm.benchmark_files.question import Picture as Picture
from wattvlm.benchmark_files.question import Question as Question
from wattvlm.plugins import own_modules

_HEAD_CHARS = 4096


class Format(Protocol):
    """What a format's module looks like from outside."""

    @property
    def NAME(self) -> str: ...
    @property
    def TELLS(self) -> str: ...
    def knows(self, path: Path, head: str) -> bool:
        """True for a file of this format, by its name and its first characters."""
        ...

    def read(self, path: Path, pictures: Path) -> Benchmark:
        """Its questions. pictures: the folder where they lie, which formats with pictures inside do not need."""
        ...


def formats() -> dict[str, Format]:
    """Every format by its name."""
    modules = (module for module in own_modules(__name__) if hasattr(module, "TELLS"))
    return {each.NAME: each for each in (cast(Format, module) for module in modules)}


def read(path: str | os.PathLike[str], pictures: str | os.PathLike[str] | None = None) -> Benchmark:
    """The benchmark in a file, of the one format that knows it.

    pictures: their folder (default: the file's own). BenchmarkFileError where no format knows the file, where it holds
    no question, or where none of its pictures is there.
    """
    target = Path(path)
    if not target.is_file():
        raise BenchmarkFileError(f"there is no file {target}")
    with target.open(encoding="utf-8", errors="replace") as file:
        head = file.read(_HEAD_CHARS)
    for each in formats().values():
        if each.knows(target, head):
            found = each.read(target, target.parent if pictures is None else Path(pictures))
            if not found.questions:
                why = f"none of its {len(found.missing)} questions has its pictures" if found.missing else "it is empty"
                raise BenchmarkFileError(
                    f"{target} ({each.NAME}) gives no question: {why}. Cure: {each.TELLS} (--pictures FOLDER)"
                )
            return found
    known = "; ".join(f"{name}: {each.TELLS}" for name, each in formats().items())
    raise BenchmarkFileError(f"{target} is of no known format. Known are {known}")
