"""The page of sensors says what the sensors' own channels say, of each sensor there is."""

import subprocess
import sys
from pathlib import Path

from wattvlm.plugins import own_modules

ROOT = Path(__file__).parents[2]
MODELS = {"cpu_model", "ram_model"}


def test_the_page_is_what_the_channels_say_today():
    done = subprocess.run(
        [sys.executable, "-m", "docs.sensors", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"docs/sensors.md is old: run python -m docs.sensors\n{done.stderr}"


def test_each_sensor_is_on_the_page():
    page = (ROOT / "docs/sensors.md").read_text()
    names = {module.__name__.rpartition(".")[2] for module in own_modules("wattvlm.probes") if hasattr(module, "PROBE")}
    assert len(names) >= 11
    assert {name for name in names - MODELS if f"`probes/{name}.py`" not in page} == set()
