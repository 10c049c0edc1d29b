"""Which cell is measured on which node next, without a cluster."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wattvlm import bench
from wattvlm.bench.keeping import begin
from wattvlm.bench.ledger import Ledger
from wattvlm.bench.measuring import Progress
from wattvlm.bench.on_ray import Place, Placing
from wattvlm.units import NS_PER_S


def ledger(folder: Path, **options: Any) -> Ledger:
    design = bench.Design(models=("one", "two"), output_tokens=(1, 2), **options)
    return Ledger(folder, begin(folder, design, keep_seed=False), lambda progress: None)


def placing(folder: Path, **options: Any) -> Placing:
    return Placing(None, ledger(folder, **options), subject=None, probes=[])  # type: ignore[arg-type]  # asks neither


def test_a_node_goes_on_with_the_model_that_it_has_loaded(tmp_path):
    found = placing(tmp_path)
    first = found.waiting[0]
    other = next(cell for cell in found.waiting if cell.model != first.model)
    node = Place("a", None, None, last=other)
    assert found.next_for(node) == next(cell for cell in found.waiting if cell.model == other.model)
    assert found.next_for(Place("b", None, None)) == first


def test_a_sweep_over_limits_stays_on_the_node_that_began_it(tmp_path):
    found = placing(tmp_path, power_limits_w=(200.0, 250.0))
    begun = found.waiting.pop(0)
    found.places["a"] = Place("a", None, object(), cell=begun)
    found.places["b"] = Place("b", None, None)
    other = found.next_for(found.places["b"])
    assert other is not None
    assert other.without_setting != begun.without_setting
    found.waiting = [cell for cell in found.waiting if cell.without_setting == begun.without_setting]
    assert found.next_for(found.places["b"]) is None
    found.places["a"] = replace(found.places["a"], asked=None, cell=None, last=begun)
    assert found.next_for(found.places["a"]) == found.waiting[0]


def test_time_is_shared_by_the_rounds_that_are_left(tmp_path):
    alone = ledger(tmp_path, limit_ns=80 * NS_PER_S)
    assert alone.share_ns() == pytest.approx(20 * NS_PER_S, rel=0.01)
    assert alone.share_ns(2) == pytest.approx(40 * NS_PER_S, rel=0.01)
    assert alone.share_ns(8) == pytest.approx(80 * NS_PER_S, rel=0.01)


def test_what_is_told_counts_the_cells_that_the_folder_had_before(tmp_path):
    told: list[Progress] = []
    own = ledger(tmp_path)
    cell = own.missing[0]
    own.ended(bench.Finished(cell.name, "", 0, "failed", failure="x"), None)
    again = Ledger(tmp_path, own.results, told.append)
    again.begun(cell, 0)
    assert (told[0].done, told[0].cells) == (0, 4)  # a cell that failed is measured again
