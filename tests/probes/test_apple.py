"""Apple silicon against a small object with zeus_apple_silicon's monitor."""

from importlib.util import find_spec

import pytest

from wattvlm.errors import ProbeLost, ProbeRetry, ProbeUnavailable
from wattvlm.probes.apple import AppleProbe
from wattvlm.sensing import Sensors
from wattvlm.testing.vendor_libraries import VirtualAppleMetrics, VirtualAppleSilicon


def mac(metrics=None, **options):
    library = VirtualAppleSilicon(metrics or VirtualAppleMetrics(), **options)
    return library, AppleProbe(library, system="darwin", machine="arm64")


def by_name(probe):
    return {channel.name: channel for channel in probe.open().channels}


def test_millijoules_become_joules_each_of_its_own_part():
    library, probe = mac()
    channels = by_name(probe)
    library.metrics = VirtualAppleMetrics(1000, 2500, 10, 300, 40)
    parts = [channel for channel in channels.values() if channel.contained_in is None]
    joules = {channel.domain: probe.read(channel)[0].energy_j for channel in parts}
    assert joules == pytest.approx({"cpu": 1.0, "gpu": 2.5, "ram": 0.3, "soc": 0.04})


def test_the_gpus_sram_is_not_counted_twice_inside_the_gpu():
    _, probe = mac()
    assert by_name(probe)["gpu-apple/sram"].contained_in == "gpu-apple/gpu"


def test_a_part_that_this_mac_does_not_count_is_no_channel_not_zero():
    _, probe = mac(VirtualAppleMetrics(dram_mj=None, gpu_sram_mj=None))
    assert by_name(probe).keys() == {"cpu-apple/cores", "gpu-apple/gpu", "soc-apple/neural-engine"}


@pytest.mark.parametrize(("system", "machine"), [("linux", "aarch64"), ("linux", "x86_64"), ("darwin", "x86_64")])
def test_any_other_machine_is_not_mentioned(system, machine):
    assert AppleProbe(object(), system=system, machine=machine).open() == Sensors(())


def test_a_mac_that_refuses_is_unavailable_with_what_to_try():
    _, probe = mac(why_not="Failed to create IOReport subscription.")
    with pytest.raises(ProbeUnavailable, match="IOReport") as raised:
        probe.open()
    assert "zeus-apple-silicon" in raised.value.remedy


@pytest.mark.skipif(find_spec("zeus_apple_silicon") is not None, reason="zeus-apple-silicon is installed")
def test_a_mac_without_the_package_is_told_its_name():
    probe = AppleProbe(system="darwin", machine="arm64")
    with pytest.raises(ProbeUnavailable, match="cannot be imported") as raised:
        probe.open()
    assert raised.value.remedy == "pip install zeus-apple-silicon"


def test_a_read_that_fails_is_a_gap():
    library, probe = mac()
    channel = by_name(probe)["gpu-apple/gpu"]
    library.metrics = VirtualAppleMetrics(gpu_mj=None)
    with pytest.raises(ProbeRetry):
        probe.read(channel)
    library.why_not = "no sample"
    with pytest.raises(ProbeRetry):
        probe.read(channel)


def test_a_read_after_closing_is_lost_not_zero():
    _, probe = mac()
    channel = by_name(probe)["gpu-apple/gpu"]
    probe.close()
    with pytest.raises(ProbeLost):
        probe.read(channel)
