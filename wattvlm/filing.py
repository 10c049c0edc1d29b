"""Nouns to JSON files and back: data only, checked field by field against the nouns' own types.

A file is one JSON object with "kind" and "schema_version". Reading never evaluates anything, is bounded in size, and
ends in ReportFormatError for whatever is not exactly a noun of that kind.
"""

from __future__ import annotations

import gzip
import json
import os
import tempfile
import types
import zlib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from wattvlm.errors import ReportFormatError

Noun = TypeVar("Noun")

LARGEST_FILE_BYTES = 2**31
"""A day of readings of 8 GPUs is some 300 MB of text; what is larger is refused before it is read."""


def to_plain(value: object) -> Any:
    """A noun as dicts, lists, numbers and strings: what a JSON file holds."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: to_plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(entry) for key, entry in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]  # any noun's mapping
    if isinstance(value, (list, tuple)):
        return [to_plain(entry) for entry in value]  # pyright: ignore[reportUnknownVariableType]  # any noun's tuple
    return value


def from_plain(noun: type[Noun], plain: Any, where: str) -> Noun:
    """A noun made from plain data; ReportFormatError names the first place that does not fit."""
    if not isinstance(plain, dict):
        _refuse(where, "an object", plain)
    hints = _hints(noun)
    values: dict[str, Any] = {}
    for each in fields(noun):  # type: ignore[arg-type]  # every noun is a dataclass
        if each.name in plain:
            values[each.name] = _read(hints[each.name], plain[each.name], f"{where}.{each.name}")
        elif each.default is MISSING and each.default_factory is MISSING:
            raise ReportFormatError(f"{where} has no {each.name!r}; the file is incomplete and was not read")
    unknown = sorted(str(key) for key in plain if key not in hints)
    if unknown:
        raise ReportFormatError(f"{where} has unknown entries {unknown[:5]}; the file is not of this kind")
    try:
        return noun(**values)
    except (ValueError, TypeError) as error:
        raise ReportFormatError(f"{where} does not hold together: {error}") from error


_HINTS: dict[type, dict[str, Any]] = {}


def _hints(noun: type) -> dict[str, Any]:
    if noun not in _HINTS:
        _HINTS[noun] = get_type_hints(noun)
    return _HINTS[noun]


def _read(kind: Any, plain: Any, where: str) -> Any:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _read_union(kind, plain, where)
    if origin is Literal:
        return plain if plain in get_args(kind) else _refuse(where, f"one of {get_args(kind)}", plain)
    if origin is tuple:
        return _read_tuple(get_args(kind), plain, where)
    if origin is np.ndarray:
        return _read_array(kind, plain, where)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(plain, dict):
            _refuse(where, "an object", plain)
        return {key: _read(get_args(kind)[1], entry, f"{where}.{key}") for key, entry in plain.items()}
    if is_dataclass(kind):
        return from_plain(kind, plain, where)  # type: ignore[arg-type]  # is_dataclass admits instances too
    return _read_scalar(kind, plain, where)


def _read_union(kind: Any, plain: Any, where: str) -> Any:
    members = [member for member in get_args(kind) if member is not type(None)]
    if plain is None and len(members) < len(get_args(kind)):
        return None
    if len(members) != 1:
        raise TypeError(f"{where}: a noun's field may be one type or None, not {kind}")
    return _read(members[0], plain, where)


def _read_tuple(members: tuple[Any, ...], plain: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(plain, list):
        _refuse(where, "a list", plain)
    if len(members) == 2 and members[1] is Ellipsis:
        return tuple(_read(members[0], entry, f"{where}[{index}]") for index, entry in enumerate(plain))
    if len(plain) != len(members):
        _refuse(where, f"a list of {len(members)}", plain)
    return tuple(_read(member, entry, f"{where}[{index}]") for index, (member, entry) in enumerate(zip(members, plain)))


def _read_array(kind: Any, plain: Any, where: str) -> Any:
    scalar = get_args(get_args(kind)[1])[0]
    wanted = int if issubclass(scalar, np.integer) else (int, float)
    if not isinstance(plain, list) or not all(
        isinstance(entry, wanted) and entry is not True and entry is not False for entry in plain
    ):
        _refuse(where, "a list of numbers", plain)
    try:
        array = np.array(plain, dtype=scalar)
    except (OverflowError, ValueError) as error:
        raise ReportFormatError(f"{where} holds a number that is out of range: {error}") from error
    if not bool(np.all(np.isfinite(array))):
        raise ReportFormatError(f"{where} holds a number that is not finite")
    return array


def _read_scalar(kind: Any, plain: Any, where: str) -> Any:
    if kind is float and isinstance(plain, (int, float)) and not isinstance(plain, bool):
        try:
            number = float(plain)
        except OverflowError:
            number = float("inf")
        return number if isfinite(number) else _refuse(where, "a finite number", plain)
    if kind is int and isinstance(plain, int) and not isinstance(plain, bool) and abs(plain) < 2**63:
        return plain
    if kind in (str, bool) and isinstance(plain, kind):
        return plain
    return _refuse(where, f"of type {getattr(kind, '__name__', kind)}", plain)


def _refuse(where: str, wanted: str, plain: Any) -> NoReturn:
    raise ReportFormatError(f"{where} should be {wanted}, not {str(plain)[:60]!r}; the file was not read")


def save(path: str | os.PathLike[str], kind: str, schema_version: int, content: Mapping[str, Any]) -> None:
    """Write one JSON file (gzip where the name ends in .gz), whole or not at all.

    The unfinished file beside it has an unpredictable name and mode 0600; it takes the usual mode when it is whole.
    """
    target = Path(path)
    text = json.dumps({"kind": kind, "schema_version": schema_version, **content}, allow_nan=False)
    encoded = text.encode()
    if target.name.endswith(".gz"):
        encoded = gzip.compress(encoded, mtime=0)
    descriptor, unfinished = tempfile.mkstemp(prefix=".wattvlm-", dir=target.parent or Path())
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(encoded)
        umask = os.umask(0)
        os.umask(umask)
        Path(unfinished).chmod(0o666 & ~umask)
        Path(unfinished).replace(target)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise


def load(path: str | os.PathLike[str], kind: str, schema_version: int, read: Callable[[dict[str, Any]], Noun]) -> Noun:
    """The noun in a file written by `save`; ReportFormatError says what else the file is."""
    plain = _load_json(Path(path))
    if not isinstance(plain, dict) or "kind" not in plain or "schema_version" not in plain:
        raise ReportFormatError(f"{path} is no wattvlm file: it has no kind and schema_version")
    found, version = plain.pop("kind"), plain.pop("schema_version")
    if found != kind:
        raise ReportFormatError(f"{path} holds a {str(found)[:40]!r}, not a {kind!r}: load it as that")
    if version != schema_version:
        raise ReportFormatError(
            f"{path} has schema version {str(version)[:20]}; this wattvlm reads {schema_version}. "
            "Cure: load it with the wattvlm version that wrote it"
        )
    try:
        return read(plain)
    except RecursionError as error:
        raise ReportFormatError(f"{path} is nested too deeply to be a {kind}") from error


def _load_json(path: Path) -> Any:
    try:
        with path.open("rb") as raw:
            first = raw.read(2)
        with gzip.open(path, "rb") if first == b"\x1f\x8b" else path.open("rb") as file:
            content = file.read(LARGEST_FILE_BYTES + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ReportFormatError(f"{path} is a damaged gzip file: {error}") from error
    if len(content) > LARGEST_FILE_BYTES:
        raise ReportFormatError(f"{path} is larger than {LARGEST_FILE_BYTES} bytes and was not read")
    try:
        return json.loads(content, parse_constant=_no_constant)
    except ReportFormatError:
        raise
    except (ValueError, RecursionError) as error:
        raise ReportFormatError(f"{path} is not readable JSON: {str(error)[:100]}") from error


def _no_constant(name: str) -> NoReturn:
    raise ReportFormatError(f"the file holds {name}, which is not a number; it was not read")
