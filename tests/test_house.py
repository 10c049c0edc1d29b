"""The house's own rules: what may be imported, how things are named, how large they grow, what is shipped."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("wattvlm", "probes")
HEAVY = ("torch", "transformers", "numpy", "rich", "pynvml", "psutil", "dataclasses", "click", "codecarbon")

UNITS = ("_j", "_w", "_ns", "_hz", "_bytes", "_fraction")
"""What a number's name ends in; `_s` stands only at the border to people, which no dataclass field is."""

DIMENSIONLESS = {
    "identities": "call_id meter_id lane schema_version pid",
    "counts of things": "calls fewest_calls images batch_size decode_steps ticks readings gaps cpu_threads looks",
    "tokens": (
        "tokens text_input visual_encoded visual_input visual_kept audio_input cached_input output reasoning_output"
    ),
    "parameters of a model": "parameters active_parameters vision_parameters projector_parameters",
    "operations": "flops visual_flops",
    "ratios": "gain",
    "in the unit that another field of the same noun tells": "value observed_step count least mean most",
}

NOUNS = ("energy", "sensing", "recording", "trace", "report", "parts", "repeating", "host", "clock", "calibration")
PHYSICAL = re.compile(r"(^|_)(energy|power|joules|watts|time|duration|period|took|latency|memory|temperature)(_|$)")
NUMBER = re.compile(r"\b(int|float|int64|float64)\b")


def python_files() -> list[Path]:
    """Every file of code, once (wattvlm/probes is a link to probes)."""
    found = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path for path in found if not path.is_relative_to(ROOT / "wattvlm/probes")]


def run(program: str) -> str:
    """What a program prints in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_package_loads_next_to_nothing() -> None:
    loaded = run("import sys; before = set(sys.modules); import wattvlm; print(*sorted(set(sys.modules) - before))")
    assert len(loaded.split()) <= 5
    assert not set(loaded.split()) & set(HEAVY)


def test_the_public_names_are_the_ones_that_are_stated() -> None:
    stated, seen = run(
        "import wattvlm; print(*sorted(wattvlm.__all__)); "
        "print(*sorted(name for name in dir(wattvlm) if not name.startswith('_')))"
    ).splitlines()
    assert stated == seen
    assert len(stated.split()) <= 12


def public_names() -> list[str]:
    tree = ast.parse((ROOT / "wattvlm/__init__.py").read_text())
    values = [
        node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    return [str(name) for name in ast.literal_eval(values[0])]


@pytest.mark.parametrize("name", public_names())
def test_every_public_name_is_there(name: str) -> None:
    assert run(f"import wattvlm; wattvlm.{name}; print(wattvlm.{name} is wattvlm.{name})") == "True"


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    program = "import wattvlm\ntry:\n    wattvlm.nothing\nexcept AttributeError as error:\n    print(error)"
    assert run(program) == "module 'wattvlm' has no attribute 'nothing'"


def test_a_public_name_means_the_same_whatever_was_imported_before() -> None:
    """A function and a module of one name: importing the module must not take the function's place."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in sorted((ROOT / "wattvlm").glob("*.py"))
        if not path.name.startswith("_") and path.name != "pytest_plugin.py"
    ]
    program = (
        f"import importlib, types; [importlib.import_module(name) for name in {modules!r}]; import wattvlm; "
        "print(*[name for name in wattvlm._HOMES if isinstance(getattr(wattvlm, name), types.ModuleType)])"
    )
    assert run(program) == ""


def fields_of(path: Path) -> Iterator[tuple[str, str, str]]:
    """(class, field, annotation) of every dataclass in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef) and any("dataclass" in ast.unparse(each) for each in node.decorator_list):
            for entry in node.body:
                if isinstance(entry, ast.AnnAssign):
                    yield node.name, ast.unparse(entry.target), ast.unparse(entry.annotation)


def test_every_number_of_a_noun_carries_its_unit_in_its_name() -> None:
    plain = {name for names in DIMENSIONLESS.values() for name in names.split()}
    numbers = [
        (module, owner, field)
        for module in NOUNS
        for owner, field, annotation in fields_of(ROOT / f"wattvlm/{module}.py")
        if NUMBER.search(annotation)
    ]
    assert len(numbers) > 60
    assert [each for each in numbers if not each[2].endswith(UNITS) and each[2] not in plain] == []
    assert plain <= {field for _, _, field in numbers}


def test_no_field_anywhere_holds_a_physical_quantity_without_its_unit() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {owner}.{field}"
        for path in python_files()
        for owner, field, annotation in fields_of(path)
        if NUMBER.search(annotation) and PHYSICAL.search(field) and not field.endswith((*UNITS, "_s"))
    ]
    assert found == []


def test_no_file_is_named_after_nothing() -> None:
    vague = {"utils", "util", "core", "common", "helpers", "helper", "manager", "misc", "base", "info", "data"}
    assert [path.name for path in python_files() if path.stem.strip("_") in vague] == []


def test_no_class_or_function_has_a_name_that_says_nothing() -> None:
    vague = re.compile(r"(Manager|Handler|Helper|Base|Info|Data|Utils)$|^_?get_")
    named_by_click = {"get_command"}
    found = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in python_files()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and vague.search(node.name)
        and node.name not in named_by_click
    ]
    assert found == []


def test_no_file_and_no_function_grows_out_of_sight() -> None:
    """Over 300 lines a file and 50 a function are a question in review; this is where no answer would do."""
    sizes = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in python_files()}
    assert {name: lines for name, lines in sizes.items() if lines > 450} == {}
    functions = {
        f"{path.relative_to(ROOT)}: {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path in python_files()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    assert {name: lines for name, lines in functions.items() if lines > 60} == {}


def test_sensors_know_only_the_contract() -> None:
    allowed = ("wattvlm.sensing", "wattvlm.errors", "wattvlm.units", "wattvlm.clock", "wattvlm.probes._")
    allowed_for_replay = (*allowed, "wattvlm.recording")
    found = [
        f"{path.name}: {module}"
        for path in sorted((ROOT / "probes").glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        for module in imported(node)
        if module.startswith("wattvlm")
        and not module.startswith(allowed_for_replay if path.stem.strip("_").startswith("replay") else allowed)
    ]
    assert found == []


def imported(node: ast.AST) -> list[str]:
    """Modules that a statement imports; of `from package import name` with the name, which may be a module."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def shipped() -> set[str]:
    """What a wheel must hold: all code, all files beside it, under the names they are imported by."""
    names = {f"wattvlm/probes/{path.relative_to(ROOT / 'probes')}" for path in (ROOT / "probes").rglob("*.py")}
    for path in (ROOT / "wattvlm").rglob("*"):
        inside = path.relative_to(ROOT / "wattvlm")
        if path.is_file() and "__pycache__" not in inside.parts and inside.parts[0] != "probes":
            names.add(f"wattvlm/{inside}")
    return names


def setuptools_major() -> int:
    """The installed setuptools' major version, 0 without one."""
    try:
        return int(importlib.metadata.version("setuptools").partition(".")[0])
    except importlib.metadata.PackageNotFoundError:
        return 0


@pytest.mark.skipif(setuptools_major() < 77, reason="no setuptools that knows license expressions (77 or newer)")
def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    ignored = shutil.ignore_patterns("__pycache__")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, tree / folder, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree / name)
    program = "from setuptools import build_meta; print(build_meta.build_wheel('..'))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tree, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == shipped()
