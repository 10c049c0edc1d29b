"""The conftest.py of a user whose GPU is virtual: it draws 70 W, and what a test says while it works."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

from wattvlm.sensing import ProbeSource
from wattvlm.testing import LoadFile

IDLE_W = 70.0


@pytest.fixture(scope="session")
def load(tmp_path_factory) -> LoadFile:
    file = LoadFile(tmp_path_factory.mktemp("gpu") / "gpu.load")
    file.append(0, IDLE_W)
    return file


@pytest.fixture(scope="session")
def energy_probes(load: LoadFile) -> list[ProbeSource]:
    kind = os.environ.get("VIRTUAL_GPU", "counter")
    if kind == "none":
        return []
    sensor = {
        "name": "gpu-0/board", "period_ns": 10_000_000, "max_power_w": 700.0, "method": kind,
        "device": os.environ.get("VIRTUAL_DEVICE", "a virtual GPU"),
    }  # fmt: skip
    return [ProbeSource("wattvlm.probes.virtual:VirtualProbe", {"load_path": str(load.path), "sensors": [sensor]})]


@pytest.fixture
def work(load: LoadFile) -> Callable[..., str]:
    """Draw so many watts for so long."""

    def run(power_w: float = 300.0, seconds: float = 0.06) -> str:
        load.append(time.monotonic_ns(), power_w * float(os.environ.get("VIRTUAL_MORE", "1")))
        time.sleep(seconds)
        load.append(time.monotonic_ns(), IDLE_W)
        return "done"

    return run
