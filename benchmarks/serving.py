"""Joules of each request of a simulated server against the truth: the Shapley value on the server's known cost.

python -m benchmarks serving --sessions 20

A server with continuous batching, chunked prefill, prefix-cache hits and preemption, about a 7 B model on one GPU
whose counter ticks each 100 ms. Beside our figures: the same load as it is measured in the field, all joules over all
output tokens or over all tokens, and shares by time alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.tables import show
from wattvlm import analyze
from wattvlm.attribution.serving.rules import RULES
from wattvlm.energy import Energy
from wattvlm.testing import VirtualSensor
from wattvlm.testing.serving import Served, ServerLimits, serve
from wattvlm.testing.traffic import ServedRequest, Traffic
from wattvlm.units import NS_PER_MS, NS_PER_S


@dataclass(frozen=True, slots=True)
class Load:
    """One row: a name, its traffic, what its server allows, and whether it tells tokens of each chunk of a prompt."""

    name: str
    traffic: Traffic
    limits: ServerLimits = field(default_factory=ServerLimits)
    tells_tokens: bool = False


LOADS = (
    Load("one at a time", Traffic(0.25, 30)),
    Load("1 a second", Traffic(1.0, 60)),
    Load("6 a second", Traffic(6.0, 200)),
    Load("bursts of 20", Traffic(10.0, 200, burst=20)),
    Load("half of all prompts cached", Traffic(6.0, 200, cached_fraction=0.5)),
    Load("little memory: preemption", Traffic(8.0, 200), ServerLimits(cache_tokens=12_000)),
    Load("the same, tokens told", Traffic(8.0, 200), ServerLimits(cache_tokens=12_000), tells_tokens=True),
    Load("small chunks: 256 tokens", Traffic(4.0, 160), ServerLimits(tokens=256)),
    Load("overload, up to 256", Traffic(30.0, 300), ServerLimits(running=256)),
)

FIELD = ("all joules / output tokens", "all joules / all tokens", "by time alone")


@dataclass(slots=True)
class Found:
    """Errors of one load over its sessions, as fractions of the truth."""

    running: int = 0
    preemptions: int = 0
    errors: list[float] = field(default_factory=list[float])
    widths: list[float] = field(default_factory=list[float])
    covered: list[bool] = field(default_factory=list[bool])
    classes: list[tuple[float, bool]] = field(default_factory=list[tuple[float, bool]])
    sums: list[float] = field(default_factory=list[float])
    others: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in FIELD})


def session(load: Load, seed: int) -> Served:
    """One session of a load."""
    sensor = VirtualSensor(
        "gpu-0/board", jitter_ns=3 * NS_PER_MS, phase_ns=seed * 7_919_993 % (100 * NS_PER_MS), max_power_w=700.0
    )
    return serve(load.traffic.drawn(seed), [sensor], seed, limits=load.limits, tells_tokens=load.tells_tokens)


def judge(served: Served, found: Found, share_by: str = "time") -> None:
    """Compare one session's report with the truth."""
    calls = analyze(served.recording, share_by=share_by).calls
    energies = [call.total.energies["gpu"].energy for call in calls]
    truth_j = served.shapley_j
    found.running = max(found.running, served.most_running)
    found.preemptions += served.preemptions
    for energy, true_j in zip(energies, truth_j, strict=True):
        found.errors.append(energy.middle_j / true_j - 1)
        found.widths.append(energy.half_width_j / true_j)
        found.covered.append(energy.interval_j[0] <= true_j <= energy.interval_j[1])
    for name in sorted({request.name for request in served.requests}):
        own = [index for index, request in enumerate(served.requests) if request.name == name]
        summed = Energy.from_draws(np.sum([draws_of(energies[index]) for index in own], axis=0), "measured")
        true_j = float(np.sum(truth_j[own]))
        is_covered = summed.interval_j[0] <= true_j <= summed.interval_j[1]
        found.classes.append((summed.middle_j / true_j - 1, is_covered))
    found.sums.append(sum(energy.middle_j for energy in energies) / served.busy_j - 1)
    for name, joules in _field(served).items():
        found.others[name] += list(joules / truth_j - 1)


def draws_of(energy: Energy) -> np.ndarray:
    """The joint draws of an energy that has them."""
    if energy.draws_j is None:
        raise ValueError("the requests were not told apart by what they did")
    return energy.draws_j


