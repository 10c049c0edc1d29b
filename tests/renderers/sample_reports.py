"""Reports for the renderers' tests, built by hand: what attribution would say of runs that are easy to describe."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from wattvlm.clock import WallAnchor
from wattvlm.energy import DRAWS, Energy
from wattvlm.host import Host
from wattvlm.report import (
    PREPROCESS_UNSEEN,
    SCHEMA_VERSION,
    CallReport,
    ChannelUse,
    Idle,
    Overhead,
    Part,
    PartEnergy,
    PowerTrack,
    Report,
)
from wattvlm.sensing import Absence, Channel, Domain
from wattvlm.trace import DECODE, PREFILL, PREPROCESS, PROJECTOR, VISION_ENCODE, ModelFacts, TokenCounts, sum_tokens

MS = 1_000_000
GPU_BOARD = "gpu-8f2c"

NVML = Channel(
    f"{GPU_BOARD}/board", "NVML energy counter", "NVIDIA H100 PCIe", "gpu", "counter", 100 * MS, 0, 1e-3,
    gain_std_fraction=0.0255,
)  # fmt: skip
RAPL = Channel(
    "cpu-0/package", "RAPL package", "Intel(R) Xeon(R) Platinum 8480+", "cpu", "counter", MS, 0, gain_std_fraction=0.05
)
CORES = replace(RAPL, name="cpu-0/core", sensor="RAPL cores", contained_in="cpu-0/package")
CPU_MODEL = Channel("cpu-0/model", "2 of 112 threads of an EPYC 7B13 (240 W TDP), psutil load", "EPYC", "cpu", "model")
RAM_MODEL = Channel("ram/model", "8 DIMMs x 5 W", "8 DIMMs", "ram", "model")

DENIED_RAM = Absence(
    "ram",
    "DRAM counter: permission denied",
    "RAM joules are modelled",
    "sudo chmod a+r /sys/class/powercap/intel-rapl:0:1/energy_uj",
)
NO_GPU = Absence("gpu", "no NVIDIA, AMD or Intel device", "GPU joules are absent", "run on a machine with one")
NO_RAPL = Absence(
    "cpu",
    "/sys/class/powercap is not in this container",
    "CPU and RAM joules are not measured",
    "docker run -v /sys/class/powercap:/sys/class/powercap:ro",
)

HOST = Host(
    cpu="Intel(R) Xeon(R) Platinum 8480+",
    versions={"wattvlm": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0"},
    facts={"driver": "570.86", f"{GPU_BOARD} limit_w": "350"},
)

QWEN = ModelFacts("Qwen2.5-VL-3B-Instruct", parameters=3_754_622_976, vision_parameters=668_700_000, dtype="bfloat16")
DIGITS = ModelFacts("digits-llava-0.2M", parameters=174_528, dtype="float32", device="cpu")


def measured(mean_j: float, half_j: float, board: str = GPU_BOARD, gain_fraction: float = 0.05) -> Energy:
    """A measured energy whose 95 % interval is mean ± half."""
    evenly = np.linspace(-1.0, 1.0, DRAWS) * half_j / 0.95
    return Energy.from_draws(mean_j + evenly, "measured", {board: mean_j * gain_fraction})


def bounded(low_j: float, high_j: float) -> Energy:
    """A measured energy of which only bounds are known."""
    return Energy(None, (low_j, high_j), "measured", {GPU_BOARD: 0.05 * (low_j + high_j) / 2})


def modelled(mean_j: float) -> Energy:
    """A modelled energy, sure to ±50 %."""
    return Energy(mean_j, (0.5 * mean_j, 1.5 * mean_j), "modelled")


def own(name: str, energy: Energy, ticks: int | None = None, resolved: bool = True) -> PartEnergy:
    """The joules of one part that stands alone, or whose joules are not resolved."""
    return PartEnergy(energy, (name,), resolved, energy.interval_j, ticks)


def part(name: str, time_ms: float, gpu: PartEnergy | None, cpu: Energy | None, ram: Energy | None, calls: int) -> Part:
    """A row with joules of the GPU, the CPU and RAM; None for a domain that has none."""
    energies: dict[Domain, PartEnergy] = {}
    if gpu is not None:
        energies["gpu"] = gpu
    if cpu is not None:
        energies["cpu"] = own(name, cpu)
    if ram is not None:
        energies["ram"] = own(name, ram)
    return Part(name, calls, time_ms * MS, energies)


def call(number: int, total: Part, between: Part, phases: tuple[Part, ...], **changes: object) -> CallReport:
    """One call of a 3-billion-parameter model on one image, 96 tokens long."""
    duration_ns = int(total.duration_ns or 0)
    made = CallReport(
        call_id=number, label="", runtime="transformers", ended="returned", start_ns=number * 3000 * MS,
        duration_ns=duration_ns, ttft_ns=138 * MS, tpot_ns=25.4 * MS, batch_size=1, images=1, decode_steps=95,
        peak_memory_bytes=8_100_000_000, tokens=TokenCounts(38, 1564, 391, 391, 0, 96), model=QWEN, total=total,
        between=between, phases=phases,
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]  # any field of a call


def report_of(calls: tuple[CallReport, ...], total: Part | None, between: Part | None, phases: tuple[Part, ...],
              block: Part, **changes: object) -> Report:  # fmt: skip
    """A report on one machine; changes: any field."""
    made = Report(
        SCHEMA_VERSION, HOST, (), calls, phases, sum_tokens([each.tokens for each in calls]), total, between, block,
        Part("outside calls", 1, 12.0 * MS), (),
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]  # any field of a report


def row(name: str, time_ms: float, gpu: tuple[float, float, int], cpu: tuple[float, float], ram_j: float) -> Part:
    """A row of `twenty_calls`; GPU: joules, half-width, ticks; CPU: joules, half-width; RAM: modelled joules."""
    gpu_j, gpu_half_j, ticks = gpu
    return part(
        name, time_ms, own(name, measured(gpu_j, gpu_half_j), ticks), measured(*cpu, "cpu-0"), modelled(ram_j), 20
    )


def twenty_calls() -> Report:
    """20 calls; GPU and CPU measured, RAM modelled, one counter denied."""
    phases = (
        row(PREPROCESS, 52, (3.9, 0.4, 10), (5.6, 0.3), 0.7),
        row(VISION_ENCODE, 39, (16.8, 0.5, 8), (4.2, 0.2), 0.5),
        row(PREFILL, 45, (23.4, 0.4, 9), (4.9, 0.2), 0.6),
        row(DECODE, 2410, (458.0, 4.6, 482), (270.1, 2.9), 33.7),
    )
    between = row("between phases", 12, (1.4, 0.3, 3), (1.4, 0.2), 0.2)
    total = row("call", 2558, (503.5, 4.8, 512), (286.2, 3.0), 35.7)
    projector = Part(PROJECTOR, 1, 1.1 * MS)
    calls = tuple(call(number, total, between, (*phases, projector)) for number in range(1, 21))
    block = row("block", 51_900, (10_310.0, 5.0, 519), (5860.0, 6.0), 726.0)
    channels = (
        ChannelUse(NVML, 519, 519, 100.02 * MS, 0.001),
        ChannelUse(RAPL, 5190, 51_900, 1.0 * MS),
        ChannelUse(CORES, 5190, 51_900, 1.0 * MS, in_totals=False),
        ChannelUse(RAM_MODEL, 519),
    )
    idle: dict[Domain, Idle] = {
        "gpu": Idle(68.0, (67.8, 68.2), 900 * MS),
        "cpu": Idle(41.0, (40.1, 41.9), 900 * MS),
    }
    return report_of(
        calls, total, between, phases, block,
        channels=channels, idle=idle, absent=(DENIED_RAM,), overhead=Overhead(0.012, 600 * MS),
    )  # fmt: skip


def one_unresolved_call() -> Report:
    """One call whose encode and prefill are one sum, and whose time between phases is not resolved."""
    merged = PartEnergy(bounded(32.7, 48.5), (VISION_ENCODE, PREFILL), True, (0.0, 48.5), 0)
    phases = (
        Part(PREPROCESS, 0, None, unseen=PREPROCESS_UNSEEN),
        part(VISION_ENCODE, 39, merged, measured(4.2, 0.3, "cpu-0"), modelled(0.5), 1),
        part(PREFILL, 45, merged, measured(4.9, 0.3, "cpu-0"), modelled(0.6), 1),
        part(DECODE, 2400, own(DECODE, bounded(446.3, 463.9), 25), measured(269.0, 3.1, "cpu-0"), modelled(33.6), 1),
    )
    between = part("between phases", 9, own("between phases", bounded(0.0, 3.4), 0, resolved=False),
                   measured(1.1, 0.2, "cpu-0"), modelled(0.1), 1)  # fmt: skip
    total = part("call", 2490, own("call", bounded(493.3, 501.1), 25), measured(279.2, 3.1, "cpu-0"), modelled(34.8), 1)
    block = part("block", 2510, own("block", bounded(495.0, 499.0), 25), measured(281.0, 3.0, "cpu-0"),
                 modelled(35.0), 1)  # fmt: skip
    channels = (ChannelUse(NVML, 26, 25, 100.1 * MS), ChannelUse(RAPL, 251, 2510, 1.0 * MS), ChannelUse(RAM_MODEL, 26))
    idle: dict[Domain, Idle] = {"gpu": Idle(68.0, (66.0, 70.0), 100 * MS)}
    return report_of((call(1, total, between, phases),), total, between, phases, block, channels=channels, idle=idle,
                     absent=(DENIED_RAM,))  # fmt: skip


def no_sensor() -> Report:
    """36 calls of a tiny model on a CPU whose joules are modelled."""
    rows = ((PREPROCESS, 1.9, 0.06, 0.02), (VISION_ENCODE, 2.2, 0.07, 0.02), (PREFILL, 2.4, 0.08, 0.02),
            (DECODE, 10.4, 0.33, 0.10))  # fmt: skip
    phases = tuple(part(name, time_ms, None, modelled(cpu), modelled(ram), 36) for name, time_ms, cpu, ram in rows)
    between = part("between phases", 0.1, None, modelled(0.003), modelled(0.001), 36)
    total = part("call", 17.0, None, modelled(0.543), modelled(0.161), 36)
    tokens = TokenCounts(13, 16, 16, None, 0, 3)
    calls = tuple(
        call(number, total, between, phases, model=DIGITS, tokens=tokens, ttft_ns=6_500_000, tpot_ns=5.2 * MS,
             peak_memory_bytes=None)
        for number in range(1, 37)
    )  # fmt: skip
    block = part("block", 640, None, modelled(20.2), modelled(6.1), 1)
    channels = (ChannelUse(CPU_MODEL, 7), ChannelUse(replace(RAM_MODEL, sensor="2 DIMMs x 5 W"), 7))
    return report_of(calls, total, between, phases, block, channels=channels, absent=(NO_GPU, NO_RAPL),
                     host=Host(cpu="AMD EPYC 7B13", versions={"torch": "2.13.0"}))  # fmt: skip


def text_only() -> Report:
    """20 calls without any image: neither encode nor projector ran."""
    whole = twenty_calls()
    phases = tuple(each for each in whole.phases if each.name not in (PREPROCESS, VISION_ENCODE))
    tokens = TokenCounts(38, 0, 0, None, 0, 96)
    calls = tuple(replace(each, images=0, tokens=tokens, phases=phases) for each in whole.calls)
    return replace(whole, calls=calls, phases=phases, tokens=sum_tokens([each.tokens for each in calls]))


def without_calls() -> Report:
    """A block in which no call of a model was seen, with a phase of the user's own."""
    whole = twenty_calls()
    training = part("training step", 410, own("training step", measured(88.0, 0.9), 80), measured(40.0, 1.0, "cpu-0"),
                    modelled(5.7), 20)  # fmt: skip
    return replace(whole, calls=(), phases=(), total=None, between=None, tokens=TokenCounts(), own_phases=(training,))


