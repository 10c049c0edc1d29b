"""How options of the command line are read: lists with commas, sizes in pixels, percentages, times, what is usual."""

from __future__ import annotations

import os
import re
from importlib import import_module

from wattvlm.units import HZ_PER_MHZ, NS_PER_MS, NS_PER_S

_UNITS_S = {"ms": NS_PER_MS / NS_PER_S, "s": 1, "m": 60, "h": 3600}


def words(text: object) -> tuple[str, ...]:
    """Words with commas between them."""
    return tuple(word.strip() for word in str(text).split(",") if word.strip())


def numbers(option: str, text: object) -> tuple[int, ...]:
    """Whole numbers with commas between them; ValueError names the option."""
    try:
        return tuple(int(word) for word in words(text))
    except ValueError:
        raise ValueError(f"{option} {text}: whole numbers with commas between them, such as 1,4") from None


def sizes(text: object) -> tuple[tuple[int, int], ...]:
    """Widths and heights in pixels: "336" for a square, or "640x480"."""
    found: list[tuple[int, int]] = []
    for word in words(text):
        parsed = re.fullmatch(r"(\d+)(?:x(\d+))?", word)
        if parsed is None:
            raise ValueError(f"--resolution {word}: pixels, 336 for a square or 640x480")
        found.append((int(parsed[1]), int(parsed[2] or parsed[1])))
    return tuple(found)


def watts(text: object) -> tuple[float, ...]:
    """Power limits in watts with commas between them: "200,250W"."""
    return _amounts("--power-limits", text, "W", "watts, such as 200,250,300")


def hertz(text: object) -> tuple[float, ...]:
    """Clocks, given in MHz, in Hz: "1200,1500MHz"."""
    return tuple(HZ_PER_MHZ * each for each in _amounts("--clocks", text, "MHz", "MHz, such as 1200,1500"))


def _amounts(option: str, text: object, unit: str, example: str) -> tuple[float, ...]:
    try:
        return tuple(float(word.removesuffix(unit)) for word in words(text))
    except ValueError:
        raise ValueError(f"{option} {text}: {example}") from None


def seconds_under(option: str, text: object) -> float | None:
    """A bound on a time in seconds; None where none is given."""
    return None if text is None else seconds(option, str(text))


def percent(text: str) -> float:
    """A percentage as a fraction: "2%" is 0.02."""
    try:
        return float(text.removesuffix("%")) / 100.0
    except ValueError:
        raise ValueError(f"--until {text}: a percentage, such as 2%") from None


def seconds(option: str, text: str) -> float:
    """A time in seconds: "200ms", "90s", "10m" or "1h"; ValueError names the option."""
    parsed = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|[smh]?)", text.strip())
    if parsed is None:
        raise ValueError(f"{option} {text}: a time, such as 90s, 10m or 1h")
    return float(parsed[1]) * _UNITS_S[parsed[2] or "s"]


def usual_device() -> str:
    """Where models run unless asked otherwise: "cuda" where torch has it, else "cpu"."""
    return "cuda" if import_module("torch").cuda.is_available() else "cpu"


def installed_versions() -> dict[str, str]:
    """The versions of what a bench runs on, by package."""
    return {name: found for name in ("wattvlm", "torch", "transformers") if (found := _version(name))}


def _version(name: str) -> str:
    from importlib.metadata import PackageNotFoundError, version  # 15 ms, which --help need not wait for

    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def new_seed() -> int:
    """A seed that nobody chose."""
    return int.from_bytes(os.urandom(4), "little") >> 1
