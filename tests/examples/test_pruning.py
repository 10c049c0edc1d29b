"""The worked example of pruning runs on the shipped model: each way is metered, or says why it has no place."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from wattvlm import pruning

EXAMPLE = Path(__file__).parents[2] / "examples" / "pruning" / "each_way.py"


def test_each_way_is_metered_or_says_why_not(capsys):
    pytest.importorskip("transformers")
    from wattvlm.demo import model_path

    runpy.run_path(str(EXAMPLE))["main"](str(model_path()))
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert lines.keys() >= {"whole", *pruning.ways()}
    assert "16 visual tokens" in lines["whole"]
    assert "4 visual tokens" in lines["mmtok-1of4"]
    assert "has no place here" in lines["fastv-1of2"]
