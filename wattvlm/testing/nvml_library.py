"""A virtual `libnvidia-ml.so.1`, built on this machine: GPUs with known joules for the real pynvml, no GPU needed.

    library = VirtualNvml(folder, [VirtualGpu(load=folder / "gpu0.load")])
    library.build()
    append_load(folder / "gpu0.load", [(time.monotonic_ns(), 300.0)])
    subprocess.run([sys.executable, "program.py"], env=library.environment())

It is compiled by the system's C compiler against NVIDIA's own nvml.h (`pip install nvidia-nvml-dev`), since a fake
written in Python would repeat our own idea of the interface. A process that has already loaded another NVML keeps it.
"""

from __future__ import annotations

import functools
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wattvlm.units import HZ_PER_MHZ, J_PER_MILLIJOULE, W_PER_MILLIWATT

LIBRARY = "libnvidia-ml.so.1"
CONFIGURATION = "virtual_nvml.conf"
STATE = "virtual_nvml.state"
STATE_RECORD = struct.Struct("<qqq")
"""What was set of one GPU: its power limit in mW, and the least and most MHz of its core clock; 0 is nothing set."""

LOAD_RECORD = struct.Struct("<qd")
"""One record of a load file: CLOCK_MONOTONIC nanoseconds, and the watts drawn from then on."""

POWER_CAP, POWER_BRAKE, HEAT = 0x4, 0x80, 0x20
"""Reasons for lowered clocks (nvml.h, nvmlClocksEventReasons), for `VirtualGpu.reasons`."""

FOREVER_NS = 2**62
MEMORY_CLOCK_MHZ = 2619

_SOURCE = Path(__file__).with_name("virtual_nvml.c")
_PPM = 1_000_000


@dataclass(frozen=True, slots=True)
class VirtualProcess:
    """A process that computes on a virtual GPU between two CLOCK_MONOTONIC times, with this part of its SMs."""

    pid: int
    sm_fraction: float = 0.0
    name: str = "python"
    from_ns: int = 0
    to_ns: int = FOREVER_NS


