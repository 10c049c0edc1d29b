"""At each width from 60 to 200: every line fits, no number is shortened, every number is a number of the report."""

import re
from bisect import bisect_left
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from tests.renderers.random_reports import reports
from tests.renderers.sample_reports import SAMPLES, twenty_calls
from wattvlm.energy import Energy
from wattvlm.errors import NotResolved
from wattvlm.renderers import render
from wattvlm.report import Part, PartEnergy, Report

WIDTHS = st.integers(60, 200)
NUMBER = re.compile(r"(?:(?<!\+)-)?\d[\d,]*(?:\.\d+)?(?:e[+-]\d+)?")


def assert_nothing_is_cut(text: str, width: int) -> None:
    assert max(map(cell_len, text.splitlines())) <= width
    assert not re.search(r"\d ?\.{2,}|…", text)


@pytest.mark.parametrize("unicode", [True, False])
@pytest.mark.parametrize("sample", SAMPLES)
def test_every_line_of_every_sample_fits_narrow_and_wide(sample: str, unicode: bool):
    report = SAMPLES[sample]()
    for width in (*range(60, 81, 4), 99, 100, 120, 200):
        assert_nothing_is_cut(str(render(report, "console", width=width, colour=False, unicode=unicode)), width)


def test_every_number_of_the_accelerator_is_whole_at_every_width():
    for width in range(60, 201):
        text = str(render(twenty_calls(), "console", width=width, colour=False, unicode=True))
        assert_nothing_is_cut(text, width)
        for cell in ("3.9 ±0.4", "16.8 ±0.5", "23.4 ±0.4", "458.0 ±4.6", "503.5 ±4.8", "329.6 ±5.0", "5.24 ±0.05 J"):
            assert re.search(rf"(?<![\d.]){re.escape(cell)}(?![\d.])", text), f"{cell} at {width} columns"


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(reports(), WIDTHS)
def test_every_line_fits_and_every_number_is_a_number_of_the_report(report: Report, width: int):
    assert_nothing_is_cut(str(render(report, "console", width=width, colour=False, unicode=False)), width)
    text = str(render(report, "console", width=width, colour=False, unicode=True))
    assert_nothing_is_cut(text, width)
    known = sorted(numbers_of(report))
    for written in NUMBER.findall(text):
        assert is_known(written, known), f"{written} is no number of the report"


def is_known(written: str, known: list[float]) -> bool:
    """True where a number of the report reads so at that rounding (half-widths are rounded up: one step)."""
    value = float(written.replace(",", ""))
    mantissa, _, exponent = written.replace(",", "").partition("e")
    step = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    slack = step * 1.01 + 1e-9 * abs(value)
    index = bisect_left(known, value - slack)
    return index < len(known) and known[index] <= value + slack


def numbers_of(report: Report) -> Iterator[float]:
    """Every number that a summary may show, in every unit that it may choose."""
    yield from (95.0, 1000.0, 350.0)
    for energy in energies_of(report):
        for joules in (energy.middle_j, energy.half_width_j, *energy.interval_j):
            yield from (joules * factor for factor in (1.0, 1e-3, 1e3, 1e-6, 1e6, 1000.0 / 3600.0))
        if energy.middle_j:
            yield 100.0 * energy.half_width_j / energy.middle_j
    yield from counts_of(report)
    for time_ns in times_of(report):
        yield from (time_ns / 1e9, time_ns / 1e6, time_ns / 1e3)
    for use in report.channels:
        yield from (1.0, 2.0, use.channel.gain_std_fraction * 196.0)
    for idle in report.idle.values():
        yield from (idle.power_w, idle.interval_w[1] - idle.power_w, idle.power_w - idle.interval_w[0])
    yield from powers_and_shares_of(report)
    if report.overhead.sampler_core_fraction is not None:
        yield 100.0 * report.overhead.sampler_core_fraction


def parts_of(report: Report) -> list[Part]:
    wholes = [part for part in (report.between, report.total, report.block) if part is not None]
    return [*report.phases, *report.own_phases, *wholes]


def found_in(part: Part) -> list[PartEnergy]:
    return list(part.energies.values())


def energies_of(report: Report) -> Iterator[Energy]:
    for part in parts_of(report):
        for found in found_in(part):
            yield found.energy
            yield Energy(None, found.bounds_j, "measured")
    for ratio in (*report.ratios(), *together(report)):
        if ratio is not None and ratio.energy is not None:
            yield ratio.energy
    for domain in report.domains:
        try:
            yield report.joules("call" if report.calls else "block", [domain], above_idle=True)
        except NotResolved:
            continue


def together(report: Report):
    names = ("request", "image", "visual_token", "prompt_token", "output_token", "decode_token", "total_token")
    return [report.ratio(name, ("gpu", "cpu")) for name in names] if {"gpu", "cpu"} <= set(report.domains) else []


def counts_of(report: Report) -> Iterator[float]:
    calls = len(report.calls)
    tokens = report.tokens
    yield from (float(calls), 8.1, 39.4)
    sums = (tokens.text_input, tokens.visual_encoded, tokens.visual_input, tokens.visual_kept, tokens.cached_input)
    for count in (*sums, tokens.output, tokens.prompt):
        if count is not None:
            yield count / (calls or 1)
    for call in report.calls:
        yield from (float(call.batch_size), float(call.images or 0), call.output_tokens_per_s or 0.0)
        parameters = float(call.model.parameters or 0)
        yield from (parameters / 1e6, parameters / 1e9)
    for ratio in report.ratios():
        if ratio.count is not None:
            yield ratio.count
    for part in parts_of(report):
        yield float(part.calls)
        yield from (float(found.ticks) for found in found_in(part) if found.ticks is not None)
    for some in (report.channels, *([use] for use in report.channels)):
        yield from (float(sum(use.gaps for use in some)), float(sum(use.ticks or 0 for use in some)))
    yield from (float(a.ticks or 0) + float(b.ticks or 0) for a in report.channels for b in report.channels)
    yield from (float(a.gaps + b.gaps) for a in report.channels for b in report.channels)


def times_of(report: Report) -> Iterator[float]:
    yield from (part.duration_ns for part in parts_of(report) if part.duration_ns is not None)
    yield from (25.4e6, 138e6)
    for use in report.channels:
        periods = (use.observed_period_ns, use.channel.update_period_ns, use.channel.window_ns)
        yield from (period for period in periods if period is not None)


def powers_and_shares_of(report: Report) -> Iterator[float]:
    """Watts of each row, and its share of the call's joules or time."""
    domain = report.accelerator
    whole = report.total or report.block
    above = whole.energies.get(domain) if domain else None
    for part in parts_of(report):
        found = part.energies.get(domain) if domain else None
        if found is not None and part.duration_ns:
            yield found.energy.middle_j / part.duration_ns * 1e9
            if above is not None and above.energy.middle_j:
                yield 100.0 * found.energy.middle_j / above.energy.middle_j
        if part.duration_ns and whole.duration_ns:
            yield 100.0 * part.duration_ns / whole.duration_ns
    if domain is not None and whole.duration_ns:
        try:
            name = "call" if report.calls else "block"
            yield report.joules(name, [domain], above_idle=True).middle_j / whole.duration_ns * 1e9
        except NotResolved:
            return
