"""The real pynvml, in a process of its own, reads the virtual libnvidia-ml.so.1: its joules are the known integral."""

import json
import subprocess
import sys
import time
from itertools import pairwise

import pytest

from wattvlm.testing import nvml_library
from wattvlm.testing.nvml_library import VirtualGpu, VirtualNvml, append_load

pytestmark = pytest.mark.skipif(
    not VirtualNvml.available(), reason=VirtualNvml.available().why_not or "the virtual NVML can be built"
)

MS = 1_000_000
PERIOD = 100 * MS
HOUR = 3_600_000 * MS
IDLE_W = 60.0

PRELUDE = """
import json, sys, time
from pynvml import *

def code(call, *arguments):
    try:
        call(*arguments)
    except NVMLError as error:
        return error.value
    return 0

nvmlInit()
gpu = nvmlDeviceGetHandleByIndex(0)
"""


@pytest.fixture
def build(tmp_path):
    """Builds a library for some GPUs; gives a function that runs Python code with it and returns what it prints."""

    def make(*gpus, **driver):
        library = VirtualNvml(tmp_path / "lib", gpus or (VirtualGpu(),), **driver)
        library.build()

        def run(code, prelude=PRELUDE):
            done = subprocess.run(
                [sys.executable, "-c", prelude + code], env=library.environment(), capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout)

        return run

    return make


def square_wave(load, from_ns, steps=400, half_ns=37 * MS, high_w=330.0, low_w=90.0):
    """A load of alternating powers from a moment on, well past the end of the test; the same for us to integrate."""
    curve = [(from_ns + i * half_ns, high_w if i % 2 == 0 else low_w) for i in range(steps)]
    append_load(load, curve)
    return curve


def integral_j(curve, until_ns):
    """Joules from CLOCK_MONOTONIC zero; idle before the first step."""
    energy_j, last_ns, power_w = 0.0, 0, IDLE_W
    for time_ns, step_w in curve:
        if time_ns > until_ns:
            break
        energy_j += power_w * (time_ns - last_ns) * 1e-9
        last_ns, power_w = time_ns, step_w
    return energy_j + power_w * (until_ns - last_ns) * 1e-9


def mean_w(curve, end_ns, window_ns):
    return (integral_j(curve, end_ns) - integral_j(curve, end_ns - window_ns)) / (window_ns * 1e-9)


def one_tick_at(tick_ns, **facts):
    """A GPU whose sensors tick then, and not again while a test runs."""
    return VirtualGpu(
        counter_phase_ns=tick_ns, power_phase_ns=tick_ns, counter_period_ns=HOUR, power_period_ns=HOUR, **facts
    )