@dataclass(frozen=True, slots=True)
class VirtualGpu:
    """One GPU of the virtual library; the defaults are those of an H100 PCIe as far as they are known.

    load: file with its power over time (see `append_load`); it draws idle_w before the first record and without one.
    gain: what its sensors show for each true watt or joule (1.0 is an exact board).
    counter_*, power_*: when the energy counter and the power reading change: each period from CLOCK_MONOTONIC zero plus
        phase, each tick moved by at most the jitter (under half a period), the same way in each process.
    has_samples: the driver keeps a buffer of its last 120 power updates (nvmlDeviceGetSamples).
    instant_window_ns, average_window_ns: how far back each power is averaged; 0 is the power at the tick.
    usage: what nvmlDeviceGetPowerUsage shows, "average" or "instant"; None where the call is not supported.
    module_scope_only: power fields answer for the whole module only, as Grace Hopper's may. memory_power_fraction: the
        part of the power that its memory's scope shows; 0 where the driver does not tell it.
    denied: energy and power are NO_PERMISSION. latency_ns: how long each call takes.
    lost_at_ns, reload_at_ns: CLOCK_MONOTONIC time when the GPU is lost, or its counter starts again from zero.
    unknown_ns: from when to when each call fails with UNKNOWN; flaky_fraction: how many calls do at any time.
    stuck_ns: from when to when its counter stands still. falls_at_ns, falls_by_j: when and how far its counter goes
        back. power_noise_w: each power is off by at most this.
    instances: UUIDs ("MIG-...") of its MIG instances; having any turns MIG mode on.
    processes: who computes on it. reasons: (from ns, to ns, NVML's bits) for which its clocks are lowered.
    core_clock_hz, later_core_clock_hz: its clock while it draws more than idle_w, before and from clock_changes_at_ns;
        idle_core_clock_hz otherwise. later_limit_w: its power limit from limit_changes_at_ns.
    has_conditions: False answers NOT_SUPPORTED to all of these.
    may_set: whether power limits and clocks may be set, as for root; else NO_PERMISSION. clocks_hz: the core clocks
        that it supports, none where clocks cannot be locked. What is set stays (see `VirtualNvml.setting`), and the
        power of the load file is the caller's: `wattvlm.testing.CappedChip` says what a chip draws that obeys.
    """

    uuid: str = "GPU-00000000-0000-0000-0000-000000000000"
    name: str = "Virtual H100 PCIe"
    load: Path | None = None
    idle_w: float = 60.0
    limit_w: float = 350.0
    min_limit_w: float = 200.0
    max_limit_w: float = 350.0
    memory_bytes: int = 80 * 2**30
    architecture: int = 9
    gain: float = 1.0
    has_counter: bool = True
    has_fields: bool = True
    has_samples: bool = False
    counter_period_ns: int = 100_000_000
    counter_phase_ns: int = 0
    counter_jitter_ns: int = 0
    power_period_ns: int = 100_000_000
    power_phase_ns: int = 0
    power_jitter_ns: int = 0
    instant_window_ns: int = 25_000_000
    average_window_ns: int = 1_000_000_000
    usage: str | None = "average"
    module_scope_only: bool = False
    memory_power_fraction: float = 0.0
    denied: bool = False
    latency_ns: int = 0
    lost_at_ns: int | None = None
    reload_at_ns: int | None = None
    unknown_ns: tuple[int, int] | None = None
    flaky_fraction: float = 0.0
    stuck_ns: tuple[int, int] | None = None
    falls_at_ns: int | None = None
    falls_by_j: float = 0.0
    power_noise_w: float = 0.0
    instances: tuple[str, ...] = ()
    processes: tuple[VirtualProcess, ...] = ()
    reasons: tuple[tuple[int, int, int], ...] = ()
    core_clock_hz: float = 1.755e9
    later_core_clock_hz: float = 1.755e9
    idle_core_clock_hz: float = 0.345e9
    clock_changes_at_ns: int | None = None
    celsius: float = 45.0
    later_limit_w: float = 350.0
    limit_changes_at_ns: int | None = None
    has_conditions: bool = True
    may_set: bool = True
    clocks_hz: tuple[float, ...] = tuple(HZ_PER_MHZ * mhz for mhz in range(1980, 195, -105))


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether the library can be built here (truth value), and why not, with the cure ("" where it can)."""

    why_not: str

    def __bool__(self) -> bool:
        return not self.why_not


class VirtualNvml:
    """A folder with the library and what it is told to be.

    init_delay_ns: how long nvmlInit takes. driver_loaded: False gives DRIVER_NOT_LOADED.
    """

    def __init__(
        self,
        folder: Path,
        devices: Sequence[VirtualGpu],
        *,
        init_delay_ns: int = 0,
        driver_loaded: bool = True,
        driver_version: str = "virtual",
    ) -> None:
        self.folder = folder
        self.devices = tuple(devices)
        self._driver: dict[str, int | str] = {
            "init_delay_ns": init_delay_ns,
            "driver_loaded": int(driver_loaded),
            "driver_version": driver_version,
        }

    @staticmethod
    def available() -> Availability:
        """Whether `build` can work on this machine, and why not."""
        if sys.platform != "linux":
            return Availability("a virtual libnvidia-ml.so.1 needs Linux")
        if _compiler() is None:
            return Availability("there is no C compiler; install gcc or clang")
        if _header_folder() is None:
            return Availability("there is no nvml.h; pip install nvidia-nvml-dev")
        return Availability("")

    def build(self) -> Path:
        """Writes library and configuration into the folder; gives the library's path. RuntimeError where it cannot."""
        available = self.available()
        if not available:
            raise RuntimeError(f"the virtual NVML cannot be built: {available.why_not}")
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = [f"{key} {value}" for key, value in self._driver.items()]
        for device in self.devices:
            lines += [f"device {device.uuid}", *(f"{key} {value}" for key, value in _settings(device))]
        (self.folder / STATE).unlink(missing_ok=True)
        (self.folder / CONFIGURATION).write_text("\n".join(lines) + "\n")
        library = self.folder / LIBRARY
        library.write_bytes(_compiled())
        return library

    def setting(self, index: int = 0) -> tuple[float, float | None]:
        """(watts of a GPU's power limit, Hz that its core clock is locked to at most or None) at this moment."""
        file = self.folder / STATE
        kept = file.read_bytes()[index * STATE_RECORD.size :] if file.exists() else b""
        limit_mw, _, most_mhz = STATE_RECORD.unpack_from(kept) if len(kept) >= STATE_RECORD.size else (0, 0, 0)
        limit_w = limit_mw * W_PER_MILLIWATT if limit_mw else self.devices[index].limit_w
        return limit_w, most_mhz * HZ_PER_MHZ if most_mhz else None

    def environment(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """Environment variables (`base` or this process's, changed) with which a program finds this library first."""
        environment = dict(os.environ if base is None else base)
        others = environment.get("LD_LIBRARY_PATH")
        environment["LD_LIBRARY_PATH"] = f"{self.folder}:{others}" if others else str(self.folder)
        return environment


def append_load(file: Path, steps: Iterable[tuple[int, float]]) -> None:
    """Adds (CLOCK_MONOTONIC ns, watts from then on) to a load file; times must not go back.

    Give steps before their time comes, since a tick that has been shown is not taken back.
    """
    with file.open("ab") as stream:
        stream.write(b"".join(LOAD_RECORD.pack(time_ns, power_w) for time_ns, power_w in steps))


def _settings(gpu: VirtualGpu) -> Iterable[tuple[str, int | str]]:
    """The configuration lines of one GPU: whole numbers only, which no locale reads otherwise."""
    yield "name", gpu.name
    if gpu.load is not None:
        yield "load", str(gpu.load.resolve())
    for key in ("idle", "limit", "min_limit", "max_limit", "later_limit"):
        yield f"{key}_mw", round(getattr(gpu, f"{key}_w") / W_PER_MILLIWATT)
    for key in (
        *("counter_period_ns", "counter_phase_ns", "counter_jitter_ns"),
        *("power_period_ns", "power_phase_ns", "power_jitter_ns", "instant_window_ns", "average_window_ns"),
        *(
            "memory_bytes",
            "architecture",
            "has_counter",
            "has_fields",
            "has_samples",
            "module_scope_only",
            "denied",
            "latency_ns",
        ),
    ):
        yield key, int(getattr(gpu, key))
    yield "gain_ppm", round((gpu.gain - 1.0) * _PPM)
    yield "has_usage", int(gpu.usage is not None)
    yield "usage_is_average", int(gpu.usage == "average")
    yield "mig", int(bool(gpu.instances))
    yield from (("instance", uuid) for uuid in gpu.instances)
    yield from _state(gpu)
    yield from _faults(gpu)


def _state(gpu: VirtualGpu) -> Iterable[tuple[str, int | str]]:
    for each in gpu.processes:
        yield "process", f"{each.from_ns} {each.to_ns} {each.pid} {round(100 * each.sm_fraction)} {each.name}"
    for from_ns, to_ns, mask in gpu.reasons:
        yield "reason", f"{from_ns} {to_ns} {mask}"
    for key in ("core_clock", "later_core_clock", "idle_core_clock"):
        yield f"{key}_mhz", round(getattr(gpu, f"{key}_hz") / HZ_PER_MHZ)
    yield "temperature_c", round(gpu.celsius)
    yield "has_conditions", int(gpu.has_conditions)
    yield "may_set", int(gpu.may_set)
    yield "memory_clock_mhz", MEMORY_CLOCK_MHZ
    yield from (("clock_mhz", round(clock_hz / HZ_PER_MHZ)) for clock_hz in gpu.clocks_hz)
    yield "clock_changes_at_ns", gpu.clock_changes_at_ns or 0
    yield "limit_changes_at_ns", gpu.limit_changes_at_ns or 0


def _faults(gpu: VirtualGpu) -> Iterable[tuple[str, int | str]]:
    for key in ("lost_at_ns", "reload_at_ns", "falls_at_ns"):
        yield key, getattr(gpu, key) or 0
    for key in ("unknown", "stuck"):
        from_ns, to_ns = getattr(gpu, f"{key}_ns") or (0, 0)
        yield from ((f"{key}_from_ns", from_ns), (f"{key}_to_ns", to_ns))
    yield "memory_ppm", round(gpu.memory_power_fraction * _PPM)
    yield "flaky_ppm", round(gpu.flaky_fraction * _PPM)
    yield "falls_by_mj", round(gpu.falls_by_j / J_PER_MILLIJOULE)
    yield "noise_mw", round(gpu.power_noise_w / W_PER_MILLIWATT)


def _compiler() -> str | None:
    return next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)


@functools.cache
def _header_folder() -> Path | None:
    """Where nvml.h is: in the installed package nvidia-nvml-dev, else where a CUDA toolkit puts it."""
    from importlib.metadata import PackageNotFoundError, files

    try:
        packaged = [Path(str(file.locate())) for file in files("nvidia-nvml-dev") or () if file.name == "nvml.h"]
    except PackageNotFoundError:
        packaged = []
    places = [*packaged, Path("/usr/local/cuda/include/nvml.h"), Path("/usr/include/nvml.h")]
    return next((place.parent for place in places if place.is_file()), None)


@functools.cache
def _compiled() -> bytes:
    """The library's bytes; it is compiled once a process."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / LIBRARY
        command = [
            *(str(_compiler()), "-std=gnu11", "-O2", "-shared", "-fPIC", "-fvisibility=hidden"),
            *(f"-I{_header_folder()}", f"-Wl,-soname,{LIBRARY}", "-o", str(library), str(_SOURCE)),
            *("-ldl", "-lpthread"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"the virtual NVML did not compile: {done.stderr.strip()}")
        return library.read_bytes()
