"""`docs/sensors.md`: a table of all sensors, made from their channels on the virtual hardware of the tests.

python -m docs.sensors            # writes docs/sensors.md
python -m docs.sensors --check    # exit code 1 where the file says something else
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from wattvlm.probes._rapl_socket import can_be_used
from wattvlm.probes.amdsmi import AmdSmiProbe
from wattvlm.probes.apple import AppleProbe
from wattvlm.probes.cray import CrayProbe
from wattvlm.probes.grace import GraceProbe
from wattvlm.probes.intel_gpu import IntelGpuProbe
from wattvlm.probes.jetson import JetsonProbe
from wattvlm.probes.nvml import NvmlProbe
from wattvlm.probes.perf_rapl import PerfRaplProbe
from wattvlm.probes.rapl import RaplProbe
from wattvlm.probes.rapl_service import RaplServiceProbe
from wattvlm.rapl_service import RaplService, listening
from wattvlm.sensing import Channel, Probe
from wattvlm.testing.machine import FakeClock
from wattvlm.testing.sysfs import (
    PowercapPackage,
    amd_tree,
    cray_tree,
    grace_tree,
    intel_gpu_tree,
    jetson_tree,
    perf_tree,
    powercap_tree,
)
from wattvlm.testing.vendor_libraries import (
    VirtualAmdGpu,
    VirtualAmdSmi,
    VirtualAppleMetrics,
    VirtualAppleSilicon,
    VirtualCounters,
)
from wattvlm.units import format_j, format_ns, format_w

PAGE = Path(__file__).with_name("sensors.md")
CHECKED_ON = "contract-tested on virtual hardware"

HEAD = f"""# Sensors

Made by `python -m docs.sensors` from the sensors' own channels; each channel's `source` says where each fact is from.

Every sensor here is **{CHECKED_ON}**: folders as a driver writes them, or a small object in the place of the
vendor's library. For NVML there is also a C library built from NVIDIA's header, which the real `pynvml` loads. None of
these rows was compared with a meter on silicon. "unknown" is what no source says and the driver does not show.

A channel is added to its own domain's total only. One that lies *inside* another is not added beside it. The domain
`node` (a whole machine, module or socket with memory) enters no total of GPU, CPU or RAM. On a machine without a sign
of a device nothing is said of it; where there is a sign and it cannot be read, it is listed as absent with the cure.

Where no sensor measures CPU or RAM they are modelled from load and size (`cpu_model`, `ram_model`): no sensors, and
always marked as modelled.

"""

COLUMNS = (
    "Channel", "Sensor", "Domain", "Method", "Inside", "Nominal period", "Resolution", "Gain (1 sigma)", "Privileges",
    "Checked on",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """One sensor's file, who may read it, and how it is made on virtual hardware in a folder."""

    module: str
    title: str
    privileges: str
    make: Callable[[Path], Probe]


class _Nvml:
    """One GPU with an energy counter and stamped power, by pynvml's names."""

    class NVMLError(Exception):
        """Never raised here."""

    @staticmethod
    def nvmlInit() -> None: ...

    @staticmethod
    def nvmlShutdown() -> None: ...

    @staticmethod
    def nvmlDeviceGetCount() -> int:
        return 1

    @staticmethod
    def nvmlDeviceGetHandleByIndex(index: int) -> int:
        return index

    @staticmethod
    def nvmlDeviceGetUUID(_gpu: int) -> str:
        return "GPU-<uuid>"

    @staticmethod
    def nvmlDeviceGetName(_gpu: int) -> str:
        return "Virtual GPU"

    @staticmethod
    def nvmlDeviceGetMigMode(_gpu: int) -> tuple[int, int]:
        return 0, 0

    @staticmethod
    def nvmlDeviceGetTotalEnergyConsumption(_gpu: int) -> int:
        return 0

    @staticmethod
    def nvmlDeviceGetFieldValues(_gpu: int, _wanted: object) -> list[SimpleNamespace]:
        return [SimpleNamespace(nvmlReturn=0, valueType=1, timestamp=1, value=SimpleNamespace(uiVal=0))]


def _nvml(_folder: Path) -> Probe:
    return NvmlProbe(_Nvml, FakeClock(), {})


def _rapl(folder: Path) -> Probe:
    package = PowercapPackage(parts=("core", "uncore", "dram"))
    root = powercap_tree(folder / "powercap", [package], psys=True).root
    return RaplProbe(root, host_root=folder / "host", service=None)


def _perf_rapl(folder: Path) -> Probe:
    tree = perf_tree(folder, events=("pkg", "cores", "gpu", "ram", "psys"))
    counters = VirtualCounters()
    return PerfRaplProbe(tree.root / "pmu", powercap_roots=(), cpus=tree.root / "cpus", counters=counters)


