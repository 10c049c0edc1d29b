"""A plan played in real time: on the CPU with torch, and on a virtual board that the real sampling process reads."""

import numpy as np
import pytest

from wattvlm.calibrate import Step, TorchLoad, drive, findings
from wattvlm.calibrate.session import channels_of, period_of, run
from wattvlm.clock import SystemClock
from wattvlm.errors import NotResolved
from wattvlm.probes.virtual import LOAD_RECORD
from wattvlm.sensing import Channel, ProbeSource

pytestmark = pytest.mark.alone

MS = 1_000_000


class FileLoad:
    """A virtual device: its power is written to a load file at each switch."""

    device = "virtual device"

    def __init__(self, path):
        self._path = path
        self._clock = SystemClock()

    def work(self, until_ns):
        self._spend(300.0, until_ns)

    def rest(self, until_ns):
        self._spend(80.0, until_ns)

    def _spend(self, power_w, until_ns):
        now_ns = self._clock.monotonic_ns()
        with open(self._path, "ab") as file:
            file.write(LOAD_RECORD.pack(now_ns, power_w))
        self._clock.sleep_ns(until_ns - now_ns)


def test_edges_are_when_the_load_really_switched():
    torch = pytest.importorskip("torch")
    plan = [Step("quiet", 20 * MS, 0.0), *[Step("square", 15 * MS, busy) for busy in (1.0, 0.0) * 4],
            Step("stairs", 40 * MS, 0.5), Step("quiet", 20 * MS, 0.0)]  # fmt: skip
    load = TorchLoad("cpu", torch=torch)
    told: list[float] = []
    played = drive(plan, load, tell=told.append)
    edges_ns = played.edges_ns
    assert len(edges_ns) == 9
    assert all(edges_ns[1:] > edges_ns[:-1])
    assert edges_ns[-1] - edges_ns[0] >= 110 * MS
    assert played.levels_ns[0][1] == edges_ns[0]
    assert len(played.levels_ns) == 3
    assert told
    assert (load.kind, load.uuid, load.device) == ("cpu", "", "cpu")


def test_a_virtual_board_is_identified_through_the_real_sampling_process(tmp_path):
    path = tmp_path / "gpu.load"
    path.write_bytes(LOAD_RECORD.pack(0, 80.0))
    sensor = {"name": "gpu-7/board", "period_ns": 100 * MS, "resolution": 1e-6, "latency_ns": 50_000}
    source = ProbeSource("wattvlm.probes.virtual:VirtualProbe", {"load_path": str(path), "sensors": [sensor]})
    done = run(FileLoad(path), "gpu", "7", 10.0, stairs=False, sources=[source])
    found = findings(done.recording, done.played, done.channels, None, done.how, "2026-11-22T14:00:00Z")
    assert [each.channel.name for each in found] == ["gpu-7/board"]
    identity = found[0].identity
    assert identity is not None
    readings = done.recording.readings["gpu-7/board"]
    bracket_ns = float(np.median(readings.time_ns - readings.unchanged_at_ns))
    if bracket_ns < 20 * MS:
        assert identity.update_period_ns == pytest.approx(100 * MS, rel=0.02)
    else:  # a machine so busy that half of the ticks were caught late: no period, or the right one
        assert identity.update_period_ns in (None, pytest.approx(100 * MS, rel=0.02))
    assert "virtual device" in done.how


def channel(name, domain="gpu", method="counter", period_ns=100 * MS):
    return Channel(name, "sensor", "device", domain, method, period_ns)


def test_the_channels_of_the_loaded_board_alone_are_meant():
    ours, other, model = channel("gpu-a1/board"), channel("gpu-b2/board"), channel("cpu-0/model", "cpu", "model")
    assert channels_of([ours, other, model], "gpu", "A1") == (ours,)
    with pytest.raises(NotResolved, match="CUDA_VISIBLE_DEVICES"):
        channels_of([ours, other], "gpu", "")
    with pytest.raises(NotResolved, match="doctor"):
        channels_of([ours, model], "cpu", "")


def test_square_waves_are_made_for_the_fastest_sensor_that_is_followed():
    assert period_of([channel("a/b", period_ns=20 * MS), channel("a/c")]) == 20 * MS
    assert period_of([channel("cpu-0/package", "cpu", period_ns=MS)]) == 100 * MS
    assert period_of([channel("a/b", period_ns=None)]) == 100 * MS
