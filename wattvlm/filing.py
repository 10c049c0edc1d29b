"""Nouns to JSON files and back: data only, checked field by field against the nouns' own types.

A file is one JSON object with "kind" and "schema_version". Reading never evaluates anything, is bounded in size, and
ends in ReportFormatError for whatever is not exactly a noun of that kind (OSError where there is no file to read).
"""

from __future__ import annotations

import gzip
import io
import json
import os
import secrets
import stat
import tempfile
import types
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from wattvlm.errors import ReportFormatError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Noun = TypeVar("Noun", bound="DataclassInstance")

LARGEST_FILE_BYTES = 2**30
"""A day of readings of 8 GPUs and 2 CPU packages is some 800 MB of text; what is larger is refused."""

LARGEST_EXPANSION = 100
"""Text of readings and calls is 5 to 30 times its gzip size; what unfolds further was made to fill the memory."""

ALWAYS_READ_BYTES = 2**24
"""Below this no expansion is refused: a small file of equal numbers may well shrink to a hundredth."""


def to_plain(value: object) -> Any:
    """A noun as dicts, lists, numbers and strings: what a JSON file holds."""
    if isinstance(value, (np.ndarray, np.generic)):
        return cast("NDArray[Any]", value).tolist()
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: to_plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(entry) for key, entry in cast("Mapping[object, object]", value).items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(entry) for entry in cast("Sequence[object]", value)]
    return value


def from_plain(noun: type[Noun], plain: Any, where: str) -> Noun:
    """A noun made from plain data; ReportFormatError names the first place that does not fit."""
    entries = _object(plain, where)
    hints = _hints(noun)
    values: dict[str, Any] = {}
    for each in fields(noun):
        if each.name in entries:
            values[each.name] = _read(hints[each.name], entries[each.name], f"{where}.{each.name}")
        elif each.default is MISSING and each.default_factory is MISSING:
            raise ReportFormatError(f"{where} has no {each.name!r}; the file is incomplete and was not read")
    unknown = sorted(str(key)[:40] for key in entries if key not in hints)
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
    alias = getattr(get_origin(kind), "__value__", None)
    if alias is not None:  # numpy 2.5 writes NDArray as a type alias of Python 3.12
        kind = alias[get_args(kind)]
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
        return _read_mapping(get_args(kind), plain, where)
    if is_dataclass(kind) and isinstance(kind, type):
        return from_plain(kind, plain, where)
    return _read_scalar(kind, plain, where)


def _read_union(kind: Any, plain: Any, where: str) -> Any:
    members = [member for member in get_args(kind) if member is not type(None)]
    if plain is None and len(members) < len(get_args(kind)):
        return None
    if len(members) != 1:
        raise TypeError(f"{where}: a noun's field may be one type or None, not {kind}")
    return _read(members[0], plain, where)


def _read_tuple(members: tuple[Any, ...], plain: Any, where: str) -> tuple[Any, ...]:
    entries = _list(plain, where, "a list")
    if len(members) == 2 and members[1] is Ellipsis:
        return tuple(_read(members[0], entry, f"{where}[{index}]") for index, entry in enumerate(entries))
    if len(entries) != len(members):
        _refuse(where, f"a list of {len(members)}", plain)
    pairs = enumerate(zip(members, entries))
    return tuple(_read(member, entry, f"{where}[{index}]") for index, (member, entry) in pairs)


def _read_mapping(kinds: tuple[Any, ...], plain: Any, where: str) -> dict[Any, Any]:
    key_kind, entry_kind = kinds
    return {
        _read(key_kind, key, f"the name of an entry of {where}"): _read(entry_kind, entry, f"{where}.{key[:40]}")
        for key, entry in _object(plain, where).items()
    }


def _read_array(kind: Any, plain: Any, where: str) -> NDArray[Any]:
    scalar: type[np.generic] = get_args(get_args(kind)[1])[0]
    wanted = int if np.dtype(scalar).kind == "i" else (int, float)
    entries = _list(plain, where, "a list of numbers")
    if not all(isinstance(entry, wanted) and entry is not True and entry is not False for entry in entries):
        raise ReportFormatError(f"{where} should be a list of numbers and holds something else; the file was not read")
    try:
        array: NDArray[Any] = np.array(entries, dtype=scalar)
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


def _object(plain: Any, where: str) -> dict[str, Any]:
    return cast("dict[str, Any]", plain) if isinstance(plain, dict) else _refuse(where, "an object", plain)


def _list(plain: Any, where: str, wanted: str) -> Sequence[Any]:
    return cast("Sequence[Any]", plain) if isinstance(plain, list) else _refuse(where, wanted, plain)


