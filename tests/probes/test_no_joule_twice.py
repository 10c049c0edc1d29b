"""What all sensors of one machine add up to: each domain once, whoever else sees the same joules."""

from contextlib import closing

import numpy as np
import pytest

from wattvlm.attribution.domains import sources_of
from wattvlm.host import Host
from wattvlm.probes.cray import CrayProbe
from wattvlm.probes.grace import GraceProbe
from wattvlm.probes.intel_gpu import IntelGpuProbe
from wattvlm.probes.jetson import JetsonProbe
from wattvlm.probes.rapl import RaplProbe
from wattvlm.recording import Readings, Recording
from wattvlm.testing.sysfs import PowercapPackage, cray_tree, grace_tree, intel_gpu_tree, jetson_tree, powercap_tree
from wattvlm.trace import Block

SECOND = 1_000_000_000
END_NS = 10 * SECOND
CRAY = {"energy": 0.0, "cpu_energy": 0.0, "memory_energy": 0.0, "accel0_energy": 0.0}


def used(probes):
    """The channels that make up each domain when all probes of a machine are read, ten watts each."""
    channels = []
    for probe in probes:
        with closing(probe):
            channels += probe.open().channels
    time_ns = np.arange(0, END_NS + 1, SECOND // 10)
    readings = {
        channel.name: Readings(
            channel.name,
            time_ns,
            time_ns - 1,
            np.zeros_like(time_ns),
            (time_ns * 1e-8 if channel.method == "counter" else np.full(len(time_ns), 10.0)).astype(np.float64),
        )
        for channel in channels
    }
    host = Host(name="virtual machine", system="virtual", cpu="virtual CPU")
    recording = Recording(0, END_NS, tuple(channels), readings, (), (), (), (), host, virtual=True)
    found = sources_of(recording, Block(1, SECOND, END_NS - SECOND))
    return {each.domain: sorted(curve.channel.name for curve in each.curves) for each in found.domains}


@pytest.fixture
def cray(tmp_path):
    return CrayProbe(cray_tree(tmp_path / "cray", CRAY).root)


@pytest.fixture
def rapl(tmp_path):
    def make(*packages, **options):
        tree = powercap_tree(tmp_path / "powercap", packages or (PowercapPackage(),), **options)
        return RaplProbe(tree.root, host_root=tmp_path / "host", opener=tree.opener)

    return make


def test_the_module_rail_of_a_jetson_is_the_node_and_no_total_of_its_parts(tmp_path):
    rails = {"VDD_IN": (5000, 4000), "VDD_GPU": (5000, 1500), "VDD_CPU": (5000, 500)}
    assert used([JetsonProbe(jetson_tree(tmp_path, rails).root)]) == {
        "gpu": ["gpu-jetson-VDD_GPU/rail"],
        "cpu": ["cpu-jetson-VDD_CPU/rail"],
        "node": ["node-jetson-VDD_IN/rail"],
    }


def test_grace_counts_its_rails_as_the_cpu_and_only_the_module_as_the_node(tmp_path):
    labels = [f"{kind} Power Socket {socket}" for kind in ("Module", "Grace", "CPU", "SysIO") for socket in (0, 1)]
    tree = grace_tree(tmp_path, dict.fromkeys(labels, 10.0))
    assert used([GraceProbe(tree.root)]) == {
        "cpu": ["cpu-0/package", "cpu-0/sysio", "cpu-1/package", "cpu-1/sysio"],
        "node": ["node-0/module-0", "node-0/module-1"],
    }


def test_a_cray_with_grace_modules_counts_cpus_and_node_once(tmp_path, cray):
    labels = [f"{kind} Power Socket {socket}" for kind in ("Module", "CPU", "SysIO") for socket in (0, 1)]
    grace = GraceProbe(grace_tree(tmp_path / "hwmon", dict.fromkeys(labels, 10.0)).root)
    assert used([grace, cray]) == {
        "cpu": ["cpu-0/package", "cpu-0/sysio", "cpu-1/package", "cpu-1/sysio"],
        "ram": ["ram-cray/all"],
        "node": ["node-0/cray"],
    }


def test_a_cray_with_readable_rapl_takes_cpu_and_memory_from_rapl(cray, rapl):
    both = rapl(PowercapPackage(0), PowercapPackage(1))
    assert used([cray, both]) == {
        "cpu": ["cpu-0/package", "cpu-1/package"],
        "ram": ["cpu-0/dram", "cpu-1/dram"],
        "node": ["node-0/cray"],
    }


def test_a_cray_whose_rapl_is_denied_takes_them_from_its_own_counters(cray, rapl):
    zones = ("package-0", "package-0/core", "package-0/dram")
    assert used([cray, rapl(denied=zones)]) == {
        "cpu": ["cpu-cray/all"],
        "ram": ["ram-cray/all"],
        "node": ["node-0/cray"],
    }


def test_the_package_of_an_intel_gpu_is_not_added_to_its_card(tmp_path):
    tree = intel_gpu_tree(tmp_path, {"card": 0.0, "pkg": 0.0})
    assert used([IntelGpuProbe(tree.root / "hwmon")]) == {"gpu": ["gpu-0000:03:00.0/board"]}
