"""The NVML sensor against a small library object with pynvml's functions."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from wattvlm.errors import ProbeLost, ProbeRetry, ProbeUnavailable
from wattvlm.probes.nvml import NvmlProbe

NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND, UNKNOWN = 3, 4, 6, 999
UINT, ULONGLONG = 1, 3
A, B, C = "GPU-aaaa1111-0000", "GPU-aaaa2222-0000", "GPU-bbbb3333-0000"
WALL_AHEAD_NS = 1_700_000_000_000_000_000


class NVMLError(Exception):
    def __init__(self, value):
        super().__init__(f"code {value}")
        self.value = value


@dataclass
class Gpu:
    """fields: (field, scope) -> (value, stamp in µs) or a return code. The other numbers: a value or a return code."""

    uuid: str = A
    product: str = "H100"
    energy_mj: object = 5_000
    usage_mw: object = 70_000
    fields: dict[tuple[int, int], Any] = field(default_factory=dict)
    mig: bool = False
    instances: tuple[str, ...] = ()
    limits_mw: object = (200_000, 350_000)
    opens: int = 0
    samples: Any = None


class Code(int):
    """A return code in the place of a value."""


@dataclass
class Library:
    """Only what the probe may ask for: nvmlDeviceGetArchitecture is not here, so asking for it would fail."""

    gpus: list[Gpu]
    starts: int = 0
    init_code: int = 0
    NVMLError = NVMLError
    during_call: Any = None

    def nvmlInit(self):
        if self.init_code:
            raise NVMLError(self.init_code)
        self.starts += 1

    def nvmlShutdown(self):
        self.starts -= 1

    def nvmlSystemGetDriverVersion(self):
        return "570.86"

    def nvmlDeviceGetCount(self):
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index):
        self._value(self.gpus[index], self.gpus[index].opens)
        return self.gpus[index]

    def nvmlDeviceGetHandleByUUID(self, uuid):
        for gpu in self.gpus:
            if uuid in gpu.instances:
                return SimpleNamespace(parent=gpu)
        raise NVMLError(NOT_FOUND)

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, instance):
        return instance.parent

    def nvmlDeviceGetUUID(self, gpu):
        return gpu.uuid

    def nvmlDeviceGetName(self, gpu):
        return gpu.product

    def nvmlDeviceGetMigMode(self, gpu):
        if not gpu.mig:
            raise NVMLError(NOT_SUPPORTED)
        return [1, 1]

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu):
        return self._value(gpu, gpu.energy_mj)

    def nvmlDeviceGetPowerUsage(self, gpu):
        return self._value(gpu, gpu.usage_mw)

    def nvmlDeviceGetPowerManagementLimitConstraints(self, gpu):
        return self._value(gpu, gpu.limits_mw)

    def nvmlDeviceGetEnforcedPowerLimit(self, gpu):
        return self._value(gpu, gpu.limits_mw)[1]

    def nvmlDeviceGetMemoryInfo(self, gpu):
        return SimpleNamespace(total=80 * 2**30)

    def nvmlDeviceGetSamples(self, gpu, kind, last_us):
        if gpu.samples is None or kind != 0:
            raise NVMLError(NOT_SUPPORTED)
        newer = [
            SimpleNamespace(timeStamp=stamp_us, sampleValue=SimpleNamespace(uiVal=power_mw))
            for stamp_us, power_mw in self._value(gpu, gpu.samples) if stamp_us > last_us
        ]  # fmt: skip
        if not newer:
            raise NVMLError(NOT_FOUND)
        return UINT, newer

    def nvmlDeviceGetFieldValues(self, gpu, wanted):
        self._value(gpu, 0)
        return [self._item(gpu, *entry) for entry in wanted]

    def _item(self, gpu, field_id, scope):
        answer = gpu.fields.get((field_id, scope), Code(NOT_SUPPORTED))
        if isinstance(answer, Code):
            return SimpleNamespace(nvmlReturn=int(answer), valueType=UINT, timestamp=0, value=SimpleNamespace(uiVal=7))
        value, stamp_us = answer
        kind, member = (ULONGLONG, "ullVal") if field_id in (83, 191) else (UINT, "uiVal")
        stated = SimpleNamespace(**{member: value})
        return SimpleNamespace(nvmlReturn=0, valueType=kind, timestamp=stamp_us, value=stated)

    def _value(self, gpu, value):
        if self.during_call is not None:
            self.during_call()
        if isinstance(value, Code):
            raise NVMLError(int(value))
        return value


@dataclass
class Clock:
    """Moves only when told to; the wall clock may be stepped."""

    now_ns: int = 1_000_000_000_000
    wall_ahead_ns: int = WALL_AHEAD_NS

    def monotonic_ns(self):
        return self.now_ns

    def wall_ns(self):
        return self.now_ns + self.wall_ahead_ns

    def sleep_ns(self, duration_ns):
        self.now_ns += duration_ns

    def stamp_us(self):
        return self.wall_ns() // 1000


def opened(*gpus, clock=None, **environ):
    library = Library(list(gpus))
    probe = NvmlProbe(library=library, clock=clock or Clock(), environ=environ)
    return probe, probe.open(), library


def boards_seen(*gpus, **environ):
    _probe, sensors, _library = opened(*gpus, **environ)
    return [channel.board for channel in sensors.channels]


def three():
    return Gpu(A), Gpu(B), Gpu(C)


# what is read


def test_millijoules_stay_millijoules_until_they_are_joules():
    probe, sensors, _ = opened(Gpu(energy_mj=123_456_789))
    (reading,) = probe.read(sensors.channels[0])
    assert reading.energy_j == pytest.approx(123_456.789, abs=1e-9)


def test_several_gpus_are_channels_of_their_own_so_that_their_joules_add_and_are_not_averaged():
    probe, sensors, _ = opened(Gpu(A, energy_mj=1_000_000), Gpu(B, energy_mj=3_000_000))
    readings = [probe.read(channel)[0] for channel in sensors.channels]
    assert sum(reading.energy_j for reading in readings) == pytest.approx(4000.0)
    assert [channel.contained_in for channel in sensors.channels] == [None, None]


def test_a_read_keeps_when_it_began_when_it_ended_and_how_long_it_took():
    clock = Clock()
    probe, sensors, library = opened(Gpu(), clock=clock)
    began_ns = clock.now_ns
    library.during_call = lambda: clock.sleep_ns(150_000)
    (reading,) = probe.read(sensors.channels[0])
    assert (reading.unchanged_at_ns, reading.time_ns, reading.took_ns) == (began_ns, began_ns + 150_000, 150_000)


def test_a_counter_that_restarts_with_the_driver_is_not_hidden():
    gpu = Gpu(energy_mj=9_000_000)
    probe, sensors, _ = opened(gpu)
    gpu.energy_mj = 20
    assert probe.read(sensors.channels[0])[0].energy_j == pytest.approx(0.02)


def test_the_board_is_known_by_uuid_and_every_fact_names_its_source():
    _, sensors, _ = opened(Gpu(A, product="NVIDIA H100 PCIe"))
    (channel,) = sensors.channels
    assert (channel.name, channel.device) == ("gpu-aaaa1111-0000/board", "NVIDIA H100 PCIe")
    assert (channel.domain, channel.method, channel.resolution_j) == ("gpu", "counter", 0.001)
    assert channel.max_power_w == pytest.approx(560.0)
    assert {"update_period_ns", "window_ns", "max_power_w", "gain_std_fraction"} <= set(channel.source)
    assert sensors.facts["driver"] == "570.86"
    assert sensors.facts["gpu-aaaa1111-0000 limit_w"] == "350"


def test_a_board_without_limits_has_no_power_bound_rather_than_zero():
    _, sensors, _ = opened(Gpu(limits_mw=Code(NOT_SUPPORTED)))
    assert sensors.channels[0].max_power_w is None
    assert "gpu-aaaa1111-0000 limit_w" not in sensors.facts


# which way of reading


def test_the_instant_power_beside_a_counter_is_contained_in_it_so_that_no_total_adds_both():
    _, sensors, _ = opened(Gpu(fields={(186, 0): (300_000, 1)}))
    board, instant = sensors.channels
    assert (board.method, instant.method) == ("counter", "power")
    assert instant.name == "gpu-aaaa1111-0000/instant"
    assert instant.contained_in == board.name


def test_whether_there_is_a_counter_is_found_by_asking_not_from_the_architecture():
    _, sensors, _ = opened(Gpu(energy_mj=Code(NOT_SUPPORTED), fields={(186, 0): (300_000, 1)}))
    (channel,) = sensors.channels
    assert (channel.name, channel.method, channel.contained_in) == ("gpu-aaaa1111-0000/board", "power", None)
    assert any("no energy counter" in absence.what for absence in sensors.absent)


@pytest.mark.parametrize("number", [83, 191])
def test_a_counter_that_only_the_field_gives_is_used(number):
    gpu = Gpu(energy_mj=Code(NOT_SUPPORTED), fields={(number, 0): (2**33, 1)})
    probe, sensors, _ = opened(gpu)
    (reading,) = probe.read(sensors.channels[0])
    assert reading.energy_j == pytest.approx(2**33 / 1000)


def test_a_field_that_fails_inside_a_call_that_succeeds_is_not_a_value():
    gpu = Gpu(energy_mj=Code(NOT_SUPPORTED), fields={(186, 0): Code(NOT_SUPPORTED), (185, 0): (200_000, 1)})
    probe, sensors, _ = opened(gpu)
    assert probe.read(sensors.channels[0])[0].power_w == pytest.approx(200.0)
    gpu.fields[185, 0] = Code(UNKNOWN)
    with pytest.raises(ProbeRetry):
        probe.read(sensors.channels[0])


def test_an_average_over_a_second_says_so_and_an_unknown_window_is_unknown():
    _, average, _ = opened(Gpu(energy_mj=Code(NOT_SUPPORTED), fields={(185, 0): (1, 1)}))
    _, usage, _ = opened(Gpu(energy_mj=Code(NOT_SUPPORTED)))
    _, instant, _ = opened(Gpu(energy_mj=Code(NOT_SUPPORTED), fields={(186, 0): (1, 1)}))
    assert average.channels[0].window_ns == 1_000_000_000
    assert usage.channels[0].window_ns is None
    assert "GA100" in usage.channels[0].source["window_ns"]
    assert instant.channels[0].window_ns is None


def test_grace_hopper_power_of_the_module_is_not_passed_off_as_the_gpu_alone():
    gpu = Gpu(energy_mj=Code(NOT_SUPPORTED), usage_mw=Code(NOT_SUPPORTED), fields={(186, 1): (600_000, 1)})
    probe, sensors, _ = opened(gpu)
    (channel,) = sensors.channels
    assert probe.read(channel)[0].power_w == pytest.approx(600.0)
    assert (channel.name, channel.domain) == ("gpu-aaaa1111-0000/module", "soc")
    assert "module" in channel.sensor
    assert channel.max_power_w is None
    assert any("CPU" in absence.effect for absence in sensors.absent)


def test_module_power_is_no_second_view_of_a_gpu_counter():
    _, sensors, _ = opened(Gpu(usage_mw=Code(NOT_SUPPORTED), fields={(186, 1): (600_000, 1)}))
    assert [channel.method for channel in sensors.channels] == ["counter"]


def test_a_pynvml_without_field_values_still_reads_the_counter():
    class Old(Library):
        nvmlDeviceGetFieldValues = property(lambda self: (_ for _ in ()).throw(AttributeError("too old")))

    sensors = NvmlProbe(library=Old([Gpu()]), clock=Clock(), environ={}).open()
    assert [channel.method for channel in sensors.channels] == ["counter"]


def test_the_power_of_the_memory_is_a_part_of_the_board_and_no_total_adds_it():
    probe, sensors, _ = opened(Gpu(fields={(186, 2): (40_000, 1)}))
    board, memory = sensors.channels
    assert (board.method, memory.name, memory.contained_in) == ("counter", "gpu-aaaa1111-0000/memory", board.name)
    assert "memory" in memory.sensor
    assert memory.max_power_w is None
    assert probe.read(memory)[0].power_w == pytest.approx(40.0)


def test_the_power_of_the_memory_alone_is_not_passed_off_as_the_boards():
    nothing = Code(NOT_SUPPORTED)
    _, sensors, _ = opened(Gpu(A, energy_mj=nothing, usage_mw=nothing, fields={(186, 2): (40_000, 1)}), Gpu(B))
    assert [channel.board for channel in sensors.channels] == ["gpu-aaaa2222-0000"]
    assert any("gives neither energy nor power" in absence.what for absence in sensors.absent)


# power and its stamps


def power_board(clock, power_mw=300_000):
    gpu = Gpu(energy_mj=Code(NOT_SUPPORTED), fields={(186, 0): (power_mw, clock.stamp_us())})
    return gpu, *opened(gpu, clock=clock)


def test_a_power_that_the_driver_has_not_refreshed_is_no_new_reading():
    clock = Clock()
    _, probe, sensors, _ = power_board(clock)
    assert len(probe.read(sensors.channels[0])) == 1
    clock.sleep_ns(20_000_000)
    assert probe.read(sensors.channels[0]) == ()


def test_constant_power_over_a_window_of_two_ticks_is_not_zero_joules():
    clock = Clock()
    gpu, probe, sensors, _ = power_board(clock)
    readings = [*probe.read(sensors.channels[0])]
    for _ in range(2):
        clock.sleep_ns(100_000_000)
        gpu.fields[186, 0] = (300_000, clock.stamp_us())
        readings += probe.read(sensors.channels[0])
    assert [reading.power_w for reading in readings] == [300.0, 300.0, 300.0]
    assert readings[-1].time_ns - readings[0].time_ns == 200_000_000


def test_a_driver_stamp_is_put_on_the_monotonic_clock_also_after_the_wall_clock_was_stepped():
    clock = Clock()
    gpu, probe, sensors, _ = power_board(clock)
    clock.wall_ahead_ns -= 3_600_000_000_000
    gpu.fields[186, 0] = (300_000, clock.stamp_us())
    ticked_ns = clock.now_ns
    clock.sleep_ns(30_000_000)
    (reading,) = probe.read(sensors.channels[0])
    assert abs(reading.time_ns - ticked_ns) <= 1000


@pytest.mark.parametrize("stamp_us", [0, 5, 10**18])
def test_a_stamp_that_cannot_be_a_time_gives_way_to_the_end_of_the_read(stamp_us):
    clock = Clock()
    gpu, probe, sensors, _ = power_board(clock)
    gpu.fields[186, 0] = (300_000, stamp_us)
    assert probe.read(sensors.channels[0])[0].time_ns == clock.now_ns


def test_power_without_a_stamp_is_a_reading_each_time():
    probe, sensors, _ = opened(Gpu(energy_mj=Code(NOT_SUPPORTED)))
    assert [len(probe.read(sensors.channels[0])) for _ in range(2)] == [1, 1]


# the driver's buffer of power samples


def sampled_board(clock, ages_ms, **facts):
    """A board without a counter whose driver holds samples of these ages, each of its age in watts."""
    samples = [(clock.stamp_us() - 1000 * age_ms, 1000 * age_ms) for age_ms in ages_ms]
    gpu = Gpu(energy_mj=Code(NOT_SUPPORTED), samples=samples, **facts)
    return gpu, *opened(gpu, clock=clock)


def test_the_drivers_own_samples_are_read_each_once_and_at_their_own_times():
    clock = Clock()
    gpu, probe, sensors, _ = sampled_board(clock, [300, 200, 100])
    channel = sensors.channels[0]
    assert channel.sensor == "NVML power samples"
    read_ns = clock.now_ns
    readings = probe.read(channel)
    assert [reading.power_w for reading in readings] == [300.0, 200.0, 100.0]
    assert [read_ns - reading.time_ns for reading in readings] == [300_000_000, 200_000_000, 100_000_000]
    assert probe.read(channel) == ()
    clock.sleep_ns(50_000_000)
    gpu.samples.append((clock.stamp_us(), 777_000))
    assert [reading.power_w for reading in probe.read(channel)] == [777.0]


def test_samples_from_long_before_the_program_are_left_in_the_buffer():
    _, probe, sensors, _ = sampled_board(Clock(), [9000, 5000, 900, 100])
    assert [reading.power_w for reading in probe.read(sensors.channels[0])] == [900.0, 100.0]


def test_an_empty_buffer_gives_way_to_the_power_field():
    _, _, sensors, _ = sampled_board(Clock(), [], fields={(186, 0): (300_000, 1)})
    assert [channel.sensor for channel in sensors.channels] == ["NVML instant power"]


def test_a_buffer_that_fails_in_mid_run_is_a_gap():
    gpu, probe, sensors, _ = sampled_board(Clock(), [100])
    gpu.samples = Code(UNKNOWN)
    with pytest.raises(ProbeRetry):
        probe.read(sensors.channels[0])


def test_power_beside_a_counter_is_followed_unless_once_a_second_is_asked_for():
    gpu = Gpu(fields={(186, 0): (300_000, 1)})
    every_ns = [
        NvmlProbe(library=Library([gpu]), clock=Clock(), environ={}, **wanted).open().channels[1].read_every_ns
        for wanted in ({}, {"follows_power": False})
    ]
    assert every_ns == [None, 1_000_000_000]


# which boards


def test_without_cuda_visible_devices_every_board_is_read():
    assert boards_seen(*three()) == ["gpu-aaaa1111-0000", "gpu-aaaa2222-0000", "gpu-bbbb3333-0000"]


def test_a_uuid_in_cuda_visible_devices_matches_its_board():
    assert boards_seen(*three(), CUDA_VISIBLE_DEVICES=B) == ["gpu-aaaa2222-0000"]


def test_the_order_is_that_of_cuda_visible_devices():
    assert boards_seen(*three(), CUDA_VISIBLE_DEVICES=f"{C}, 0") == ["gpu-bbbb3333-0000", "gpu-aaaa1111-0000"]


def test_the_beginning_of_a_uuid_names_a_board_if_it_names_only_one():
    assert boards_seen(*three(), CUDA_VISIBLE_DEVICES="GPU-b") == ["gpu-bbbb3333-0000"]
    with pytest.raises(ProbeUnavailable):
        boards_seen(*three(), CUDA_VISIBLE_DEVICES="GPU-aaaa")


def test_a_board_that_is_named_twice_is_counted_once():
    _, sensors, _ = opened(Gpu(A), Gpu(B, energy_mj=Code(NOT_SUPPORTED)), CUDA_VISIBLE_DEVICES=f"1,{B}")
    assert [channel.board for channel in sensors.channels] == ["gpu-aaaa2222-0000"]
    assert len(sensors.absent) == 1


@pytest.mark.parametrize("wanted", ["0,-1,1", "0,7,1", "0,,1", "0,GPU-cccc,1", "0,one,1", "0,MIG-none,1"])
def test_boards_after_an_entry_that_names_none_are_not_used_by_cuda_and_not_read(wanted):
    assert boards_seen(*three(), CUDA_VISIBLE_DEVICES=wanted) == ["gpu-aaaa1111-0000"]


def test_an_entry_that_names_no_board_is_told_and_a_deliberate_end_is_not():
    _, mistaken, _ = opened(*three(), CUDA_VISIBLE_DEVICES="0,7,1")
    _, deliberate, _ = opened(*three(), CUDA_VISIBLE_DEVICES="0,-1")
    assert ["'7'" in absence.what for absence in mistaken.absent] == [True]
    assert deliberate.absent == ()


@pytest.mark.parametrize("wanted", ["", "-1", "9"])
def test_no_visible_board_is_absent_joules_not_zero_joules(wanted):
    library = Library(list(three()))
    with pytest.raises(ProbeUnavailable, match="CUDA_VISIBLE_DEVICES"):
        NvmlProbe(library=library, environ={"CUDA_VISIBLE_DEVICES": wanted}).open()
    assert library.starts == 0


@pytest.mark.parametrize("wanted", ["MIG-1234", f"MIG-{A}/3/0"])
def test_a_mig_instance_is_its_board_and_the_others_on_it_are_told(wanted):
    _, sensors, _ = opened(Gpu(A, mig=True, instances=("MIG-1234",)), Gpu(B), CUDA_VISIBLE_DEVICES=wanted)
    assert [channel.board for channel in sensors.channels] == ["gpu-aaaa1111-0000"]
    assert any("other instance" in absence.effect for absence in sensors.absent)
    assert sensors.facts["gpu-aaaa1111-0000 mig"] == "on"


def test_an_index_among_unlike_boards_may_name_another_in_cuda_and_that_is_told():
    unlike = (Gpu(A, product="H100"), Gpu(B, product="RTX 4090"))
    _, unsure, _ = opened(*unlike, CUDA_VISIBLE_DEVICES="1")
    _, ordered, _ = opened(*unlike, CUDA_VISIBLE_DEVICES="1", CUDA_DEVICE_ORDER="PCI_BUS_ID")
    _, named, _ = opened(*unlike, CUDA_VISIBLE_DEVICES=B)
    _, alike, _ = opened(Gpu(A), Gpu(B), CUDA_VISIBLE_DEVICES="1")
    assert ["PCI_BUS_ID" in absence.remedy for absence in unsure.absent] == [True]
    assert ordered.absent == named.absent == alike.absent == ()


# failures


@pytest.mark.parametrize(("code", "kind"), [(15, ProbeLost), (16, ProbeLost), (1, ProbeLost), (9, ProbeLost)])
def test_a_gpu_that_is_gone_ends_its_channel(code, kind):
    gpu = Gpu()
    probe, sensors, _ = opened(gpu)
    gpu.energy_mj = Code(code)
    with pytest.raises(kind, match="board"):
        probe.read(sensors.channels[0])


@pytest.mark.parametrize("code", [NOT_SUPPORTED, NO_PERMISSION, 10, 20, 21, UNKNOWN])
def test_a_read_that_fails_otherwise_is_a_gap_and_the_next_one_works(code):
    gpu = Gpu()
    probe, sensors, _ = opened(gpu)
    gpu.energy_mj = Code(code)
    with pytest.raises(ProbeRetry):
        probe.read(sensors.channels[0])
    gpu.energy_mj = 6_000
    assert probe.read(sensors.channels[0])[0].energy_j == pytest.approx(6.0)


@pytest.mark.parametrize(
    ("code", "cure"),
    [(12, "docker run --gpus all"), (9, "modprobe nvidia"), (18, "reboot"), (4, "root"), (999, "nvidia-smi")],
)
def test_an_nvml_that_does_not_start_says_what_cures_it(code, cure):
    with pytest.raises(ProbeUnavailable) as raised:
        NvmlProbe(library=Library([], init_code=code), environ={}).open()
    assert cure in raised.value.remedy
    assert raised.value.effect == "GPU joules are absent"


def test_no_gpu_in_a_running_nvml_is_unavailable():
    with pytest.raises(ProbeUnavailable, match="lists no GPU"):
        opened()


def test_a_lost_gpu_does_not_take_the_others_along():
    _, sensors, _ = opened(Gpu(A, opens=Code(15)), Gpu(B))
    assert [channel.board for channel in sensors.channels] == ["gpu-aaaa2222-0000"]
    assert ["GPU 0" in absence.what for absence in sensors.absent] == [True]


def test_a_denied_board_is_absent_with_a_cure_and_the_others_are_read():
    denied = Code(NO_PERMISSION)
    _, sensors, _ = opened(Gpu(A, energy_mj=denied, usage_mw=denied), Gpu(B))
    assert [channel.board for channel in sensors.channels] == ["gpu-aaaa2222-0000"]
    assert ["root" in absence.remedy for absence in sensors.absent] == [True]


def test_every_start_of_nvml_is_given_back_once():
    probe, sensors, library = opened(Gpu())
    assert library.starts == 1
    probe.open()
    assert library.starts == 1
    probe.close()
    probe.close()
    assert library.starts == 0
    with pytest.raises(ProbeLost):
        probe.read(sensors.channels[0])


def test_nvml_is_given_back_when_looking_for_boards_fails():
    class Broken(Library):
        def nvmlDeviceGetCount(self):
            raise NVMLError(UNKNOWN)

    library = Broken([Gpu()])
    with pytest.raises(ProbeUnavailable):
        NvmlProbe(library=library, environ={}).open()
    assert library.starts == 0


def test_closing_after_the_driver_is_gone_raises_nothing():
    class Gone(Library):
        def nvmlShutdown(self):
            raise NVMLError(1)

    probe = NvmlProbe(library=Gone([Gpu()]), environ={})
    probe.open()
    probe.close()
