"""The lines at the end of a run of pytest: one row a test, and what was not checked."""

from __future__ import annotations

from collections.abc import Sequence

from wattvlm.energy import format_with_half_width
from wattvlm.regression.bounds import NO_SENSOR, Check
from wattvlm.regression.summary import Summary
from wattvlm.regression.window import Window

HEADINGS = ("test", "J/request", "s/call", "visual", "output", "rounds", "ticks")
Row = tuple[str, Window, Summary]


def table(rows: Sequence[Row]) -> list[str]:
    """A heading, a row a test, and below why the joules of a test are not known."""
    cells = [HEADINGS, *(_cells(*row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEADINGS))]
    lines = ["", "energy: joules a request, ± half of the 95 % interval of the expected call"]
    for row in cells:
        padded = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]
        lines.append("  ".join(padded).rstrip())
    lines += [f"{test}: too short: {window.too_short}" for test, window, _ in rows if window.too_short]
    return [*lines, *dict.fromkeys(_source(summary) for _, _, summary in rows)]


def _cells(test: str, window: Window, summary: Summary) -> tuple[str, ...]:
    ticks = "" if window.ticks is None or not summary.has_sensor else str(window.ticks)
    counts = [_count(summary, name) for name in ("visual_input_tokens", "output_tokens")]
    latency = summary.metrics.get("latency_s")
    seconds = "" if latency is None or latency.expected is None else f"{latency.expected.value / window.iterations:.3g}"
    rounds = str(window.rounds) if window.iterations == 1 else f"{window.rounds} x {window.iterations}"
    return test, _joules(summary), seconds, *counts, rounds, ticks


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
