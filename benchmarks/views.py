"""What it takes to show a report of 10,000 calls in each format, and how long a command takes to say its help."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import wattvlm
from benchmarks.tables import children_cpu_s, show, spread
from wattvlm.demo import replay_path
from wattvlm.parts import CallReport, Part
from wattvlm.renderers import renderers
from wattvlm.report import Report

CALLS = 10_000
REPEATS = 5
HELP_REPEATS = 15
GOALS = {"html": "3 s"}
HELP = (("wattvlm --help", (), "150 ms"), ("wattvlm report --help", ("report",), ""), ("bare python", None, ""))


def many_calls(calls: int = CALLS) -> Report:
    """The report of the recording that ships, its calls said again and again one after the other."""
    report = wattvlm.analyze(wattvlm.Recording.load(replay_path()))
    first_ns, last_ns = report.block.spans_ns[0]
    again = [
        _later(call, number * len(report.calls) + call.call_id, number * (last_ns - first_ns))
        for number in range(-(-calls // len(report.calls))) for call in report.calls
    ]  # fmt: skip
    return replace(report, calls=tuple(again[:calls]))


def _later(call: CallReport, call_id: int, by_ns: int) -> CallReport:
    def moved(part: Part) -> Part:
        return replace(part, spans_ns=tuple((start_ns + by_ns, end_ns + by_ns) for start_ns, end_ns in part.spans_ns))

    return replace(
        call, call_id=call_id, start_ns=call.start_ns + by_ns, total=moved(call.total), between=moved(call.between),
        phases=tuple(map(moved, call.phases)),
    )  # fmt: skip


def run() -> None:
    """Each format in turn, then the commands."""
    report = many_calls()
    rows = [_file(report)]
    for name, renderer in sorted(renderers().items()):
        times_s, size_bytes = [], 0
        for _ in range(REPEATS):
            start = time.process_time()
            size_bytes = len(renderer.render(report))
            times_s.append(time.process_time() - start)
        rows.append((name, spread(times_s, "s"), f"{size_bytes / 1e6:.1f} MB", GOALS.get(name, "")))
    show(
        f"Showing a report of {CALLS:,} calls",
        ("format", "CPU time, median [quartiles]", "size", "goal: under"),
        rows,
        f"{REPEATS} times each in one process; the first loads the format's library.",
    )
    show("A command's help", ("command", "CPU time, median [quartiles]", "goal: under"), list(map(_help, HELP)),
         f"{HELP_REPEATS} fresh processes each.")  # fmt: skip


def _file(report: Report) -> tuple[str, str, str, str]:
    """Reading it again from a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.json.gz"
        report.save(path)
        start = time.process_time()
        Report.load(path)
        return "reading the file", f"{time.process_time() - start:.2f} s", f"{path.stat().st_size / 1e6:.1f} MB", ""


def _help(each: tuple[str, tuple[str, ...] | None, str]) -> tuple[str, str, str]:
    name, words, goal = each
    program = "pass" if words is None else f"from wattvlm.cli import main; main([*{words!r}, '--help'])"
    times_ms: list[float] = []
    for _ in range(HELP_REPEATS):
        start_s = children_cpu_s()
        subprocess.run([sys.executable, "-c", program], stdout=subprocess.DEVNULL, check=True)
        times_ms.append((children_cpu_s() - start_s) * 1e3)
    return f"`{name}`", spread(times_ms, "ms", 0), goal


if __name__ == "__main__":
    run()