def _refuse(where: str, wanted: str, plain: Any) -> NoReturn:
    if isinstance(plain, (str, float, bool)) or plain is None:
        shown = repr(plain)[:60]
    elif isinstance(plain, int):  # Python refuses to write out numbers of thousands of digits
        shown = str(plain) if abs(plain) < 2**63 else "a number beyond 64 bits"
    else:
        shown = "an object" if isinstance(plain, dict) else "a list"
    raise ReportFormatError(f"{where} should be {wanted}, not {shown}; the file was not read")


def save(
    path: str | os.PathLike[str],
    kind: str,
    schema_version: int,
    content: Mapping[str, Any],
    *,
    for_reading: bool = False,
) -> None:
    """Write one JSON file (gzip where the name ends in .gz), whole or not at all.

    for_reading: one entry a line, for a file whose differences people read.
    The unfinished file beside it has an unpredictable name and mode 0600; it takes the usual mode when it is whole.
    ValueError for a number that is not finite.
    """
    target = Path(path)
    headed = {"kind": kind, "schema_version": schema_version, **content}
    text = json.dumps(headed, allow_nan=False, indent=1) + "\n" if for_reading else json.dumps(headed, allow_nan=False)
    encoded = text.encode()
    if target.name.endswith(".gz"):
        encoded = gzip.compress(encoded, compresslevel=4, mtime=0)  # 9 takes 15 s for 44 MB and saves 2 %
    descriptor, unfinished = tempfile.mkstemp(prefix=".wattvlm-", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(encoded)
            file.flush()
            os.fsync(file.fileno())
        Path(unfinished).chmod(_usual_mode(target.parent))
        Path(unfinished).replace(target)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise


def _usual_mode(folder: Path) -> int:
    """The mode of a new file in a folder, seen on an empty one: asking for the umask would set it for all threads."""
    empty = folder / f".wattvlm-{secrets.token_hex(8)}"
    descriptor = os.open(empty, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o666)
    try:
        return stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)
        empty.unlink()


def load(path: str | os.PathLike[str], kind: str, schema_version: int, read: Callable[[dict[str, Any]], Noun]) -> Noun:
    """The noun in a file written by `save`; ReportFormatError says what else the file is."""
    return load_any(path, {kind: (schema_version, read)})


def load_any(path: str | os.PathLike[str], kinds: Mapping[str, tuple[int, Callable[[dict[str, Any]], Noun]]]) -> Noun:
    """The noun in a file that may be of any of these kinds: kind -> (schema version, how it is read)."""
    loaded = _load_json(Path(path))
    plain = cast("dict[str, Any]", loaded) if isinstance(loaded, dict) else {}
    if "kind" not in plain or "schema_version" not in plain:
        raise ReportFormatError(f"{path} is no wattvlm file: it has no kind and schema_version")
    found, version = plain.pop("kind"), plain.pop("schema_version")
    if not isinstance(found, str) or found not in kinds:
        wanted = " or ".join(map(repr, kinds))
        raise ReportFormatError(f"{path} holds a {str(found)[:40]!r}, not a {wanted}: load it as that")
    schema_version, read = kinds[found]
    if type(version) is not int or version != schema_version:
        raise ReportFormatError(
            f"{path} has schema version {str(version)[:20]}; this wattvlm reads {schema_version}. "
            "Cure: load it with the wattvlm version that wrote it"
        )
    return read(plain)


def _load_json(path: Path) -> object:
    content = _read_text(path)
    try:
        return cast("object", json.loads(content, parse_constant=_no_constant))
    except (ValueError, RecursionError) as error:
        raise ReportFormatError(f"{path} is not readable JSON: {str(error)[:100]}") from error


def _read_text(path: Path) -> bytes:
    """The bytes of a file, unpacked where they are gzip."""
    if not stat.S_ISREG(path.stat().st_mode):  # a pipe without a writer would hold the reader for ever
        raise ReportFormatError(f"{path} is not a regular file and was not read")
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        try:
            return b"".join(_pieces(gzip.GzipFile(fileobj=raw) if packed else raw, raw, path))
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ReportFormatError(f"{path} is a damaged gzip file: {error}") from error


def _pieces(text: io.BufferedIOBase, raw: io.BufferedIOBase, path: Path) -> Iterator[bytes]:
    """What is read of a text, piece by piece, until it ends or has become larger than any noun's."""
    size = 0
    while piece := text.read(2**20):
        size += len(piece)
        if size > LARGEST_FILE_BYTES or size > max(ALWAYS_READ_BYTES, LARGEST_EXPANSION * raw.tell()):
            raise ReportFormatError(f"{path} holds more text than any recording or report; it was not read to its end")
        yield piece


def _no_constant(name: str) -> NoReturn:
    raise ReportFormatError(f"the file holds {name}, which is not a number; it was not read")