def _rapl_service(folder: Path) -> Probe:
    """The sensor beside a service, which ends when its folder is removed."""
    path = folder / "rapl.sock"

    def serve() -> None:
        with listening(path, None) as listener, closing(RaplService(_rapl(folder), listener)) as service:
            service.open()
            service.serve_until(lambda: not path.exists())

    threading.Thread(target=serve).start()
    while not can_be_used(path):
        time.sleep(0.01)
    return RaplServiceProbe(path, powercap_roots=())


def _amdsmi(folder: Path) -> Probe:
    clock = FakeClock()
    frozen = VirtualAmdGpu(uuid="GPU-<other uuid>", unit_factor=0.0)
    library = VirtualAmdSmi([VirtualAmdGpu(uuid="GPU-<uuid>"), frozen], clock)
    return AmdSmiProbe(library, clock, amd_tree(folder).root, {})


def _intel_gpu(folder: Path) -> Probe:
    return IntelGpuProbe(intel_gpu_tree(folder, {"card": 0.0, "pkg": 0.0}).root / "hwmon")


def _jetson(folder: Path) -> Probe:
    labels = ("VDD_IN", "VDD_GPU_SOC", "VDD_CPU_CV", "VDD_CPU_GPU_CV", "VDD_SOC", "VDDRQ")
    return JetsonProbe(jetson_tree(folder, dict.fromkeys(labels, (5000, 100)), interval_ms=None).root)


def _grace(folder: Path) -> Probe:
    kinds = ("Module", "Grace", "CPU", "SysIO")
    return GraceProbe(grace_tree(folder, {f"{kind} Power Socket 0": 50.0 for kind in kinds}).root)


def _cray(folder: Path) -> Probe:
    names = ("energy", "cpu_energy", "memory_energy", "accel0_energy")
    return CrayProbe(cray_tree(folder, dict.fromkeys(names, 0.0)).root)


def _apple(_folder: Path) -> Probe:
    return AppleProbe(VirtualAppleSilicon(VirtualAppleMetrics()), system="darwin", machine="arm64")


ENTRIES: Sequence[Entry] = (
    Entry("nvml", "NVIDIA GPUs (`nvidia-ml-py`)", "any user", _nvml),
    Entry("amdsmi", "AMD GPUs (`pip install amdsmi`)", "groups render, video", _amdsmi),
    Entry("intel_gpu", "Intel GPUs (hwmon of i915 and xe)", "any user (assumed)", _intel_gpu),
    Entry("rapl", "Intel and AMD CPUs, memory (powercap)", "root, or a udev rule", _rapl),
    Entry(
        "perf_rapl",
        "RAPL through perf, where powercap cannot be read",
        "CAP_PERFMON, or perf_event_paranoid at most 0",
        _perf_rapl,
    ),
    Entry("rapl_service", "RAPL through a service of root", "the socket's group", _rapl_service),
    Entry("grace", "NVIDIA Grace (ACPI power meters)", "any user (assumed)", _grace),
    Entry("jetson", "NVIDIA Jetson (INA3221 rails)", "any user (assumed)", _jetson),
    Entry("apple", "Apple silicon (`pip install zeus-apple-silicon`)", "any user", _apple),
    Entry("cray", "HPE Cray nodes (pm_counters)", "any user (assumed)", _cray),
)


def page() -> str:
    """The text of docs/sensors.md."""
    return HEAD + "\n\n".join(_section(entry) for entry in ENTRIES) + "\n"


def _section(entry: Entry) -> str:
    rows = [COLUMNS, tuple("---" for _ in COLUMNS), *_rows(entry)]
    return f"## {entry.title}: `probes/{entry.module}.py`\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _rows(entry: Entry) -> Iterator[tuple[str, ...]]:
    with tempfile.TemporaryDirectory() as folder, closing(entry.make(Path(folder))) as probe:
        for channel in probe.open().channels:
            yield (
                f"`{channel.name}`",
                channel.sensor,
                channel.domain,
                channel.method,
                f"`{channel.contained_in}`" if channel.contained_in else "",
                "unknown until observed" if channel.update_period_ns is None else format_ns(channel.update_period_ns),
                _resolution(channel),
                f"{channel.gain_std_fraction * 100:g} %",
                entry.privileges,
                CHECKED_ON,
            )


def _resolution(channel: Channel) -> str:
    if channel.resolution_j is not None:
        return format_j(channel.resolution_j, 3)
    return "unknown" if channel.resolution_w is None else format_w(channel.resolution_w)


def main(arguments: Sequence[str]) -> int:
    """Writes the page; with --check compares it only. Gives the exit code."""
    if "--check" in arguments:
        return int(PAGE.read_text(encoding="utf-8") != page())
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
