"""The processes of one job as one: each device once, calls by process, machines on one clock."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from wattvlm import Recording, analyze, render
from wattvlm.cli import main
from wattvlm.clock import WallAnchor
from wattvlm.errors import RecordingsDoNotJoin
from wattvlm.host import Host
from wattvlm.joining import joined
from wattvlm.testing import Script, ScriptedPhase, Simulation, VirtualSensor, simulate

SECOND = 1_000_000_000
SENSORS = (VirtualSensor("gpu-0/board", max_power_w=700.0), VirtualSensor("cpu-0/package", "cpu", max_power_w=300.0))


@pytest.fixture(scope="module")
def session() -> Simulation:
    powers = {"gpu": 400.0, "cpu": 100.0}
    script = Script(
        (ScriptedPhase("prefill", 100_000_000, powers), ScriptedPhase("decode", 400_000_000, powers)), calls=10,
        idle_w={"gpu": 70.0, "cpu": 40.0},
    )  # fmt: skip
    return simulate(script, SENSORS, 1, host=Host(name="one"))


def of_calls(recording: Recording, odd: bool) -> Recording:
    """What a process saw that made every second call, from a little later on than the first reading."""
    marks = tuple(mark for mark in recording.marks if mark.call_id % 2 == odd or mark.kind.startswith("block"))
    return replace(recording, marks=marks)


def on_host(recording: Recording, name: str, ahead_ns: int) -> Recording:
    """The same on another machine, whose monotonic clock shows another time."""
    moved = {
        channel: replace(own, time_ns=own.time_ns + ahead_ns, unchanged_at_ns=own.unchanged_at_ns + ahead_ns)
        for channel, own in recording.readings.items()
    }
    return replace(
        recording, host=Host(name=name), readings=moved,
        start_ns=recording.start_ns + ahead_ns, end_ns=recording.end_ns + ahead_ns,
        marks=tuple(replace(mark, time_ns=mark.time_ns + ahead_ns) for mark in recording.marks),
        wall_anchors=tuple(WallAnchor(each.monotonic_ns + ahead_ns, each.wall_ns) for each in recording.wall_anchors),
    )  # fmt: skip


def test_processes_of_one_machine_count_its_devices_once(session):
    both = joined([of_calls(session.recording, odd=True), of_calls(session.recording, odd=False)])
    found = analyze(both)
    assert len(found.calls) == 10
    for domain in ("gpu", "cpu"):
        low_j, high_j = found.joules("block", [domain]).interval_j
        assert low_j <= session.block_j[domain] <= high_j
        assert found.joules("block", [domain]).middle_j == pytest.approx(session.block_j[domain], rel=0.01)


def test_calls_are_labelled_by_process(session):
    found = analyze(joined([of_calls(session.recording, odd=True), of_calls(session.recording, odd=False)], ["a", "b"]))
    assert [call.label for call in found.calls] == ["a", "b"] * 5


def test_a_process_that_was_recorded_for_less_time_takes_nothing_away(session):
    recording = session.recording
    late_ns = recording.start_ns + 3 * SECOND
    readings = {name: own.between(late_ns, own.time_ns[-1]) for name, own in recording.readings.items()}
    late = replace(recording, start_ns=late_ns, readings=readings)
    both = joined([of_calls(late, odd=False), of_calls(recording, odd=True)])
    assert analyze(both).joules("block").middle_j == pytest.approx(session.block_j["gpu"], rel=0.01)


def test_devices_of_two_machines_add_up_on_one_clock(session):
    other = on_host(session.recording, "two", 500 * SECOND)
    found = analyze(joined([session.recording, other]))
    assert found.joules("block", ["gpu"]).middle_j == pytest.approx(2 * session.block_j["gpu"], rel=0.01)
    assert {use.channel.name for use in found.channels} == {
        f"{host}:{sensor.name}" for host in ("one", "two") for sensor in SENSORS
    }
    assert found.block.duration_ns == pytest.approx(analyze(session.recording).block.duration_ns, rel=1e-6)
    assert any("2 machines" in note for note in found.notes)


def test_a_gpu_of_its_own_uuid_keeps_its_name(session):
    other = on_host(session.recording, "two", 0)
    names = {name: name.replace("gpu-0", "gpu-9") for name in other.readings}
    renamed = replace(
        other,
        channels=tuple(replace(channel, name=names[channel.name]) for channel in other.channels),
        readings={names[name]: replace(own, channel=names[name]) for name, own in other.readings.items()},
    )
    assert "gpu-9/board" in {channel.name for channel in joined([session.recording, renamed]).channels}


def test_a_process_that_holds_the_others_up_is_named(session):
    slow = Script((ScriptedPhase("decode", 900_000_000, {"gpu": 400.0, "cpu": 100.0}),), calls=5)
    other = simulate(slow, SENSORS, 2, host=Host(name="one")).recording
    notes = joined([of_calls(session.recording, odd=True), of_calls(session.recording, odd=False), other]).notes
    assert any("take longer in rank 2" in note for note in notes)


def test_times_of_each_process_are_a_row_and_the_slow_phase_is_named(session):
    slow = Script((ScriptedPhase("decode", 900_000_000, {"gpu": 400.0, "cpu": 100.0}),), calls=5)
    other = simulate(slow, SENSORS, 2, host=Host(name="one")).recording
    found = analyze(joined([of_calls(session.recording, odd=True), of_calls(session.recording, odd=False), other]))
    for format in ("console", "markdown", "notebook"):
        assert "decode 2.25 times the usual" in str(render(found, format)), format
    shown = str(render(found, width=100)).splitlines()
    rows = [line.split() for line in shown if line.startswith("rank ")]
    assert [row[:3] for row in rows] == [["rank", "0", "5"], ["rank", "1", "5"], ["rank", "2", "5"]]
    assert rows[0][3:5] == ["100", "ms"]
    assert "mean times" not in str(render(analyze(session.recording)))


def with_facts(recording: Recording, host: str = "one", **facts: str) -> Recording:
    named = {name.replace("_", " "): value for name, value in facts.items()}
    return replace(recording, host=Host(name=host, facts=named))


def test_ranks_are_named_as_the_job_names_them_and_missing_ones_are_told(session):
    ranks = [with_facts(session.recording, slurm_job="7", ranks="4", rank=rank, local_rank=rank) for rank in "130"]
    found = joined(ranks)
    assert [found.host.facts[f"process {number}"] for number in range(3)] == ["rank 1", "rank 3", "rank 0"]
    assert found.host.facts["slurm job"] == "7"
    assert "rank" not in found.host.facts
    assert any("1 of 4 ranks are not among these (2)" in note for note in found.notes)
    assert any("rank 0 is here more than once" in note for note in joined([ranks[2], ranks[2]]).notes)
    assert not any("ranks are not among" in note for note in joined([session.recording] * 2).notes)


def test_facts_of_all_machines_are_kept(session):
    one = with_facts(session.recording, driver="570.86")
    facts = {"driver": "580.1", "gpu-0 limit_w": "350", "cpu-0/package limit_w": "200"}
    two = replace(on_host(session.recording, "two", 0), host=Host(name="two", facts=facts))
    found = joined([one, two]).host.facts
    assert (found["driver"], found["two:driver"]) == ("570.86", "580.1")
    assert (found["two:gpu-0 limit_w"], found["two:cpu-0/package limit_w"]) == ("350", "200")
    assert (found["process 0 host"], found["process 1 host"]) == ("one", "two")


@pytest.mark.parametrize(
    ("others", "why"),
    [(lambda one: [with_facts(one, slurm_job=job) for job in "12"], r"several jobs \(slurm job 1 and 2\)"),
     (lambda one: [], "no recording"), (lambda one: [one, replace(one, virtual=False)], "real and of virtual"),
     (lambda one: [one, replace(one, host=Host(name="two"), wall_anchors=())], "clocks of their own")],
)  # fmt: skip
def test_what_does_not_belong_together_is_refused_with_the_reason(session, others, why):
    with pytest.raises(RecordingsDoNotJoin, match=why):
        joined(others(session.recording))


def test_files_of_processes_are_merged_by_a_command(session, tmp_path):
    for number in range(2):
        of_calls(session.recording, odd=bool(number)).save(tmp_path / f"run-{number}.json.gz")
    files = [str(path) for path in sorted(tmp_path.glob("*.gz"))]
    done = CliRunner().invoke(main, ["merge", *files, "-o", str(tmp_path / "job.json.gz")])
    assert done.exit_code == 0, done.output
    assert "joined: 2 processes" in done.output
    assert len(Recording.load(tmp_path / "job.json.gz").trace.calls) == 10


def test_a_report_is_no_recording_and_it_is_said(session, tmp_path):
    analyze(session.recording).save(tmp_path / "report.json")
    done = CliRunner().invoke(main, ["merge", str(tmp_path / "report.json")])
    assert done.exit_code == 2
    assert "recording" in done.output


RANK = """
import sys, time
import torch.distributed as distributed
import wattvlm

rank = int(sys.argv[1])
distributed.init_process_group("gloo", init_method=sys.argv[2], rank=rank, world_size=3)
with wattvlm.meter(probes=[]) as m:
    with m.phase("decode"):
        time.sleep(0.05)
report = m.gathered()
assert (report is None) == (rank > 0)
if report is not None:
    print(len(report.calls), report.notes[0])
    print(sorted(report.host.facts.items()))
distributed.destroy_process_group()
"""


def test_ranks_of_a_real_process_group_are_gathered_on_the_first(tmp_path):
    pytest.importorskip("torch.distributed", reason="needs the extra wattvlm[torch]")
    address = f"file://{tmp_path / 'meeting'}"
    root = Path(__file__).parents[1]
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(rank), address], stdout=subprocess.PIPE, text=True, cwd=root,
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": "3", "TORCHELASTIC_RUN_ID": "eval"},
        )
        for rank in range(3)
    ]  # fmt: skip
    printed = [rank.communicate(timeout=120)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0, 0]
    assert printed[0].startswith("3 joined: 3 processes")
    assert "('process 2', 'rank 2')" in printed[0]
    assert "('torchrun job', 'eval')" in printed[0]
