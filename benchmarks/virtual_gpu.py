"""A program run on virtual GPUs: the real pynvml loads a virtual libnvidia-ml.so.1 in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from wattvlm.testing import VirtualGpu, VirtualNvml, append_load

CALL_LATENCY_NS = 150_000
"""What one NVML call takes: 0.15-0.4 ms was reported of real boards."""


def run_on(
    program: str, gpus: int = 1, counter_period_ms: int = 100, init_delay_ms: int = 0, has_fields: bool = True
) -> Any:
    """What a program prints as JSON, with so many virtual GPUs; their counters tick at the period with 2 % jitter.

    has_fields: whether they have power fields as well, of which a meter reads one a GPU.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        load = folder / "gpu.load"
        append_load(load, [(0, 300.0)])
        devices = [
            VirtualGpu(
                uuid=f"GPU-{number:08d}-0000-0000-0000-000000000000",
                load=load,
                counter_period_ns=counter_period_ms * 1_000_000,
                counter_jitter_ns=counter_period_ms * 20_000,
                latency_ns=CALL_LATENCY_NS,
                has_fields=has_fields,
                usage="average" if has_fields else None,
            )
            for number in range(gpus)
        ]
        library = VirtualNvml(folder, devices, init_delay_ns=init_delay_ms * 1_000_000)
        library.build()
        done = subprocess.run(
            [sys.executable, "-c", program], env=library.environment(), capture_output=True, text=True, check=True
        )
    return json.loads(done.stdout)
