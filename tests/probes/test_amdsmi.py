"""AMD GPUs against a small object with amdsmi's functions, on a clock that the test moves."""

from importlib.util import find_spec

import pytest

from wattvlm.errors import ProbeLost, ProbeRetry, ProbeUnavailable
from wattvlm.probes.amdsmi import AmdSmiProbe
from wattvlm.sensing import Sensors
from wattvlm.testing.machine import FakeClock
from wattvlm.testing.sysfs import FileTree, amd_tree
from wattvlm.testing.vendor_libraries import VirtualAmdGpu, VirtualAmdSmi

A, B, C = "GPU-aaaa", "GPU-bbbb", "GPU-cccc"
NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND, BUSY = 2, 10, 31, 30
SECOND = 1_000_000_000


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def machine(tmp_path, clock):
    """Makes a library and a probe; each start of the library is given back."""
    made: list[tuple[VirtualAmdSmi, AmdSmiProbe]] = []

    def make(*gpus, environ=None, **options):
        library = VirtualAmdSmi(gpus, clock, **options)
        probe = AmdSmiProbe(library, clock, amd_tree(tmp_path / f"root-{len(made)}").root, environ or {})
        made.append((library, probe))
        return library, probe

    yield make
    for library, probe in made:
        probe.close()
        assert library.starts == 0


def by_name(sensors):
    return {channel.name: channel for channel in sensors.channels}


def test_ticks_times_the_resolution_are_joules(machine, clock):
    _, probe = machine(VirtualAmdGpu(uuid=A, power_w=300.0, energy_j=5000.0))
    (channel,) = probe.open().channels
    before_j = probe.read(channel)[0].energy_j
    clock.advance(10 * SECOND)
    assert (channel.name, channel.method) == ("gpu-aaaa/board", "counter")
    assert probe.read(channel)[0].energy_j - before_j == pytest.approx(3000.0, abs=1e-4)


@pytest.mark.parametrize(("factor", "words"), [(0.0, "0 W"), (1000.0, "3e+05 W"), (0.001, "0.3 W")])
def test_a_counter_that_stands_still_or_has_a_wrong_unit_is_replaced_by_power(machine, clock, factor, words):
    _, probe = machine(VirtualAmdGpu(power_w=300.0, unit_factor=factor))
    sensors = probe.open()
    (channel,) = sensors.channels
    assert channel.method == "power"
    assert words in sensors.absent[0].what
    assert probe.read(channel)[0].power_w == pytest.approx(300.0)


@pytest.mark.parametrize("factor", [0.12, 0.9, 1.0, 9.0])
def test_a_counter_that_agrees_with_power_within_a_factor_of_ten_is_kept(machine, factor):
    _, probe = machine(VirtualAmdGpu(power_w=300.0, unit_factor=factor))
    assert probe.open().channels[0].method == "counter"


def test_a_counter_is_kept_by_its_plausibility_where_no_power_is_shown(machine):
    _, probe = machine(VirtualAmdGpu(uuid=A, shown_power_w="N/A"), VirtualAmdGpu(uuid=B, socket_code=NOT_SUPPORTED))
    assert [channel.method for channel in probe.open().channels] == ["counter", "counter"]


def test_a_gpu_without_counter_and_power_is_absent_not_zero(machine):
    _, probe = machine(VirtualAmdGpu(counter_code=NOT_SUPPORTED, shown_power_w="N/A"))
    sensors = probe.open()
    assert sensors.channels == ()
    assert "the joules of this GPU are absent" in sensors.absent[0].effect


def test_a_gpu_without_a_counter_gives_its_power(machine):
    _, probe = machine(VirtualAmdGpu(counter_code=NOT_SUPPORTED, power_w=111.0))
    (channel,) = probe.open().channels
    assert (channel.method, channel.window_ns) == ("power", None)
    assert probe.read(channel)[0].power_w == pytest.approx(111.0)


def two_dies():
    return [
        VirtualAmdGpu("AMD Instinct MI250X", uuid, shown_power_w=watts, unit_factor=factor)
        for uuid, watts, factor in ((A, None, 1.0), (B, 0, 0.0))
    ]