def test_the_counter_shows_in_millijoules_the_exact_integral_up_to_its_last_tick(build, tmp_path):
    load = tmp_path / "load"
    curve = square_wave(load, time.monotonic_ns() - 2_000 * MS)
    reads = build(VirtualGpu(load=load))("""
reads = []
for _ in range(12):
    before = time.monotonic_ns()
    energy = nvmlDeviceGetTotalEnergyConsumption(gpu)
    reads.append((before, time.monotonic_ns(), energy))
    time.sleep(0.03)
print(json.dumps(reads))
""")
    assert len({energy_mj for _, _, energy_mj in reads}) >= 3
    for before_ns, after_ns, energy_mj in reads:
        possible_mj = [integral_j(curve, now_ns // PERIOD * PERIOD) * 1e3 for now_ns in (before_ns, after_ns)]
        assert possible_mj[0] - 1.01 <= energy_mj <= possible_mj[1] + 0.01


def test_the_probe_reads_it_through_the_real_pynvml_to_the_joule(build, tmp_path):
    load = tmp_path / "load"
    curve = square_wave(load, time.monotonic_ns() - 500 * MS)
    run = build(VirtualGpu(uuid="GPU-one", load=load), VirtualGpu(uuid="GPU-two", idle_w=75.0))
    names, reads = run(
        """
import json, time
from wattvlm.probes.nvml import PROBE
probe = PROBE()
channels = probe.open().channels
counter = next(channel for channel in channels if channel.name == "gpu-one/board")
reads = []
for _ in range(2):
    (reading,) = probe.read(counter)
    reads.append((reading.unchanged_at_ns, reading.time_ns, reading.energy_j))
    time.sleep(0.25)
probe.close()
print(json.dumps([[channel.name for channel in channels], reads]))
""",
        prelude="",
    )
    assert names == ["gpu-one/board", "gpu-one/instant", "gpu-two/board", "gpu-two/instant"]
    for before_ns, after_ns, energy_j in reads:
        possible_j = [integral_j(curve, now_ns // PERIOD * PERIOD) for now_ns in (before_ns, after_ns)]
        assert possible_j[0] - 0.00101 <= energy_j <= possible_j[1] + 0.00001


def test_a_load_that_grows_while_it_is_read_is_followed(build, tmp_path):
    load = tmp_path / "load"
    now_ns = time.monotonic_ns()
    append_load(load, [(now_ns - 3_000 * MS, 100.0)])
    first, second = build(VirtualGpu(load=load))(f"""
import struct
def power():
    value = nvmlDeviceGetFieldValues(gpu, [(NVML_FI_DEV_POWER_INSTANT, NVML_POWER_SCOPE_GPU)])[0]
    return value.value.uiVal
first = power()
with open({str(load)!r}, "ab") as stream:
    stream.write(struct.pack("<qd", {now_ns - 2_000 * MS}, 250.0) + bytes(5))
print(json.dumps([first, power()]))
""")
    assert (first, second) == (100_000, 250_000)


def test_instant_and_average_power_are_the_means_over_their_windows_at_the_stamped_tick(build, tmp_path):
    load = tmp_path / "load"
    curve = square_wave(load, time.monotonic_ns() - 3_000 * MS)
    tick_ns = time.monotonic_ns() - 500 * MS
    wall_ahead_ns, instant, average, usage_mw = build(one_tick_at(tick_ns, load=load))("""
ahead = max(time.time_ns() - time.monotonic_ns() for _ in range(20))  # a stall between the two takes from it
items = nvmlDeviceGetFieldValues(gpu, [(NVML_FI_DEV_POWER_INSTANT, 0), (NVML_FI_DEV_POWER_AVERAGE, 0)])
shown = [(item.nvmlReturn, item.value.uiVal, item.timestamp * 1000) for item in items]
print(json.dumps([ahead, *shown, nvmlDeviceGetPowerUsage(gpu)]))
""")
    for (code, power_mw, stamp_ns), window_ns in ((instant, 25 * MS), (average, 1000 * MS)):
        assert code == 0
        assert abs(stamp_ns - wall_ahead_ns - tick_ns) < 2 * MS
        assert power_mw == pytest.approx(mean_w(curve, tick_ns, window_ns) * 1e3, abs=1.0)
    assert usage_mw == average[1] != instant[1]


def test_a_power_tick_has_the_same_stamp_each_time_it_is_read(build):
    stamps_us = build(one_tick_at(time.monotonic_ns() - 500 * MS))("""
items = [nvmlDeviceGetFieldValues(gpu, [NVML_FI_DEV_POWER_INSTANT])[0].timestamp for _ in range(5)]
print(json.dumps(items))
""")
    assert len(set(stamps_us)) == 1


def test_the_driver_keeps_a_buffer_of_power_ticks_and_gives_only_newer_ones(build, tmp_path):
    load = tmp_path / "load"
    curve = square_wave(load, time.monotonic_ns() - 14_000 * MS, steps=800)
    ahead_ns, samples, newer, none = build(VirtualGpu(load=load, power_period_ns=20 * MS, has_samples=True))("""
ahead = max(time.time_ns() - time.monotonic_ns() for _ in range(20))  # a stall between the two takes from it
kind, samples = nvmlDeviceGetSamples(gpu, NVML_TOTAL_POWER_SAMPLES, 0)
_, newer = nvmlDeviceGetSamples(gpu, NVML_TOTAL_POWER_SAMPLES, samples[-3].timeStamp)
assert kind == NVML_VALUE_TYPE_UNSIGNED_INT
none = code(nvmlDeviceGetSamples, gpu, NVML_TOTAL_POWER_SAMPLES, 2**62)
shown = lambda found: [(sample.timeStamp * 1000, sample.sampleValue.uiVal) for sample in found]
print(json.dumps([ahead, shown(samples), shown(newer), none]))
""")
    assert len(samples) == 120
    assert newer[:2] == samples[-2:]
    assert none == 6
    for stamp_ns, power_mw in samples:
        tick_ns = round((stamp_ns - ahead_ns) / (20 * MS)) * 20 * MS
        assert power_mw == pytest.approx(mean_w(curve, tick_ns, 25 * MS) * 1e3, abs=1.0)


def test_ticks_move_by_no_more_than_the_jitter(build):
    gpu = VirtualGpu(idle_w=1000.0, counter_period_ns=10 * MS, counter_phase_ns=3 * MS, counter_jitter_ns=2 * MS)
    shown_mj = build(gpu)("""
shown = []
end = time.monotonic_ns() + 300_000_000
while time.monotonic_ns() < end:
    energy = nvmlDeviceGetTotalEnergyConsumption(gpu)
    if shown[-1:] != [energy]:
        shown.append(energy)
print(json.dumps(shown))
""")
    # at 1000 W a millijoule is a microsecond: the counter shows the time of its tick
    offsets_ms = [((energy_mj * 1e-3 - 3 + 5) % 10) - 5 for energy_mj in shown_mj]
    assert len(shown_mj) > 5
    assert max(abs(offset_ms) for offset_ms in offsets_ms) <= 2.002
    assert max(abs(offset_ms) for offset_ms in offsets_ms) > 0.2
    assert all(later > earlier for earlier, later in pairwise(shown_mj))


def test_a_board_with_a_gain_shows_every_joule_and_watt_by_that_much_more(build):
    tick_ns = time.monotonic_ns() - 500 * MS
    exact, high = one_tick_at(tick_ns, uuid="GPU-a"), one_tick_at(tick_ns, uuid="GPU-b", gain=1.05)
    exact_mj, high_mj, high_mw = build(exact, high)("""
other = nvmlDeviceGetHandleByIndex(1)
shown = [nvmlDeviceGetTotalEnergyConsumption(device) for device in (gpu, other)]
print(json.dumps([*shown, nvmlDeviceGetPowerUsage(other)]))
""")
    assert exact_mj == pytest.approx(integral_j([], tick_ns) * 1e3, abs=1.01)
    assert high_mj == pytest.approx(exact_mj * 1.05, abs=2.1)
    assert high_mw == pytest.approx(IDLE_W * 1.05 * 1e3)


def test_a_driver_reload_starts_the_counter_again_from_zero(build):
    reload_ns = time.monotonic_ns() - 1_000 * MS
    energy_mj = build(VirtualGpu(reload_at_ns=reload_ns))("print(json.dumps(nvmlDeviceGetTotalEnergyConsumption(gpu)))")
    assert energy_mj < (time.monotonic_ns() - reload_ns) * 1e-9 * IDLE_W * 1e3


@pytest.mark.parametrize(
    ("gpu", "energy", "usage", "instant"),
    [
        (VirtualGpu(has_counter=False), 3, 0, 0),
        (VirtualGpu(usage=None), 0, 3, 0),
        (VirtualGpu(has_fields=False), 0, 0, 3),
        (VirtualGpu(module_scope_only=True), 0, 0, 3),
        (VirtualGpu(denied=True), 4, 4, 4),
        (VirtualGpu(unknown_ns=(0, 2**62)), 999, 999, 999),
        (VirtualGpu(lost_at_ns=1), 15, 15, 15),
    ],
)
def test_what_a_board_refuses_it_refuses_with_the_codes_of_the_driver(build, gpu, energy, usage, instant):
    codes = build(gpu)("""
def field():
    item = nvmlDeviceGetFieldValues(gpu, [(NVML_FI_DEV_POWER_INSTANT, NVML_POWER_SCOPE_GPU)])[0]
    if item.nvmlReturn:
        raise NVMLError(item.nvmlReturn)
print(json.dumps([
    code(nvmlDeviceGetTotalEnergyConsumption, gpu), code(nvmlDeviceGetPowerUsage, gpu), code(field)]))
""")
    assert codes == [energy, usage, instant]


def test_fields_carry_a_return_code_each_and_scopes_are_told_apart(build):
    codes, limits_mw = build(VirtualGpu(module_scope_only=True))("""
wanted = [83, (191, 0), (191, 1), (186, 0), (186, 1), (185, 1), (185, 2), 1]
codes = [item.nvmlReturn for item in nvmlDeviceGetFieldValues(gpu, wanted)]
limits = [item.value.uiVal for item in nvmlDeviceGetFieldValues(gpu, [187, 188, 189, 190, 192])]
print(json.dumps([codes, limits]))
""")
    assert codes == [0, 0, 3, 3, 0, 0, 3, 3]
    assert limits_mw == [200_000, 350_000, 350_000, 350_000, 350_000]


def test_everything_else_that_a_meter_asks_is_answered(build):
    answers = build(VirtualGpu(name="Virtual H100 PCIe"), driver_version="570.86")("""
print(json.dumps([
    nvmlSystemGetDriverVersion(), nvmlDeviceGetCount(), nvmlDeviceGetName(gpu), nvmlDeviceGetIndex(gpu),
    nvmlDeviceGetPowerManagementLimit(gpu), nvmlDeviceGetPowerManagementLimitConstraints(gpu),
    nvmlDeviceGetEnforcedPowerLimit(gpu), nvmlDeviceGetMemoryInfo(gpu).total, nvmlDeviceGetUtilizationRates(gpu).gpu,
    nvmlDeviceGetArchitecture(gpu), nvmlDeviceGetMigMode(gpu), nvmlDeviceGetComputeRunningProcesses(gpu),
    nvmlDeviceGetCurrentClocksThrottleReasons(gpu)]))
""")
    assert answers[:4] == ["570.86", 1, "Virtual H100 PCIe", 0]
    assert answers[4:7] == [350_000, [200_000, 350_000], 350_000]
    assert answers[7:] == [80 * 2**30, 0, 9, [0, 0], [], 1]


def test_boards_and_their_instances_are_found_by_uuid(build):
    gpus = VirtualGpu(uuid="GPU-a", instances=("MIG-1", "MIG-2")), VirtualGpu(uuid="GPU-b")
    found = build(*gpus)("""
parent = nvmlDeviceGetDeviceHandleFromMigDeviceHandle(nvmlDeviceGetHandleByUUID("MIG-2"))
print(json.dumps([
    nvmlDeviceGetIndex(nvmlDeviceGetHandleByUUID("GPU-b")), nvmlDeviceGetUUID(parent), nvmlDeviceGetMigMode(parent),
    code(nvmlDeviceGetHandleByUUID, "GPU-c"), code(nvmlDeviceGetHandleByIndex, 2)]))
""")
    assert found == [1, "GPU-a", [1, 1], 6, 2]


def test_nvml_counts_its_starts_and_refuses_calls_before_the_first_and_after_the_last(build):
    codes = build()(
        """
import json
from pynvml import *
def code(call, *arguments):
    try:
        call(*arguments)
    except NVMLError as error:
        return error.value
    return 0
seen = [code(nvmlDeviceGetCount)]
nvmlInit()
nvmlInit()
gpu = nvmlDeviceGetHandleByIndex(0)
nvmlShutdown()
seen.append(code(nvmlDeviceGetTotalEnergyConsumption, gpu))
nvmlShutdown()
seen += [code(nvmlDeviceGetTotalEnergyConsumption, gpu), code(nvmlShutdown)]
print(json.dumps(seen))
""",
        prelude="",
    )
    assert codes == [1, 0, 1, 1]


def test_a_call_takes_as_long_as_it_is_told_to(build):
    took_ns, start_ns = build(VirtualGpu(latency_ns=3 * MS), init_delay_ns=40 * MS)("""
before = time.monotonic_ns()
nvmlDeviceGetTotalEnergyConsumption(gpu)
between = time.monotonic_ns()
nvmlInit()
print(json.dumps([between - before, time.monotonic_ns() - between]))
""")
    assert took_ns >= 3 * MS
    assert start_ns >= 40 * MS


def test_a_driver_that_is_not_loaded_ends_the_start(build):
    what = build(driver_loaded=False)(
        """
import json
from wattvlm.errors import ProbeUnavailable
from wattvlm.probes.nvml import PROBE
try:
    PROBE().open()
except ProbeUnavailable as error:
    print(json.dumps([error.what, error.remedy]))
""",
        prelude="",
    )
    assert "not loaded" in what[0]
    assert "modprobe nvidia" in what[1]


def test_the_probe_follows_cuda_visible_devices_on_the_real_pynvml(build):
    gpus = VirtualGpu(uuid="GPU-a", instances=("MIG-1",)), VirtualGpu(uuid="GPU-b"), VirtualGpu(uuid="GPU-c")
    boards = build(*gpus)(
        """
import json
from wattvlm.probes.nvml import NvmlProbe
boards = []
for wanted in ("GPU-c,0", "MIG-1", "2,-1,0"):
    probe = NvmlProbe(environ={"CUDA_VISIBLE_DEVICES": wanted})
    boards.append(sorted({channel.board for channel in probe.open().channels}))
    probe.close()
print(json.dumps(boards))
""",
        prelude="",
    )
    assert boards == [["gpu-a", "gpu-c"], ["gpu-a"], ["gpu-c"]]


def test_the_environment_puts_the_library_before_what_was_there(tmp_path):
    library = VirtualNvml(tmp_path, [VirtualGpu()])
    assert library.environment({"LD_LIBRARY_PATH": "/opt/lib"})["LD_LIBRARY_PATH"] == f"{tmp_path}:/opt/lib"
    assert library.environment({"A": "b"}) == {"A": "b", "LD_LIBRARY_PATH": str(tmp_path)}


def test_every_setting_of_a_gpu_is_one_that_the_library_knows(tmp_path):
    gpu = VirtualGpu(load=tmp_path / "load", unknown_ns=(1, 2), instances=("MIG-1",))
    VirtualNvml(tmp_path, [gpu]).build()
    written = [line.partition(" ")[0] for line in (tmp_path / nvml_library.CONFIGURATION).read_text().splitlines()]
    source = nvml_library.__file__.replace("nvml_library.py", "virtual_nvml.c")
    with open(source) as stream:
        known = stream.read()
    assert [key for key in written if f'"{key}"' not in known] == []


def test_a_machine_without_a_compiler_is_told_so():
    code = "from wattvlm.testing import VirtualNvml; print(VirtualNvml.available().why_not)"
    done = subprocess.run([sys.executable, "-c", code], env={"PATH": ""}, capture_output=True, text=True, check=True)
    assert "no C compiler" in done.stdout
