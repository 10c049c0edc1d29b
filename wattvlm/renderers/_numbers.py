"""How numbers are written: value and interval with the same decimals, a column in one scale, ~ before a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

from wattvlm.energy import Energy
from wattvlm.renderers._text import GLUE, Line, Role, Span
from wattvlm.units import NS_PER_MS, NS_PER_S, NS_PER_US, energy_scale, format_significant

_MOST_DECIMALS = 6
_MOST_DIGITS = 9
_LARGEST_PLAIN = 1e7
"""From here on numbers are written with an exponent, so that no number needs more room than a narrow terminal has."""

_SMALLEST = 1e-290
"""Below this a step of the third digit is no longer a normal float."""

_SLACK = 1e-9
"""Floating-point dust: 4.8 is not rounded up to 4.9 because it is stored as 4.8000000000000007."""


@dataclass(frozen=True, slots=True)
class Amount:
    """A number to be written. half_width: None where no interval is claimed (a model, a power, a share)."""

    value: float
    half_width: float | None = None
    modelled: bool = False
    unit: str = ""
    bracket: str = ""


@dataclass(frozen=True, slots=True)
class Parts:
    """A written number, in the parts that a column lines up: the decimal point stands between whole and fraction."""

    whole: str
    fraction: str = ""
    interval: str = ""
    unit: str = ""
    bracket: str = ""
    modelled: bool = False
    role: Role = "plain"
    is_range: bool = False


def amount_of(energy: Energy, factor: float = 1.0, unit: str = "", bracket: str = "") -> Amount:
    """An energy times a unit's factor; a model claims no interval."""
    half_width = None if energy.is_modelled else energy.half_width_j * factor
    return Amount(energy.middle_j * factor, half_width, energy.is_modelled, unit, bracket)


def write_column(amounts: Sequence[Amount | None]) -> list[Parts | None]:
    """Numbers of one unit, written with the decimals that suit most of them."""
    votes: Counter[int] = Counter()
    for amount in amounts:
        if amount is not None:
            votes.update(decimals_that_suit(amount))
    # One decimal before none: 503.5 ±4.8 says more than 504 ±5 and takes two columns.
    favourite = min(votes, key=lambda decimals: (-votes[decimals], decimals == 0, decimals), default=0)
    return [None if amount is None else _written(amount, favourite) for amount in amounts]


def write(amount: Amount) -> Parts:
    """One number on its own."""
    (parts,) = write_column([amount])
    assert parts is not None
    return parts


def spans(parts: Parts, strong: bool = False) -> Line:
    """A written number as one unbreakable word: '503.5 ±4.8 J', '~0.7 J'."""
    value: Role = "strong" if strong else parts.role
    written = [Span("~", "model")] if parts.modelled else []
    written.append(Span(parts.whole + parts.fraction, value))
    if parts.interval:
        written.append(Span(GLUE + parts.interval, "dim"))
    if parts.unit:
        written.append(Span(GLUE + parts.unit, value))
    return tuple(written)


def write_range(low: float, high: float, modelled: bool = False) -> str:
    """A range that holds all of [low, high] at the printed rounding: '1.2 to 38.4', '~1.2 to ~38.4'."""
    mark = "~" if modelled else ""
    if not (abs(low) < _LARGEST_PLAIN and abs(high) < _LARGEST_PLAIN):
        return f"{mark}{-_rounded_up(-low):.3g}{GLUE}to{GLUE}{mark}{_rounded_up(high):.3g}"
    decimals = min(decimals_that_suit(Amount(high, (high - low) / 2)))
    step = 10.0**-decimals
    outward = floor(low / step + _SLACK) * step + 0.0, ceil(high / step - _SLACK) * step + 0.0
    return f"{mark}{outward[0]:.{decimals}f}{GLUE}to{GLUE}{mark}{outward[1]:.{decimals}f}"


def write_middle(energy: Energy, strong: bool = False) -> Line:
    """The middle alone, in the unit that suits it, to four digits or what its interval allows: '503.5 J', '~0.7 J'."""
    factor, unit = energy_scale(energy.middle_j)
    amount = amount_of(energy, factor, unit)
    parts = write(amount)
    if len(parts.fraction) > 1 and not energy.is_modelled and "e" not in parts.fraction:
        four_digits = format_significant(amount.value)
        whole, point, fraction = min((f"{parts.whole}{parts.fraction}", four_digits), key=len).partition(".")
        parts = Parts(whole, point + fraction)
    return spans(Parts(parts.whole, parts.fraction, unit=unit, modelled=energy.is_modelled), strong)


