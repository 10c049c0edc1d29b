"""The lines at the end of a run of pytest: one row a test, and what was not checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wattvlm.comparison import Difference
from wattvlm.energy import format_with_half_width
from wattvlm.regression.bounds import NO_SENSOR, Check
from wattvlm.regression.summary import Summary
from wattvlm.regression.window import Window

HEADINGS = ("test", "J/request", "s/call", "visual", "output", "rounds", "ticks")


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One test of the table; change: against the baseline, in words, or None where there is no baseline."""

    test: str
    window: Window
    summary: Summary
    change: str | None = None


def table(rows: Sequence[Row], baseline: str = "") -> list[str]:
    """A heading, a row a test, and below why the joules of a test are not known."""
    headings = (*HEADINGS, f"J/request against {baseline}") if baseline else HEADINGS
    cells = [headings, *(_cells(row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    lines = ["", "energy: joules a request, ± half of the 95 % interval of the expected call"]
    for each in cells:
        padded = [each[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(each[1:], widths[1:]))]
        lines.append("  ".join(padded).rstrip())
    lines += [f"{row.test}: too short: {row.window.too_short}" for row in rows if row.window.too_short]
    return [*lines, *dict.fromkeys(_source(row.summary) for row in rows)]


def change_words(found: Difference | None) -> str:
    """ "+7.1 % [+5.6, +8.6]", or a dash."""
    if found is None or found.change_fraction is None or found.interval_fraction is None:
        return "-"
    low, high = found.interval_fraction
    return f"{found.change_fraction * 100:+.1f} % [{low * 100:+.1f}, {high * 100:+.1f}]"


def _cells(row: Row) -> tuple[str, ...]:
    window, summary = row.window, row.summary
    ticks = "" if window.ticks is None or not summary.has_sensor else str(window.ticks)
    counts = [_count(summary, name) for name in ("visual_input_tokens", "output_tokens")]
    latency = summary.metrics.get("latency_s")
    seconds = "" if latency is None or latency.expected is None else f"{latency.expected.value / window.iterations:.3g}"
    rounds = str(window.rounds) if window.iterations == 1 else f"{window.rounds} x {window.iterations}"
    change = () if row.change is None else (row.change,)
    return row.test, _joules(summary), seconds, *counts, rounds, ticks, *change


def _joules(summary: Summary) -> str:
    found = summary.metrics.get("joules_per_request")
    if summary.too_short:
        return "too short"
    if found is None or found.expected is None:
        return "-" if summary.identity.provenance == "absent" else "not resolved"
    expected = found.expected
    value, half = format_with_half_width(expected.value, (expected.high - expected.low) / 2)
    return f"{value} ±{half}" if summary.has_sensor else f"~{value}"


def _count(summary: Summary, metric: str) -> str:
    found = summary.metrics.get(metric)
    return "" if found is None or found.expected is None else f"{found.expected.value:g}"


def _source(summary: Summary) -> str:
    identity = summary.identity
    if identity.provenance == "absent":
        return "no sensor and no model gives joules here; `wattvlm doctor` says why and the cure"
    names = f"{' and '.join(identity.sensors)} of {' and '.join(identity.devices)}"
    limits = "/".join(each for each in identity.power_limits if each)
    facts = [f"driver {identity.driver}" if identity.driver else "", f"limit {limits} W" if limits else ""]
    return ", ".join([f"joules {identity.provenance}: {names}", *(fact for fact in facts if fact)])


def closing_line(summaries: Sequence[Summary], checks: Sequence[Check]) -> str:
    """Whether joules were checked: the last line of the table."""
    if not any(summary.has_sensor for summary in summaries):
        return f"joules: not checked ({NO_SENSOR})"
    energies = [check for check in checks if check.kind == "energy"]
    if not energies:
        return "joules: measured, and checked against nothing (give @pytest.mark.energy bounds, or --energy-compare)"
    missed = [check for check in energies if check.state == "not checked"]
    failed = [check for check in energies if check.state == "failed"]
    line = f"joules: {len(energies) - len(missed)} checks, {len(failed)} failed"
    reasons = ", ".join(dict.fromkeys(check.words.partition(":")[0] for check in missed))
    return f"{line}, {len(missed)} not checked ({reasons})" if missed else line
