"""The whole of a calibration on a virtual board whose period, window, gain and offset are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from wattvlm.calibrate.load import Played
from wattvlm.calibrate.plan import Step, plan_of
from wattvlm.calibrate.session import USUAL_PERIOD_NS, Run
from wattvlm.host import Host
from wattvlm.recording import Recording
from wattvlm.testing import PowerCurve, VirtualMachine, VirtualSensor
from wattvlm.units import NS_PER_MS, NS_PER_S

BOARD = "gpu-virtual-0"
METER = "meter-virtual/board"
GAIN, OFFSET_W = 0.954, -1.2
"""The A100 of arXiv 2312.02741, whose instant power sees 25 ms of each 100 ms."""

WINDOW_NS = 25 * NS_PER_MS
IDLE_W, SWING_W = 68.0, 232.0
LATE_NS = 500_000
"""The board's power follows the program's marks by half a millisecond."""


def virtual_sensors(gain: float = GAIN, offset_w: float = OFFSET_W, window_ns: int = WINDOW_NS) -> list[VirtualSensor]:
    """An energy counter and an instant power of one board, and a meter beside it that is exact."""
    counter = VirtualSensor(
        f"{BOARD}/board", sensor="NVML energy counter (virtual)", device="VIRTUAL A100", jitter_ns=NS_PER_MS,
        phase_ns=37 * NS_PER_MS, max_power_w=450.0, gain=gain, offset_w=offset_w, gain_std_fraction=0.045,
        latency_ns=150_000,
    )  # fmt: skip
    instant = replace(
        counter, name=f"{BOARD}/instant", method="power", sensor="NVML instant power (virtual)", window_ns=window_ns,
        noise_w=0.5, contained_in=counter.name, seed=5,
    )  # fmt: skip
    meter = VirtualSensor(
        METER, "node", "power", device="VIRTUAL meter", sensor="external meter (virtual)", period_ns=5 * NS_PER_MS,
        window_ns=5 * NS_PER_MS, noise_w=0.3, gain_std_fraction=0.001, seed=6,
    )  # fmt: skip
    return [counter, instant, meter]


def play_virtually(
    plan: Sequence[Step], sensors: Sequence[VirtualSensor], start_ns: int = 1_000 * NS_PER_S
) -> tuple[Recording, Played]:
    """The plan played to virtual sensors, in no time at all."""
    curve = PowerCurve(before_w=IDLE_W)
    starts: list[int] = []
    now_ns = start_ns
    for step in plan:
        starts.append(now_ns)
        curve.append(now_ns + LATE_NS, IDLE_W + SWING_W * step.busy_fraction)
        now_ns += step.duration_ns
    host = Host(name="virtual machine", system="virtual", facts={"driver": "virtual"})
    loads = {sensor.name: curve for sensor in sensors}
    recording = VirtualMachine(loads, sensors).record(start_ns - NS_PER_S, now_ns + NS_PER_S, host=host)
    return recording, Played(tuple(plan), tuple(starts), now_ns)


def virtual_run(seconds: float) -> Run:
    """A calibration of the virtual board, in no time; METER is its reference."""
    plan = plan_of(USUAL_PERIOD_NS, seconds, stairs=True)
    recording, played = play_virtually(plan, virtual_sensors())
    channels = tuple(channel for channel in recording.channels if channel.board == BOARD)
    return Run(recording, played, channels, "square waves on a VIRTUAL board")
