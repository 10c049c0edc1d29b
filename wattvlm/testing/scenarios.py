"""Ready-made sessions: what `wattvlm demo --virtual` shows, and what the shipped recording holds."""

from __future__ import annotations

import random

from wattvlm.host import Host
from wattvlm.probes._virtual_sensors import VirtualSensor
from wattvlm.testing.sessions import Script, ScriptedPhase, Simulation, simulate
from wattvlm.trace import DECODE, PREFILL, PREPROCESS, VISION_ENCODE, ModelFacts, TokenCounts
from wattvlm.units import NS_PER_MS, NS_PER_S

GPU = "gpu-virtual-0"


def data_centre_session(seed: int | None = 0, calls: int = 20) -> Simulation:
    """A model of Qwen2.5-VL-3B's published size answering questions about large photos on an H100-like board.

    VIRTUAL: sizes and token counts are the model's own (1372 x 1372 pixels: 98 x 98 patches, merged 2 x 2), times and
    powers are invented and plausible. Sensors: a GPU energy counter that ticks each 100 ms with 3 ms of jitter and a
    gain of its own, a CPU package counter that ticks each 1 ms, a model of RAM, and a DRAM counter that is denied.
    """
    chance = random.Random(seed)
    return simulate(_script(calls), _sensors(chance), chance.randrange(2**31), host=_host())


def _script(calls: int) -> Script:
    def phase(name: str, duration_ms: int, gpu_w: float, cpu_w: float) -> ScriptedPhase:
        return ScriptedPhase(name, duration_ms * NS_PER_MS, {"gpu": gpu_w, "cpu": cpu_w})

    return Script(
        phases=(
            phase(PREPROCESS, 84, 76.0, 128.0),
            phase(VISION_ENCODE, 252, 318.0, 108.0),
            phase(PREFILL, 281, 342.0, 108.0),
            phase(DECODE, 2_410, 191.0, 112.0),
        ),
        calls=calls,
        idle_w={"gpu": 68.0, "cpu": 41.0, "ram": 40.0},
        between_w={"gpu": 112.0, "cpu": 96.0},
        gap_ns=3 * NS_PER_MS,
        pause_ns=40 * NS_PER_MS,
        dither_ns=130 * NS_PER_MS,
        quiet_ns=2 * NS_PER_S,
        power_variation_fraction=0.03,
        duration_variation_fraction=0.01,
        tokens=TokenCounts(text_input=38, visual_encoded=9_604, visual_input=2_401, visual_kept=2_401, cached_input=0,
                           output=96),
        images=1,
        decode_steps=95,
        peak_memory_bytes=9_700_000_000,
        model=ModelFacts(
            name="Qwen2.5-VL-3B-Instruct (simulated)", class_name="Qwen2_5_VLForConditionalGeneration",
            parameters=3_754_622_976, active_parameters=3_754_622_976, vision_parameters=668_732_416, dtype="bfloat16",
            device="cuda:0", fusion="late",
        ),
    )  # fmt: skip


def _sensors(chance: random.Random) -> list[VirtualSensor]:
    return [
        VirtualSensor(
            f"{GPU}/board",
            device="VIRTUAL H100 PCIe",
            sensor="NVML energy counter (virtual)",
            phase_ns=chance.randrange(100 * NS_PER_MS),
            jitter_ns=3 * NS_PER_MS,
            gain=1.0 + 0.02 * (2.0 * chance.random() - 1.0),
            gain_std_fraction=0.045,
            max_power_w=450.0,
            latency_ns=150_000,
            seed=chance.randrange(2**31),
        ),
        VirtualSensor(
            "cpu-0/package",
            "cpu",
            device="VIRTUAL Xeon 8480+",
            sensor="RAPL package (virtual)",
            period_ns=NS_PER_MS,
            jitter_ns=NS_PER_MS // 10,
            resolution=61e-6,
            max_power_w=700.0,
            wraps_at_j=262_143.0,
            latency_ns=4_000,
            seed=chance.randrange(2**31),
        ),
        VirtualSensor(
            "ram/model",
            "ram",
            "model",
            device="VIRTUAL 8 DIMMs",
            sensor="8 DIMMs x 5 W (virtual)",
            gain_std_fraction=0.3,
            max_power_w=40.0,
        ),
        VirtualSensor("cpu-0/dram", "ram", device="VIRTUAL Xeon 8480+", sensor="RAPL dram (virtual)", denied=True),
    ]


def _host() -> Host:
    return Host(
        name="virtual host",
        system="virtual",
        cpu="virtual Xeon 8480+",
        cpu_threads=112,
        memory_bytes=512 * 2**30,
        python="virtual",
        versions={},
        facts={"driver": "virtual", f"{GPU} device": "VIRTUAL H100 PCIe", f"{GPU} limit_w": "350"},
    )