def _field(served: Served) -> Mapping[str, np.ndarray]:
    """What others say of each request: the block's joules by tokens, or by time."""
    output = np.array([request.output_tokens for request in served.requests], float)
    tokens = output + np.array([request.prompt_tokens for request in served.requests], float)
    calls = served.recording.trace.calls
    edges = np.unique([time for call in calls for time in (call.start_ns, call.end_ns)])
    active = np.array([sum(call.start_ns <= start < call.end_ns for call in calls) for start in edges[:-1]])
    part = np.concatenate([[0.0], np.cumsum(np.diff(edges) / np.maximum(active, 1))])
    time = np.array([np.interp(call.end_ns, edges, part) - np.interp(call.start_ns, edges, part) for call in calls])
    shares = dict(zip(FIELD, (output, tokens, time), strict=True))
    return {name: served.block_j * share / np.sum(share) for name, share in shares.items()}


def company(seed: int) -> tuple[float, float, float]:
    """(true, found, half-width) joules of a request with a picture among forty others over what it takes alone."""
    alone = ServedRequest("probe", 500_000_000, 60, 120, 576, 0, 1)
    others = Traffic(6.0, 40).drawn(seed)
    middle_ns = others[len(others) // 2].arrival_ns
    probes = [ServedRequest("probe", middle_ns + number * NS_PER_S, 60, 120, 576, 0, 1) for number in range(3)]
    sensor = VirtualSensor("gpu-0/board", jitter_ns=3 * NS_PER_MS, max_power_w=700.0)
    solo_j = float(serve([alone], [sensor], seed).shapley_j[0])
    served = serve([*others, *probes], [sensor], seed)
    calls = analyze(served.recording).calls
    own = [index for index, request in enumerate(served.requests) if request.name == "probe"]
    found = [calls[index].total.energies["gpu"].energy for index in own]
    true_j = float(np.mean(served.shapley_j[own]))
    found_j = float(np.mean([energy.middle_j for energy in found]))
    return true_j / solo_j, found_j / solo_j, float(np.mean([energy.half_width_j for energy in found])) / solo_j


def run(options: Sequence[str] = ()) -> None:
    """Each load so many sessions; a row a load."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks serving", description=__doc__)
    parser.add_argument("--sessions", type=int, default=5)
    parser.add_argument("--loads", default="", help="names of loads, or parts of them, after commas")
    parser.add_argument("--share-by", choices=RULES, default="time", help="rule for what no request causes alone")
    chosen = parser.parse_args(options)
    wanted = [name for name in chosen.loads.split(",") if name]
    rows: list[tuple[str, ...]] = []
    for load in (each for each in LOADS if not wanted or any(name in each.name for name in wanted)):
        found = Found()
        for seed in range(chosen.sessions):
            judge(session(load, seed), found, chosen.share_by)
        rows.append(_row(load, found))
    header = (
        "load", "most running", "preempted", "RMS, a request", "half-width", "covered", "RMS, a class", "covered",
        "sum", *(f"RMS: {name}" for name in FIELD),
    )  # fmt: skip
    note = f"{chosen.sessions} sessions a load; truth: Shapley value; RMS errors of joules, medians of half-widths."
    show("Joules of requests that run together", header, rows, note)
    ratios = [company(seed) for seed in range(chosen.sessions)]
    true, seen, width = (float(np.mean([each[number] for each in ratios])) for number in range(3))
    print(f"\nThe same request among others over alone: {true:.3f} (truth), {seen:.3f} ± {width:.3f} (found).")


def _row(load: Load, found: Found) -> tuple[str, ...]:
    return (
        load.name,
        str(found.running),
        str(found.preemptions),
        f"{_rms(found.errors):.1%}",
        f"{np.median(found.widths):.1%}",
        f"{np.mean(found.covered):.0%}",
        f"{_rms([error for error, _ in found.classes]):.1%}",
        f"{np.mean([covered for _, covered in found.classes]):.0%}",
        f"{max(map(abs, found.sums)):.2%}",
        *(f"{_rms(found.others[name]):.0%}" for name in FIELD),
    )


def _rms(errors: Sequence[float]) -> float:
    return float(np.sqrt(np.mean(np.square(errors))))


if __name__ == "__main__":
    run()