def test_the_second_die_of_a_card_is_not_a_gpu_of_zero_joules(machine):
    _, probe = machine(*two_dies())
    sensors = probe.open()
    assert by_name(sensors).keys() == {"gpu-aaaa/board"}
    assert [absence.effect for absence in sensors.absent] == ["its joules hold the work of both dies"]


def test_work_on_the_second_die_is_measured_by_the_first(machine):
    _, probe = machine(*two_dies(), environ={"HIP_VISIBLE_DEVICES": "1"})
    assert by_name(probe.open()).keys() == {"gpu-aaaa/board"}


@pytest.mark.parametrize(
    ("environ", "names"),
    [
        ({}, ["gpu-aaaa", "gpu-bbbb", "gpu-cccc"]),
        ({"HIP_VISIBLE_DEVICES": "2,0"}, ["gpu-cccc", "gpu-aaaa"]),
        ({"CUDA_VISIBLE_DEVICES": "1"}, ["gpu-bbbb"]),
        ({"HIP_VISIBLE_DEVICES": "0", "CUDA_VISIBLE_DEVICES": "1"}, ["gpu-aaaa"]),
        ({"ROCR_VISIBLE_DEVICES": "1,2", "HIP_VISIBLE_DEVICES": "0"}, ["gpu-bbbb"]),
        ({"ROCR_VISIBLE_DEVICES": "GPU-cccc"}, ["gpu-cccc"]),
        ({"HIP_VISIBLE_DEVICES": "-1,0"}, []),
    ],
)
def test_only_the_gpus_that_hip_shows_are_measured(machine, environ, names):
    _, probe = machine(*(VirtualAmdGpu(uuid=uuid) for uuid in (A, B, C)), environ=environ)
    assert [channel.board for channel in probe.open().channels] == names


def test_an_index_is_hips_own_where_the_library_knows_it(machine):
    gpus = [VirtualAmdGpu(uuid=A, hip_index=1), VirtualAmdGpu(uuid=B, hip_index=0)]
    _, probe = machine(*gpus, environ={"HIP_VISIBLE_DEVICES": "0"})
    assert [channel.board for channel in probe.open().channels] == ["gpu-bbbb"]


def test_a_gpu_may_be_chosen_by_the_uuid_that_hip_gives_it(machine):
    gpus = [
        VirtualAmdGpu(uuid=A, hip_index=0, hip_uuid="GPU-1111"),
        VirtualAmdGpu(uuid=B, hip_index=1, hip_uuid="GPU-2222"),
    ]
    _, probe = machine(*gpus, environ={"ROCR_VISIBLE_DEVICES": "GPU-2222"})
    assert [channel.board for channel in probe.open().channels] == ["gpu-bbbb"]


def test_the_power_bound_lies_above_the_limit_in_watts(machine):
    _, probe = machine(VirtualAmdGpu(limit_w=750.0), VirtualAmdGpu(uuid=B, limit_w=None))
    assert [channel.max_power_w for channel in probe.open().channels] == [pytest.approx(1200.0), None]


def test_a_machine_without_an_amd_gpu_is_not_mentioned(tmp_path, clock):
    library = VirtualAmdSmi([], clock)
    FileTree(tmp_path).set("sys/class/drm/card0/device/vendor", "0x8086")
    assert AmdSmiProbe(library, clock, tmp_path, {}).open() == Sensors(())
    assert clock.now_ns == 0


@pytest.mark.skipif(find_spec("amdsmi") is not None, reason="amdsmi is installed")
def test_a_gpu_without_the_package_is_told_its_name(tmp_path, clock):
    probe = AmdSmiProbe(None, clock, amd_tree(tmp_path).root, {})
    with pytest.raises(ProbeUnavailable, match="there is an AMD GPU") as raised:
        probe.open()
    assert raised.value.remedy.startswith("pip install amdsmi")


@pytest.mark.parametrize(("code", "words"), [(NO_PERMISSION, "usermod -aG render"), (34, "dmesg")])
def test_a_library_that_does_not_start_says_what_cures_it(machine, code, words):
    _, probe = machine(init_code=code)
    with pytest.raises(ProbeUnavailable) as raised:
        probe.open()
    assert words in raised.value.remedy


