"""The numbers of an installed codecarbon, read from its files: importing it would set up logging and load pandas."""

from __future__ import annotations

import ast
import csv
import re
from importlib import util
from pathlib import Path

_NOT_THE_MODEL = re.compile(
    r"\((r|tm)\)|@.*|\bw(ith|/).*|\b(cpu|processor|apu|amd|intel|\d+(st|nd|rd|th) gen|\w+-core)\b"
)
"""What Linux' model name has around the model: "11th Gen Intel(R) Core(TM) i7-1165G7 @ 2.80GHz"."""


def folder() -> Path | None:
    """Where codecarbon is installed, or None; it is not imported."""
    try:
        found = util.find_spec("codecarbon")
    except (ImportError, ValueError):
        return None
    return Path(found.origin).parent if found is not None and found.origin else None


def version() -> str:
    """The installed codecarbon in words: "codecarbon 3.3.2"."""
    installed = folder()
    try:  # not importlib.metadata: importing it takes 30 ms
        text = (installed / "_version.py").read_text(encoding="utf-8") if installed is not None else ""
    except (OSError, UnicodeDecodeError):
        text = ""
    found = re.search(r"__version__\s*=\s*[\"']([^\"']+)", text)
    return f"codecarbon {found[1]}" if found is not None else "codecarbon"


def cpu_table(installed: Path) -> dict[str, float]:
    """CPU name -> thermal design power in watts; empty where this codecarbon has no such table."""
    table: dict[str, float] = {}
    try:
        with (installed / "data/hardware/cpu_power.csv").open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                try:
                    table[row["Name"]] = float(row["TDP"])
                except (KeyError, TypeError, ValueError):  # 3.3.2 has four rows such as "27.29.5"
                    continue
    except (OSError, UnicodeDecodeError, csv.Error):
        return {}
    return table


def dimm_power_w(installed: Path) -> float | None:
    """Watts a DIMM of an x86 machine: the constant RAM_SLOT_POWER_X86, or None where this codecarbon has none."""
    try:
        module = ast.parse((installed / "external/ram.py").read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return None
    for statement in module.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant):
            names = [target.id for target in statement.targets if isinstance(target, ast.Name)]
            if "RAM_SLOT_POWER_X86" in names and isinstance(statement.value.value, (int, float)):
                return float(statement.value.value)
    return None


def model_key(name: str) -> str:
    """What is left of a CPU's name when vendor, clock and core count are taken off: "core i7-1165g7"."""
    return " ".join(_NOT_THE_MODEL.sub(" ", name.lower()).split())
