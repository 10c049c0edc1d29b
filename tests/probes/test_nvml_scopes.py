"""Modules, memories, instances and virtual GPUs: the probe on the real pynvml and a virtual libnvidia-ml.so.1."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from wattvlm.attribution.domains import sources_of
from wattvlm.filing import from_plain
from wattvlm.probes.grace import GraceProbe
from wattvlm.recording import Readings, Recording
from wattvlm.sensing import Channel
from wattvlm.testing import VirtualGpu, VirtualNvml
from wattvlm.testing.sysfs import grace_tree
from wattvlm.trace import Block

pytestmark = pytest.mark.skipif(
    not VirtualNvml.available(), reason=VirtualNvml.available().why_not or "the virtual NVML can be built"
)

S = 1_000_000_000
LOOK = """
import json
from dataclasses import asdict
from wattvlm.probes.nvml import NvmlProbe
probe = NvmlProbe(environ={})
try:
    sensors = probe.open()
    print(json.dumps({
        "channels": [asdict(channel) for channel in sensors.channels],
        "absent": [[each.what, each.effect, each.remedy] for each in sensors.absent],
        "values": [[getattr(each, "power_w", None) for each in probe.read(channel)] for channel in sensors.channels],
    }))
finally:
    probe.close()
"""


@pytest.fixture
def look(tmp_path):
    """What the probe sees of some virtual GPUs, in a process of its own: channels, absences, and watts of each."""

    def looked(*gpus):
        library = VirtualNvml(tmp_path / "lib", gpus)
        library.build()
        done = subprocess.run(
            [sys.executable, "-c", LOOK], env=library.environment(), capture_output=True, text=True,
            cwd=Path(__file__).parents[2],
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        channels = tuple(from_plain(Channel, each, "channel") for each in found["channels"])
        return SimpleNamespace(channels=channels, absent=found["absent"], values=found["values"])

    return looked


def grace_hopper(**facts):
    return VirtualGpu(
        name="Virtual GH200", has_counter=False, usage=None, module_scope_only=True, idle_w=600.0, **facts
    )


def used(channels):
    """The channels that make up each domain when each shows ten watts."""
    time_ns = np.arange(0, 10 * S + 1, S // 10)
    zeros = np.zeros_like(time_ns)
    readings = {
        each.name: Readings(
            each.name,
            time_ns,
            time_ns - 1,
            zeros,
            (time_ns * 1e-8 if each.method == "counter" else zeros + 10.0).astype(np.float64),
        )
        for each in channels
    }
    found = sources_of(Recording(0, 10 * S, tuple(channels), readings), Block(1, S, 9 * S))
    return {each.domain: sorted(curve.channel.name for curve in each.curves) for each in found.domains}


def test_the_power_of_a_grace_hopper_module_is_labelled_and_never_called_the_gpus_alone(look):
    found = look(grace_hopper())
    channel = found.channels[0]
    assert {each.contained_in for each in found.channels[1:]} == {channel.name}
    assert (channel.domain, channel.name.split("/")[1]) == ("soc", "module")
    assert channel.sensor.endswith("whole module")
    assert found.values[0] == [600.0]
    assert any("joules of the GPU alone are absent" in effect for _, effect, _ in found.absent)


def test_the_power_of_a_module_is_not_added_to_its_cpus_own_meters(look, tmp_path):
    grace = GraceProbe(grace_tree(tmp_path / "hwmon", {"CPU Power Socket 0": 80.0, "SysIO Power Socket 0": 20.0}).root)
    channels = (*look(grace_hopper()).channels, *grace.open().channels)
    grace.close()
    domains = used(channels)
    assert domains["cpu"] == ["cpu-0/package", "cpu-0/sysio"]
    assert [name.split("/")[1] for name in domains["soc"]] == ["module"]
    assert "gpu" not in domains


@pytest.mark.parametrize("has_counter", [True, False])
def test_the_power_of_the_memory_is_shown_and_in_no_total(look, has_counter):
    found = look(VirtualGpu(idle_w=100.0, memory_power_fraction=0.25, has_counter=has_counter))
    board = found.channels[0]
    memory = next(each for each in found.channels if each.name.endswith("/memory"))
    assert (memory.contained_in, memory.domain) == (board.name, "gpu")
    assert found.values[found.channels.index(memory)] == [pytest.approx(25.0, abs=0.01)]
    assert used(found.channels) == {"gpu": [board.name]}


def test_the_memory_of_a_module_is_a_part_of_the_module(look):
    found = look(grace_hopper(memory_power_fraction=0.1))
    module, memory = found.channels[0], found.channels[-1]
    assert (memory.domain, memory.contained_in) == ("soc", module.name)
    assert used(found.channels) == {"soc": [module.name]}


def test_a_board_that_is_cut_into_instances_is_counted_whole_and_that_is_told(look):
    found = look(VirtualGpu(uuid="GPU-a", instances=("MIG-1", "MIG-2")))
    assert found.channels[0].name == "gpu-a/board"
    assert found.channels[0].method == "counter"
    assert any("hold those of every other instance" in effect for _, effect, _ in found.absent)


def test_a_virtual_gpu_without_a_counter_gives_its_power_and_one_that_gives_nothing_is_absent(look):
    vgpu = partial(VirtualGpu, has_counter=False, has_fields=False)
    found = look(vgpu(uuid="GPU-a", idle_w=70.0), vgpu(uuid="GPU-b", usage=None))
    (channel,) = found.channels
    assert (channel.name, channel.method) == ("gpu-a/board", "power")
    assert found.values == [[70.0]]
    words = {what.split(":")[0]: (effect, remedy) for what, effect, remedy in found.absent}
    assert any("has no energy counter" in what for what in words)
    effect, remedy = next(said for what, said in words.items() if "gpu-b" in what)
    assert effect == "the joules of this GPU are absent"
    assert "measure on the host" in remedy