def write_count(count: float) -> Parts:
    """A count with thousands separated; a mean count with one decimal."""
    if not isfinite(count) or abs(count) >= _LARGEST_PLAIN:
        return Parts(f"{count:.3g}")
    if abs(count - round(count)) < 0.05:
        return Parts(f"{round(count):,}")
    whole, fraction = f"{count:,.1f}".split(".")
    return Parts(whole, f".{fraction}")


def write_duration(duration_ns: float, coarse: bool = False) -> str:
    """A time as one unbreakable word with three significant digits, at most one decimal below a second: '25.4 ms'.

    coarse: without the decimal from 10 ms on, for a table whose whole is much longer.
    """
    if duration_ns >= _LARGEST_PLAIN * NS_PER_S:
        return f"{duration_ns / NS_PER_S:.3g}{GLUE}s"
    if duration_ns >= NS_PER_S * 0.9995:
        return f"{format_significant(max(1.0, duration_ns / NS_PER_S), 3)}{GLUE}s"
    scale, unit = (NS_PER_MS, "ms") if duration_ns >= NS_PER_MS * 0.9995 else (NS_PER_US, "µs")
    scaled = duration_ns / scale
    decimals = 0 if scaled >= (9.95 if coarse else 99.95) else 1
    return f"{scaled:.{decimals}f}{GLUE}{unit}"


def write_period(duration_ns: float) -> str:
    """A period to three significant digits without zeros at the end: '100 ms', '1 ms', '16.7 ms'."""
    number, unit = write_duration(duration_ns).split(GLUE)
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number}{GLUE}{unit}"


def decimals_that_suit(amount: Amount) -> dict[int, int]:
    """The numbers of decimals with which an amount reads well, each with how well.

    With an interval: one or two significant digits of it, but never one digit below 2, which rounding up could
    nearly double. Without an interval: two significant digits of the value, or one or three where a column needs it.
    """
    size = amount.half_width or abs(amount.value)
    if size == 0.0 or not isfinite(size):
        return {0: 1, 1: 1}
    least, most = (1.95, 95.0) if amount.half_width else (0.95, 999.5)
    suited: dict[int, int] = {}
    most_decimals = min(_MOST_DECIMALS, _MOST_DIGITS - len(f"{abs(amount.value):.0f}"))
    for decimals in range(most_decimals + 1):
        digits = size * 10.0**decimals
        if least <= digits < most:
            suited[decimals] = 3 if amount.half_width or 9.5 <= digits < 99.5 else 2
    return suited or {0 if size >= 1.0 else max(0, most_decimals): 1}


def _rounded_up(value: float) -> float:
    """The next number with three significant digits, for numbers that are written with an exponent."""
    if abs(value) < _SMALLEST or not isfinite(value):
        return value
    step = 10.0 ** (floor(log10(abs(value))) - 2)
    return ceil(value / step - _SLACK) * step


def _written(amount: Amount, favourite: int) -> Parts:
    suited = decimals_that_suit(amount)
    decimals = min(suited, key=lambda each: abs(each - favourite))
    if not amount.half_width:  # a model's dust beside joules reads 0.00; an interval keeps its own decimals
        decimals = min(decimals, favourite + 2)
    value, interval = amount.value, ""
    if not abs(value) < _LARGEST_PLAIN or (amount.half_width or 0.0) >= _LARGEST_PLAIN:
        text = f"{value:.3g}"
        interval = "" if amount.half_width is None else f"±{_rounded_up(amount.half_width):.3g}"
    else:
        text = f"{round(value, decimals) + 0.0:.{decimals}f}"  # no minus sign is left before a zero
        if amount.half_width is not None:
            interval = f"±{ceil(amount.half_width * 10**decimals - _SLACK) / 10**decimals:.{decimals}f}"
    whole, point, fraction = text.partition(".")
    return Parts(whole, point + fraction, interval, amount.unit, amount.bracket, amount.modelled)
