"""`analyze`: a Recording made into a Report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from wattvlm.attribution.calibrated import calibrated
from wattvlm.attribution.calls import block_of, blocks_of, calls_of_block, preprocess_was_unseen
from wattvlm.attribution.conditions import condition_lines, seen_of
from wattvlm.attribution.domains import Sources, sources_of
from wattvlm.attribution.idle import drift_lines, idle_of, quiet_stretches
from wattvlm.attribution.idle_clocks import IdleClocks, idle_clock_line, idle_clocks
from wattvlm.attribution.notes import interruption_of, lines_of, uses_of
from wattvlm.attribution.rows import (
    BETWEEN,
    BLOCK,
    CALL,
    OUTSIDE,
    DomainRows,
    Layout,
    domain_rows,
    layouts_of,
)
from wattvlm.attribution.serving.rules import rule_of
from wattvlm.attribution.tracks import anchor_of, tracks_of
from wattvlm.attribution.windows import Stretches, clipped, duration_ns
from wattvlm.calibration import Calibration
from wattvlm.recording import Recording, SamplerCost
from wattvlm.report import (
    PREPROCESS_UNSEEN,
    SCHEMA_VERSION,
    WAITING,
    CallReport,
    Idle,
    Overhead,
    Part,
    PartEnergy,
    Report,
)
from wattvlm.sensing import Domain
from wattvlm.trace import DECODE, PREPROCESS, Block, CallTrace, Phase, sum_tokens

Rows = Mapping[Domain, DomainRows]

_DEVICE_DOMAINS: tuple[Domain, ...] = ("gpu", "soc")
"""Their joules follow the device's own time, not the time at which the program asked for its work."""


def analyze(
    recording: Recording, calibrations: Sequence[Calibration] | None = None, *, share_by: str = "time"
) -> Report:
    """The Report of a Recording: joules by phase, domain and call, each with what the readings allow.

    calibrations: records to use in place of those that the recording holds; an empty list uses none. share_by: how
    requests that ran together share what none of them causes alone: "time" (in the batch), "tokens" or "shapley";
    ValueError for anything else. Pure and repeatable; takes numpy only. Never raises for what a sensor did: what
    cannot be known is absent, unresolved or noted.
    """
    rule = rule_of(share_by)
    corrected = calibrated(recording, calibrations)
    recording = corrected.recording
    trace = recording.trace
    blocks = blocks_of(recording, trace)
    block = block_of(recording, blocks)
    calls = calls_of_block(trace, block)
    own_phases = tuple(phase for phase in trace.own_phases if _is_in(phase, block))
    sources = sources_of(recording, block)
    host, devices = layouts_of(calls, block, own_phases)
    rows: dict[Domain, DomainRows] = {
        found.domain: domain_rows(found, devices if found.domain in _DEVICE_DOMAINS else host, recording, rule)
        for found in sources.domains
    }
    by_time: list[Domain] = [domain for domain, own in rows.items() if own.by_time]
    reports = tuple(_call_report(call, index, host, rows) for index, call in enumerate(calls))
    quiet = quiet_stretches(recording, trace, blocks or (block,))
    clocks = _idle_clocks(recording, quiet, block, calls, sources)
    idle = _idle(recording, quiet, block, sources, clocks)
    return Report(
        schema_version=SCHEMA_VERSION,
        host=recording.host,
        channels=uses_of(recording, sources),
        calls=reports,
        phases=_pooled_phases(calls, host, rows),
        tokens=sum_tokens([call.tokens for call in calls]),
        total=_pooled(CALL, [call.whole for call in host.times], rows, [call.whole for call in host.calls]),
        between=_pooled(BETWEEN, [call.between for call in host.times], rows, [call.between for call in host.calls]),
        block=_part(BLOCK, len(calls), host.block, {domain: own.block for domain, own in rows.items()}),
        outside=_outside(calls, host, rows),
        own_phases=(*_own_phases(host, rows), *_waiting(rows)),
        idle=idle,
        absent=(*recording.absent, *sources.absent),
        notes=(
            *lines_of(recording, trace, block, calls, sources, (host, devices), by_time),
            *corrected.notes,
            *(line for own in rows.values() for line in own.lines),
            *condition_lines(recording, block, calls),
            *drift_lines(idle),
            *filter(None, map(idle_clock_line, clocks)),
        ),
        overhead=_overhead(recording.sampler_cost),
        label=block.label,
        virtual=recording.virtual,
        interrupted=interruption_of(calls),
        conditions=seen_of(recording, block),
        power=tracks_of(sources.domains, block),
        wall_anchor=anchor_of(recording, block),
    )


def _overhead(cost: SamplerCost | None) -> Overhead:
    return Overhead() if cost is None else Overhead(cost.core_fraction, cost.cpu_ns)


def _is_in(phase: Phase, block: Block) -> bool:
    return block.start_ns <= phase.spans[0].start_ns <= block.end_ns


