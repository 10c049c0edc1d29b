"""Every probe keeps the contract of `wattvlm.sensing`; a new file in `probes/` is found and held to it by itself."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from wattvlm.errors import ProbeLost, ProbeRetry, ProbeUnavailable
from wattvlm.plugins import own_modules
from wattvlm.sensing import DOMAINS, EnergyReading, PowerReading, Sensors

PACKAGE = "wattvlm.probes"
MODULES = {module.__name__.rpartition(".")[2]: module for module in own_modules(PACKAGE)}
CONTRACT = {"wattvlm.sensing", "wattvlm.errors", "wattvlm.units", "wattvlm.clock"}
HEAVY = {"pynvml", "psutil", "numpy", "torch", "rich", "codecarbon", "pandas"}

SIGNS = {
    "amdsmi": ("/sys/class/drm", "/dev/kfd"),
    "apple": ("/System/Library/CoreServices",),
    "cray": ("/sys/cray",),
    "grace": ("/sys/class/hwmon", "/sys/bus/acpi"),
    "intel_gpu": ("/sys/class/hwmon",),
    "jetson": ("/sys/bus/i2c",),
    "rapl_service": ("/run/wattvlm",),
    "perf_rapl": ("/sys/bus/event_source/devices/power",),
}
"""Without any of these paths there cannot be such a device; with one there may."""

every_sensor = pytest.mark.parametrize("name", MODULES)
every_probe = pytest.mark.parametrize("name", [name for name, module in MODULES.items() if hasattr(module, "PROBE")])
every_other = pytest.mark.parametrize(
    "name", [name for name, module in MODULES.items() if not hasattr(module, "PROBE")]
)


@pytest.fixture
def probe(name):
    made = MODULES[name].PROBE()
    yield made
    made.close()


def outcome(probe):
    """What opening gives: sensors, and the errors that it raised instead."""
    try:
        return probe.open(), ()
    except ProbeUnavailable as error:
        return Sensors(()), (error,)


@every_probe
def test_open_gives_usable_channels_or_says_what_that_means_and_what_cures_it(name, probe):
    sensors, unavailable = outcome(probe)
    names = [channel.name for channel in sensors.channels]
    assert len(set(names)) == len(names)
    for channel in sensors.channels:
        device, slash, part = channel.name.partition("/")
        assert (bool(device), slash, bool(part)) == (True, "/", True)
        assert channel.domain in DOMAINS
        assert channel.method in ("counter", "power", "model")
        assert channel.sensor
        assert channel.device
        assert channel.source
        # A nearer sensor's channel, which this machine may have or not, is named with the reason.
        assert channel.contained_in is None or channel.contained_in in names or "contained_in" in channel.source
        assert channel.contained_in != channel.name
    for absence in (*sensors.absent, *unavailable):
        assert absence.what
        assert absence.effect
        assert absence.remedy


@pytest.mark.parametrize("name", SIGNS)
def test_a_device_that_cannot_be_here_is_not_mentioned(name, probe):
    if any(Path(path).exists() for path in SIGNS[name]):
        pytest.skip(f"this machine may have what {name} reads")
    assert outcome(probe) == (Sensors(()), ())


@pytest.mark.parametrize("name", ["nvml", "rapl"])
def test_the_sensors_that_most_machines_could_have_are_missed_aloud(name, probe):
    sensors, unavailable = outcome(probe)
    assert sensors.channels or sensors.absent or unavailable


@every_probe
def test_a_reading_belongs_to_its_channel_and_to_the_time_of_the_read(name, probe):
    for channel in outcome(probe)[0].channels:
        try:
            readings = probe.read(channel)
        except (ProbeRetry, ProbeLost):
            continue
        for reading in readings:
            assert reading.channel == channel.name
            assert isinstance(reading, EnergyReading if channel.method == "counter" else (EnergyReading, PowerReading))
            assert reading.took_ns >= 0
            if isinstance(reading, EnergyReading):
                assert reading.unchanged_at_ns <= reading.time_ns


@every_probe
def test_closing_twice_or_before_opening_is_fine(name, probe):
    probe.close()
    probe.close()


@every_other
def test_a_sensor_without_a_probe_says_how_it_is_made(name):
    stated = re.search(rf'ProbeSource\("{PACKAGE}\.{name}:(\w+)"', MODULES[name].__doc__ or "")
    assert stated is not None
    for verb in ("open", "read", "close"):
        assert callable(getattr(getattr(MODULES[name], stated[1]), verb))


@every_sensor
def test_a_sensor_imports_nothing_of_wattvlm_but_the_contract_and_its_own_parts(name):
    imported: set[str] = set()
    for node in ast.walk(ast.parse(Path(str(MODULES[name].__file__)).read_text())):
        if isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(str(node.module))
            if node.module in ("wattvlm", PACKAGE):
                imported.update(f"{node.module}.{alias.name}" for alias in node.names)
                imported.discard(str(node.module))
    foreign = {module for module in imported if module.partition(".")[0] == "wattvlm"} - CONTRACT
    assert {module for module in foreign if not module.startswith(f"{PACKAGE}._")} == set()


def test_making_every_probe_touches_no_file_no_library_and_no_process():
    script = f"""
import json, sys
from wattvlm.plugins import own_modules
made = [module.PROBE for module in own_modules({PACKAGE!r}) if hasattr(module, "PROBE")]
heavy = sorted({HEAVY!r} & set(sys.modules))
seen = []
sys.addaudithook(lambda event, arguments: seen.append([event, str(arguments[:1])]))
probes = [make() for make in made]
touched = [entry for entry in seen if entry[0] in ("open", "ctypes.dlopen", "subprocess.Popen", "os.listdir", "import")]
print(json.dumps([heavy, touched, len(probes)]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy, touched, count = json.loads(done.stdout)
    assert heavy == []
    assert touched == []
    assert 2 <= count <= len(MODULES)
