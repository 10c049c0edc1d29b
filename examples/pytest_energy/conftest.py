"""A virtual GPU, so that this example runs anywhere. On a machine with sensors, leave `energy_probes` out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import pytest

from wattvlm.sensing import ProbeSource
from wattvlm.testing import LoadFile

IDLE_W = 70.0


@pytest.fixture(scope="session")
def load(tmp_path_factory: pytest.TempPathFactory) -> LoadFile:
    """What the virtual GPU draws over time."""
    file = LoadFile(tmp_path_factory.mktemp("gpu") / "gpu.load")
    file.append(0, IDLE_W)
    return file


@pytest.fixture(scope="session")
def energy_probes(load: LoadFile) -> Sequence[ProbeSource]:
    """The sensors to read: here a virtual counter that ticks each 20 ms."""
    counter = {
        "name": "gpu-0/board", "device": "VIRTUAL GPU", "sensor": "energy counter (virtual)",
        "period_ns": 20_000_000, "max_power_w": 450.0,
    }  # fmt: skip
    return [ProbeSource("wattvlm.probes.virtual:VirtualProbe", {"load_path": str(load.path), "sensors": [counter]})]


@pytest.fixture
def answer(load: LoadFile) -> Callable[[float], str]:
    """A stand-in for a model's answer: the GPU draws so many watts for 0.2 s."""

    def answered(power_w: float) -> str:
        load.append(time.monotonic_ns(), power_w)
        time.sleep(0.2)
        load.append(time.monotonic_ns(), IDLE_W)
        return "a cat"

    return answered