def _idle_clocks(
    recording: Recording, quiet: Stretches, block: Block, calls: Sequence[CallTrace], sources: Sources
) -> list[IdleClocks]:
    curves = (curve for found in sources.domains if found.method == "measured" for curve in found.curves)
    boards = dict.fromkeys(curve.channel.board for curve in curves)
    seen = (idle_clocks(recording, board, quiet, block, calls) for board in boards)
    return [each for each in seen if each is not None]


def _idle(
    recording: Recording, quiet: Stretches, block: Block, sources: Sources, clocks: Sequence[IdleClocks]
) -> dict[Domain, Idle]:
    preferred = {each.board: each.quiet_as_in_calls for each in clocks if each.is_preferred}
    idle: dict[Domain, Idle] = {}
    for found in sources.domains:
        seen = idle_of(found, recording, quiet, block, preferred)
        if seen is not None:
            own = [each.idle_hz for each in clocks if each.board in {curve.channel.board for curve in found.curves}]
            idle[found.domain] = replace(seen, clock_hz=own[0] if len(set(own)) == 1 else None)
    return idle


def _part(name: str, calls: int, windows: Stretches, energies: Mapping[Domain, PartEnergy]) -> Part:
    spans_ns = tuple((window.start_ns, window.end_ns) for window in windows)
    return Part(name, calls, duration_ns(windows), dict(energies), spans_ns=spans_ns)


def _unseen_preprocess() -> Part:
    return Part(PREPROCESS, 0, None, unseen=PREPROCESS_UNSEEN)


def _call_report(call: CallTrace, index: int, host: Layout, rows: Rows) -> CallReport:
    windows = host.times[index]

    def part(name: str, own: Stretches) -> Part:
        return _part(name, 1, own, {domain: found.calls[index][name] for domain, found in rows.items()})

    phases = [part(name, windows.phases[name]) for name in host.order if name in windows.phases]
    if preprocess_was_unseen(call):
        phases.insert(0, _unseen_preprocess())
    decode = call.phase(DECODE)
    before_ns = duration_ns(clipped(windows.phases.get(PREPROCESS, ()), 0, call.start_ns))
    return CallReport(
        call_id=call.call_id,
        label=call.label,
        runtime=call.runtime,
        ended=call.ended,
        start_ns=call.start_ns,
        duration_ns=round(duration_ns(windows.whole)),
        ttft_ns=None if call.first_token_ns is None else round(before_ns) + call.first_token_ns - call.start_ns,
        tpot_ns=decode.duration_ns / call.decode_steps if decode is not None and call.decode_steps else None,
        batch_size=call.batch_size,
        images=call.images,
        decode_steps=call.decode_steps,
        peak_memory_bytes=call.peak_memory_bytes,
        tokens=call.tokens,
        model=call.model,
        total=part(CALL, windows.whole),
        between=replace(part(BETWEEN, windows.between), spans_ns=()),
        phases=tuple(phases),
        lane=call.lane,
        work=call.work,
    )


def _pooled_phases(calls: Sequence[CallTrace], host: Layout, rows: Rows) -> tuple[Part, ...]:
    parts: list[Part] = []
    if PREPROCESS not in host.order and any(preprocess_was_unseen(call) for call in calls):
        parts.append(_unseen_preprocess())
    for name in host.order:
        own, shared = ([call.phases.get(name, ()) for call in of] for of in (host.times, host.calls))
        part = _pooled(name, own, rows, shared)
        if part is not None:
            parts.append(part)
    return tuple(parts)


def _pooled(name: str, windows: Sequence[Stretches], rows: Rows, shared: Sequence[Stretches]) -> Part | None:
    """The mean over all calls of one row; None without calls. shared: its time, by shares where calls overlapped."""
    if not windows:
        return None
    had = len(windows) if name in (CALL, BETWEEN) else sum(1 for each in windows if each)
    mean_ns = sum(map(duration_ns, windows)) / len(windows)
    shared_ns = sum(map(duration_ns, shared)) / len(windows)
    energies: dict[Domain, PartEnergy] = {domain: found.pooled[name] for domain, found in rows.items()}
    return Part(name, had, mean_ns, energies, idle_ns=shared_ns if shared_ns < mean_ns else None)


def _outside(calls: Sequence[CallTrace], host: Layout, rows: Rows) -> Part:
    energies: dict[Domain, PartEnergy] = {domain: own.outside for domain, own in rows.items()}
    return Part(OUTSIDE, len(calls), duration_ns(host.outside), energies)


def _waiting(rows: Rows) -> list[Part]:
    """The row of time in which requests waited and none was at work, where there was such."""
    told: dict[Domain, DomainRows] = {domain: found for domain, found in rows.items() if found.waiting}
    energies: dict[Domain, PartEnergy] = {domain: found.own_phases[WAITING] for domain, found in told.items()}
    return [_part(WAITING, 1, next(iter(told.values())).waiting, energies)] if told else []


def _own_phases(host: Layout, rows: Rows) -> tuple[Part, ...]:
    return tuple(
        Part(
            name,
            len(spans),
            sum(map(duration_ns, spans)) / len(spans),
            {domain: found.own_phases[name] for domain, found in rows.items()},
            spans_ns=tuple((window.start_ns, window.end_ns) for each in spans for window in each),
        )
        for name, spans in host.own_phases.items()
    )