def test_a_lost_gpu_ends_its_channel_and_a_busy_one_is_a_gap(machine):
    library, probe = machine(VirtualAmdGpu())
    (channel,) = probe.open().channels
    library.gpus[0].counter_code = BUSY
    with pytest.raises(ProbeRetry):
        probe.read(channel)
    library.gpus[0].counter_code = NOT_FOUND
    with pytest.raises(ProbeLost, match="joules end here"):
        probe.read(channel)


def test_a_read_after_closing_is_lost_not_zero(machine):
    _, probe = machine(VirtualAmdGpu())
    (channel,) = probe.open().channels
    probe.close()
    with pytest.raises(ProbeLost):
        probe.read(channel)


# the state of a board


METRICS = {
    "current_gfxclk": "N/A", "current_gfxclks": [2050, 2100, "N/A"], "temperature_hotspot": 61,
    "average_gfx_activity": 87, "accumulation_counter": 1000, "ppt_residency_acc": 10, "socket_thm_residency_acc": 0,
    "vr_thm_residency_acc": 0, "hbm_thm_residency_acc": 0, "prochot_residency_acc": "N/A",
}  # fmt: skip


def told(probe):
    return {(each.quantity, each.pid): each.value for each in probe.conditions()}


def test_a_board_tells_its_clock_heat_load_and_limit_in_plain_units(machine):
    _, probe = machine(VirtualAmdGpu(metrics=METRICS, cap_w=600.0))
    probe.open()
    assert told(probe) == {
        ("core_clock_hz", 0): 2.1e9, ("temperature_celsius", 0): 61.0, ("busy_fraction", 0): 0.87,
        ("power_limit_w", 0): pytest.approx(600.0),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sum_of", "quantity"),
    [("ppt", "slowed_by_power"), ("hbm_thm", "slowed_by_heat"), ("socket_thm", "slowed_by_heat")],
)
@pytest.mark.parametrize(("risen", "slowed"), [(0, 0.0), (50, 0.0), (400, 1.0)])
def test_clocks_are_held_down_where_a_tenth_of_the_drivers_samples_since_the_last_look_say_so(
    machine, sum_of, quantity, risen, slowed
):
    library, probe = machine(VirtualAmdGpu(metrics=METRICS))
    probe.open()
    assert not any(key[0].startswith("slowed") for key in told(probe))
    before = METRICS[f"{sum_of}_residency_acc"]
    library.gpus[0].metrics = {**METRICS, "accumulation_counter": 2000, f"{sum_of}_residency_acc": before + risen}
    found = told(probe)
    assert found[quantity, 0] == slowed
    assert ("slowed_by_hardware", 0) not in found


def test_sums_that_start_again_with_the_driver_are_no_alarm(machine):
    library, probe = machine(VirtualAmdGpu(metrics={**METRICS, "ppt_residency_acc": 900}))
    probe.open()
    told(probe)
    library.gpus[0].metrics = {**METRICS, "accumulation_counter": 5, "ppt_residency_acc": 5}
    assert ("slowed_by_power", 0) not in told(probe)


def test_a_board_that_tells_nothing_gives_its_joules_all_the_same(machine):
    _, probe = machine(VirtualAmdGpu(limit_w=None))
    (channel,) = probe.open().channels
    assert told(probe) == {}
    assert probe.read(channel)
    probe.close()
    assert list(probe.conditions()) == []


def test_processes_are_those_that_the_compute_driver_lists_for_this_board(tmp_path, clock):
    tree = amd_tree(tmp_path)
    for pid, vram, units in ((100, 5_000, 152), (200, 0, 0), (300, 7_000, 0)):
        tree.set(f"sys/class/kfd/kfd/proc/{pid}/vram_51000", str(vram))
        tree.set(f"sys/class/kfd/kfd/proc/{pid}/stats_51000/cu_occupancy", str(units))
    tree.set("sys/class/kfd/kfd/proc/400/vram_9", "8000")
    probe = AmdSmiProbe(
        VirtualAmdSmi([VirtualAmdGpu(kfd_id=51000, compute_units=304, limit_w=None)], clock), clock, tree.root, {}
    )
    probe.open()
    assert told(probe) == {
        ("process", 100): 1.0, ("busy_fraction", 100): 0.5, ("process", 300): 1.0, ("busy_fraction", 300): 0.0,
    }  # fmt: skip
    probe.close()