def interrupted() -> Report:
    """Ctrl-C in the third call."""
    whole = twenty_calls()
    last = replace(whole.calls[2], ended="raised KeyboardInterrupt")
    calls = (*whole.calls[:2], last)
    phases = tuple(replace(each, calls=3) for each in whole.phases)
    return replace(whole, calls=calls, phases=phases, tokens=sum_tokens([each.tokens for each in calls]),
                   interrupted="call 3 raised KeyboardInterrupt: what was recorded until then is reported")  # fmt: skip


def several_gpus() -> Report:
    """Two GPUs, summed; some calls had no image."""
    whole = twenty_calls()
    second = replace(NVML, name="gpu-91aa/board")
    phases = tuple(replace(each, calls=12) if each.name == VISION_ENCODE else each for each in whole.phases)
    channels = (*whole.channels, ChannelUse(second, 519, 517, 98.0 * MS, gaps=2))
    host = replace(HOST, facts={**HOST.facts, "gpu-91aa limit_w": "350"})
    return replace(whole, channels=channels, phases=phases, host=host)


def without_joules() -> Report:
    """No sensor and no model: times and tokens alone."""
    whole = no_sensor()

    def bare(row: Part) -> Part:
        return replace(row, energies={})

    assert whole.total is not None
    assert whole.between is not None
    phases = tuple(map(bare, whole.phases))
    return replace(whole, channels=(), phases=phases, total=bare(whole.total), between=bare(whole.between),
                   block=bare(whole.block))  # fmt: skip


