"""Parts of other packages are found through their entry points, whatever else is installed."""

import subprocess
import sys
from pathlib import Path

from wattvlm.plugins import EntryPoint, entry_points


def _package(folder: Path, name: str, entries: str) -> None:
    metadata = folder / f"{name}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "entry_points.txt").write_text(entries)


def test_the_lines_of_one_group_are_found_and_those_of_others_are_not(tmp_path):
    _package(
        tmp_path, "plug", "[console_scripts]\na = b:c\n\n[wattvlm.probes]\n# a comment\nwall = plug.wall:Wall [extra]\n"
    )
    assert entry_points("wattvlm.probes", [str(tmp_path)]) == (EntryPoint("wall", "plug.wall:Wall"),)


def test_of_a_package_installed_twice_the_first_on_the_path_counts(tmp_path):
    for number in ("1", "2"):
        _package(tmp_path / number, "plug", f"[g]\nname = module{number}:x\n")
    found = entry_points("g", [str(tmp_path / "1"), str(tmp_path / "2")])
    assert [entry.target for entry in found] == ["module1:x"]


def test_what_is_no_folder_or_no_text_is_passed_over(tmp_path):
    (tmp_path / "archive.zip").write_bytes(b"PK")
    _package(tmp_path, "broken", "")
    (tmp_path / "broken-1.0.dist-info" / "entry_points.txt").write_bytes(b"\xff\xfe[g]")
    assert entry_points("g", [str(tmp_path), str(tmp_path / "archive.zip"), "/no/such/folder"]) == ()


def test_they_are_the_ones_that_importlib_metadata_finds():
    program = (
        "from importlib import metadata; from wattvlm.plugins import entry_points\n"
        "found = metadata.entry_points(group='console_scripts')\n"
        "theirs = {(e.name, e.value.partition('[')[0].strip()) for e in found}\n"
        "assert theirs == {(e.name, e.target) for e in entry_points('console_scripts')} != set()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_runtime_and_a_probe_of_another_package_take_part_in_a_meter(tmp_path):
    _package(
        tmp_path,
        "plug",
        "[wattvlm.probes]\nplug = plug:Steady\n\n[wattvlm.runtimes]\nplug = plug:RUNTIME\nlost = gone:R\n",
    )
    (tmp_path / "plug.py").write_text(PLUG)
    program = (
        "import time, wattvlm\n"
        "with wattvlm.meter() as m:\n"
        "    import plug; plug.work()\n"
        "print([use.channel.name for use in m.report.channels])\n"
        "print([call.runtime for call in m.report.calls])\n"
        "print(m.report.notes)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.append({str(tmp_path)!r})\n{program}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "plug/output" in done.stdout
    assert "['plug']" in done.stdout
    assert "the runtime lost cannot be loaded" in done.stdout


PLUG = """
import time
from wattvlm.sensing import Channel, PowerReading, Sensors
from wattvlm.trace import Mark

class Steady:
    domain = "node"
    def open(self):
        return Sensors((Channel("plug/output", "plug", "plug", "node", "power", update_period_ns=10**8),))
    def read(self, channel):
        return [PowerReading(channel.name, time.monotonic_ns(), 0, 15.0)]
    def close(self):
        pass

class PlugRuntime:
    name = "plug"
    def install(self, sink):
        self.sink = sink
    def uninstall(self):
        pass

RUNTIME = PlugRuntime()

def work():
    RUNTIME.sink(Mark(time.monotonic_ns(), "call_start", 991, "plug"))
    time.sleep(0.3)
    RUNTIME.sink(Mark(time.monotonic_ns(), "call_end", 991))
"""
