"""A module that is imported later is told of the moment it is there."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import pytest

from wattvlm.runtimes._arriving import Arrivals


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / "wattvlm_later_one.py").write_text("import wattvlm_later_two\nVALUE = wattvlm_later_two.VALUE\n")
    (tmp_path / "wattvlm_later_two.py").write_text("VALUE = 1\n")
    (tmp_path / "wattvlm_broken.py").write_text("raise RuntimeError('broken')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in [name for name in sys.modules if name.startswith("wattvlm_later")]:
        del sys.modules[name]


def test_a_module_is_told_of_once_and_before_its_importer_goes_on(package):
    told: list[Any] = []

    def two(module):
        told.append(module.__name__)
        module.VALUE = 2

    arrivals = Arrivals({"wattvlm_later_two": two})
    arrivals.start()
    one = importlib.import_module("wattvlm_later_one")
    importlib.import_module("wattvlm_later_two")
    arrivals.stop()
    assert told == ["wattvlm_later_two"]
    assert one.VALUE == 2


def test_a_module_that_is_there_is_told_of_at_once(package):
    importlib.import_module("wattvlm_later_two")
    told: list[Any] = []
    arrivals = Arrivals({"wattvlm_later_two": told.append})
    finders = list(sys.meta_path)
    arrivals.start()
    assert [module.__name__ for module in told] == ["wattvlm_later_two"]
    assert sys.meta_path == finders


def test_after_the_end_nothing_is_told_and_nothing_is_left(package):
    told: list[Any] = []
    finders = list(sys.meta_path)
    arrivals = Arrivals({"wattvlm_later_two": told.append})
    arrivals.start()
    arrivals.stop()
    module = importlib.import_module("wattvlm_later_two")
    assert told == []
    assert sys.meta_path == finders
    assert "wattvlm" not in type(module.__loader__).__module__


def test_an_import_that_fails_fails_as_it_would(package):
    arrivals = Arrivals({"wattvlm_broken": print})
    arrivals.start()
    with pytest.raises(RuntimeError, match="broken"):
        importlib.import_module("wattvlm_broken")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("wattvlm_not_there_at_all")
    arrivals.stop()
