"""Hypothesis strategies for reports: any domains, provenance, sizes of numbers, sums, refusals and names.

Names hold no digit, so that each number in a rendered text is a number of the report.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import strategies as st

from tests.renderers.sample_reports import HOST, MS, NVML, call, report_of
from wattvlm.energy import Energy
from wattvlm.report import ChannelUse, Idle, Overhead, Part, PartEnergy, Report
from wattvlm.sensing import DOMAINS, Absence, Channel, Domain
from wattvlm.trace import DECODE, PREFILL, PREPROCESS, VISION_ENCODE, ModelFacts, TokenCounts

LETTERS = string.ascii_letters + "  []/<>&{}%\\'\"äß模型‮\x1b\n"
names = st.text(LETTERS, max_size=60)
texts = st.text(LETTERS, max_size=200)
counts = st.none() | st.integers(0, 10**6)
durations_ns = st.floats(10.0, 1e13)
joules = st.floats(1e-7, 1e8)


@st.composite
def energies(draw: st.DrawFn, modelled: bool) -> Energy:
    """An energy with or without a middle; 95 % intervals are drawn as bounds, which are written in the same way."""
    middle_j = draw(joules)
    below_j, above_j = draw(st.floats(0.0, 2.0)) * middle_j, draw(st.floats(0.0, 2.0)) * middle_j
    mean_j = draw(st.sampled_from([middle_j, None]))
    return Energy(mean_j, (middle_j - below_j, middle_j + above_j), "modelled" if modelled else "measured", {"a": 1e-3})


@st.composite
def rows(draw: st.DrawFn, names: Sequence[str], domains: dict[Domain, bool], calls: int) -> tuple[Part, ...]:
    """Rows of one table: in each domain a number, a sum with the row before, a refusal, or nothing."""
    made: list[Part] = []
    for name in names:
        if draw(st.integers(0, 9)) == 0:
            made.append(Part(name, 0, None, unseen=draw(texts) or "before the block"))
            continue
        found: dict[Domain, PartEnergy] = {}
        for domain, modelled in domains.items():
            energy = draw(energies(modelled))
            resolved = draw(st.integers(0, 3)) > 0
            found[domain] = PartEnergy(energy, (name,), resolved, energy.interval_j, draw(counts))
            before = made[-1].energies.get(domain) if made else None
            if before is not None and len(before.covers) == 1 and draw(st.integers(0, 3)) == 0:
                both = replace(found[domain], covers=(made[-1].name, name))
                found[domain] = both
                made[-1] = replace(made[-1], energies={**made[-1].energies, domain: both})
        made.append(Part(name, draw(st.integers(1, calls)), draw(durations_ns), found))
    return tuple(made)


@st.composite
def whole(draw: st.DrawFn, name: str, domains: dict[Domain, bool], calls: int) -> Part:
    """A row that is seen and has joules in every domain."""
    found: dict[Domain, PartEnergy] = {}
    for domain, modelled in domains.items():
        energy = draw(energies(modelled))
        found[domain] = PartEnergy(energy, (name,), draw(st.booleans()), energy.interval_j, draw(counts))
    return Part(name, calls, draw(durations_ns), found)


@st.composite
def channel_uses(draw: st.DrawFn, domains: dict[Domain, bool]) -> tuple[ChannelUse, ...]:
    """A sensor or two of each domain."""
    made: list[ChannelUse] = []
    for domain, modelled in domains.items():
        for _ in range(draw(st.integers(1, 2))):
            channel = Channel(
                draw(names) + "/board", draw(names), draw(names), domain,
                "model" if modelled else draw(st.sampled_from(["counter", "power"])),
                draw(st.none() | st.integers(1000, 10**10)), draw(st.none() | st.just(1000 * MS)),
                gain_std_fraction=draw(st.sampled_from([0.0, 0.0255])),
            )  # fmt: skip
            made.append(
                ChannelUse(channel, 5, draw(counts), draw(st.none() | durations_ns), gaps=draw(st.integers(0, 3)),
                           in_totals=draw(st.booleans()))
            )  # fmt: skip
    return tuple(made)


@st.composite
def reports(draw: st.DrawFn) -> Report:
    """Any report that holds together: its numbers have nothing to do with each other, as no renderer may assume."""
    domains = {domain: draw(st.booleans()) for domain in draw(st.lists(st.sampled_from(DOMAINS), unique=True))}
    number = draw(st.integers(0, 3))
    phase_names = [PREPROCESS, VISION_ENCODE, PREFILL, DECODE]
    phases = draw(rows(draw(st.permutations(phase_names)), domains, number)) if number else ()
    total = draw(whole("call", domains, number)) if number else None
    between = draw(whole("between phases", domains, number)) if number else None
    tokens = TokenCounts(*draw(st.tuples(counts, counts, counts, counts, st.just(0), counts)))
    model = ModelFacts(draw(names), parameters=draw(counts), dtype=draw(names), device=draw(names))
    calls = tuple(
        call(each, total, between, phases, tokens=tokens, model=model, images=draw(counts), ttft_ns=None)
        for each in range(1, number + 1)
        if total is not None and between is not None
    )
    own_names = draw(st.lists(names, max_size=2, unique=True))
    idle = {
        domain: Idle(power_w, (0.9 * power_w, 1.2 * power_w), 9 * MS, modelled)
        for domain, modelled in domains.items()
        if (power_w := draw(st.none() | st.floats(0.1, 1e4)))
    }
    absent = draw(st.lists(st.builds(Absence, st.sampled_from(DOMAINS), texts, texts, texts), max_size=2))
    return report_of(
        calls, total, between, phases, draw(whole("block", domains, 1)),
        own_phases=draw(rows(own_names, domains, 3)) if own_names else (), idle=idle, absent=tuple(absent),
        channels=draw(channel_uses(domains)), notes=tuple(draw(st.lists(texts, max_size=2))), label=draw(names),
        virtual=draw(st.booleans()), interrupted=draw(texts), overhead=Overhead(draw(st.none() | st.floats(0, 1))),
        host=replace(HOST, cpu=draw(names), versions={}, facts={f"{NVML.board} limit_w": "350"}),
    )  # fmt: skip