def virtual() -> Report:
    """The same as `twenty_calls`, on virtual sensors."""
    return replace(twenty_calls(), virtual=True)


HOSTILE = "[red]x[/] <script>alert(1)</script> \x1b[31mred\x1b[0m \u202edesrever\u202c 模型 \ud800 & 'quotes\" \n next"


def hostile() -> Report:
    """Names that would be markup, HTML or terminal commands if anyone obeyed them."""
    whole = twenty_calls()
    model = replace(QWEN, name=HOSTILE, dtype="[bold]", quantisation="<b>")
    calls = tuple(replace(each, model=model) for each in whole.calls)
    mine = replace(whole.phases[0], name=HOSTILE)
    absent = (Absence("ram", HOSTILE, HOSTILE, HOSTILE),)
    channels = tuple(replace(use, channel=replace(use.channel, sensor=HOSTILE)) for use in whole.channels)
    return replace(whole, calls=calls, own_phases=(mine,), absent=absent, channels=channels, notes=(HOSTILE,))


def with_curves() -> Report:
    """The same as `twenty_calls`, with the power over time and the time of each phase."""
    whole = twenty_calls()
    edges_ns, powers_w = [0], list[float]()
    calls: list[CallReport] = []
    for each in whole.calls:
        start_ns = at_ns = each.start_ns
        edges_ns.append(start_ns)
        powers_w.append(110.0)
        phases: list[Part] = []
        for row in each.phases:
            found = row.energies.get("gpu")
            end_ns = at_ns + int(row.duration_ns or 0)
            phases.append(replace(row, spans_ns=((at_ns, end_ns),)))
            if found is not None and row.duration_ns:
                edges_ns.append(end_ns)
                powers_w.append(found.energy.middle_j / row.duration_ns * 1e9)
                at_ns = end_ns
        total = replace(each.total, spans_ns=((start_ns, at_ns),))
        calls.append(replace(each, total=total, phases=tuple(phases)))
    edge_ns, power_w = np.array(edges_ns), np.array(powers_w)
    tracks = (
        PowerTrack("gpu", edge_ns, power_w, power_w, power_w, edge_ns[1:-1]),
        PowerTrack("cpu", edge_ns, power_w / 2, power_w / 3, power_w, edge_ns[:0]),
        PowerTrack("ram", edge_ns[[0, -1]], np.array([14.0]), np.array([14.0]), np.array([14.0]), edge_ns[:0], True),
    )
    block = replace(whole.block, spans_ns=((0, edges_ns[-1] + 500 * MS),))
    anchor = WallAnchor(0, 1_790_000_000_000_000_000)
    return replace(whole, calls=tuple(calls), power=tracks, block=block, wall_anchor=anchor)


SAMPLES = {
    each.__name__: each
    for each in (
        twenty_calls, one_unresolved_call, no_sensor, text_only, without_calls, interrupted, several_gpus,
        without_joules, virtual, hostile, with_curves,
    )
}  # fmt: skip
