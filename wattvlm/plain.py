"""Nouns to plain data and back: dicts, lists, numbers and strings, checked field by field by the nouns' own types."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from wattvlm.errors import ReportFormatError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Noun = TypeVar("Noun", bound="DataclassInstance")


def to_plain(value: object) -> Any:
    """A noun as dicts, lists, numbers and strings: what a JSON file holds."""
    kind = type(value)
    if kind in _WRITTEN_AS_THEY_ARE:
        return value
    if kind is tuple or kind is list:
        return [to_plain(entry) for entry in cast("Sequence[object]", value)]
    if isinstance(value, (np.ndarray, np.generic)):
        return cast("NDArray[Any]", value).tolist()
    if is_dataclass(value) and not isinstance(value, type):
        names = _NAMES.get(kind) or _NAMES.setdefault(kind, tuple(each.name for each in fields(value)))
        return {name: to_plain(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {str(key): to_plain(entry) for key, entry in cast("Mapping[object, object]", value).items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(entry) for entry in cast("Sequence[object]", value)]
    return value


_WRITTEN_AS_THEY_ARE = frozenset({str, int, float, bool, type(None)})
_NAMES: dict[type, tuple[str, ...]] = {}


def from_plain(noun: type[Noun], plain: Any, where: str) -> Noun:
    """A noun made from plain data; ReportFormatError names the first place that does not fit."""
    return cast(Noun, _reader(noun)(plain, where))


Where = Union[str, "tuple[Where, str | int]"]
"""A place in a file: its name, or the place around it with its own name or number; written out where it is wrong."""

Reader = Callable[[Any, Where], Any]

_READERS: dict[Any, Reader] = {}
"""How each type is read, found once: a report of 10,000 calls holds two million values of a few dozen types."""


def _reader(kind: Any) -> Reader:
    """How a value of a type is read from plain data."""
    if kind not in _READERS:
        _READERS[kind] = _new_reader(kind)
    return _READERS[kind]


def _new_reader(kind: Any) -> Reader:
    alias = getattr(get_origin(kind), "__value__", None)
    if alias is not None:  # numpy 2.5 writes NDArray as a type alias of Python 3.12
        kind = alias[get_args(kind)]
    origin, members = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _union_reader(kind, members)
    if origin is Literal:
        return _literal_reader(members)
    if origin is tuple:
        return _list_reader(members[0]) if members[1:] == (Ellipsis,) else _tuple_reader(members)
    if origin is np.ndarray:
        return _array_reader(get_args(members[1])[0])
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping_reader(*members)
    if is_dataclass(kind) and isinstance(kind, type):
        return _noun_reader(kind)
    return _SCALARS.get(kind) or _no_reader(kind)


def _noun_reader(noun: type[DataclassInstance]) -> Reader:
    parts: list[tuple[str, bool, Reader]] | None = None

    def read(plain: Any, where: Where) -> Any:
        nonlocal parts
        entries = _object(plain, where)
        if parts is None:  # not before: a noun may hold nouns of its own type
            hints = get_type_hints(noun)
            parts = [(each.name, _is_required(each), _reader(hints[each.name])) for each in fields(noun)]
        values: dict[str, Any] = {}
        for name, required, read_part in parts:
            if name in entries:
                values[name] = read_part(entries[name], (where, name))
            elif required:
                raise ReportFormatError(f"{_written(where)} has no {name!r}; the file is incomplete and was not read")
        if len(values) < len(entries):
            unknown = sorted(str(key)[:40] for key in entries if key not in values)
            raise ReportFormatError(
                f"{_written(where)} has unknown entries {unknown[:5]}; the file is not of this kind"
            )
        try:
            return noun(**values)
        except (ValueError, TypeError) as error:
            raise ReportFormatError(f"{_written(where)} does not hold together: {error}") from error

    return read


def _is_required(each: Field[Any]) -> bool:
    return each.default is MISSING and each.default_factory is MISSING


def _union_reader(kind: Any, members: tuple[Any, ...]) -> Reader:
    others = [member for member in members if member is not type(None)]
    if len(others) != 1 or len(others) == len(members):
        raise TypeError(f"a noun's field may be one type or None, not {kind}")
    read_known = _reader(others[0])
    return lambda plain, where: None if plain is None else read_known(plain, where)


def _literal_reader(members: tuple[Any, ...]) -> Reader:
    return lambda plain, where: plain if plain in members else _refuse(where, f"one of {members}", plain)


def _list_reader(member: Any) -> Reader:
    read_entry = _reader(member)

    def read(plain: Any, where: Where) -> tuple[Any, ...]:
        entries = _list(plain, where, "a list")
        return tuple([read_entry(entry, (where, index)) for index, entry in enumerate(entries)])

    return read


def _tuple_reader(members: tuple[Any, ...]) -> Reader:
    readers = [_reader(member) for member in members]

    def read(plain: Any, where: Where) -> tuple[Any, ...]:
        entries = _list(plain, where, "a list")
        if len(entries) != len(readers):
            _refuse(where, f"a list of {len(readers)}", plain)
        pairs = enumerate(zip(readers, entries, strict=True))
        return tuple([read_entry(entry, (where, index)) for index, (read_entry, entry) in pairs])

    return read


def _mapping_reader(key_kind: Any, entry_kind: Any) -> Reader:
    read_key, read_entry = _reader(key_kind), _reader(entry_kind)

    def read(plain: Any, where: Where) -> dict[Any, Any]:
        entries = _object(plain, where).items()
        of_names = (where, _NAMED)
        return {read_key(key, of_names): read_entry(entry, (where, key[:40])) for key, entry in entries}

    return read


def _array_reader(scalar: type[np.generic]) -> Reader:
    wanted = int if np.dtype(scalar).kind == "i" else (int, float)

    def read(plain: Any, where: Where) -> NDArray[Any]:
        entries = _list(plain, where, "a list of numbers")
        if not all(isinstance(entry, wanted) and entry is not True and entry is not False for entry in entries):
            raise ReportFormatError(
                f"{_written(where)} should be a list of numbers and holds something else; the file was not read"
            )
        try:
            array: NDArray[Any] = np.array(entries, dtype=scalar)
        except (OverflowError, ValueError) as error:
            raise ReportFormatError(f"{_written(where)} holds a number that is out of range: {error}") from error
        if not bool(np.all(np.isfinite(array))):
            raise ReportFormatError(f"{_written(where)} holds a number that is not finite")
        return array

    return read


def _float(plain: Any, where: Where) -> float:
    if type(plain) is float and isfinite(plain):
        return plain
    if not isinstance(plain, (int, float)) or isinstance(plain, bool):
        return _refuse(where, "of type float", plain)
    try:
        number = float(plain)
    except OverflowError:
        number = float("inf")
    return number if isfinite(number) else _refuse(where, "a finite number", plain)


def _int(plain: Any, where: Where) -> int:
    if isinstance(plain, int) and not isinstance(plain, bool) and abs(plain) < 2**63:
        return plain
    return _refuse(where, "of type int", plain)


def _str(plain: Any, where: Where) -> str:
    return plain if isinstance(plain, str) else _refuse(where, "of type str", plain)


def _bool(plain: Any, where: Where) -> bool:
    return plain if isinstance(plain, bool) else _refuse(where, "of type bool", plain)


_SCALARS: dict[Any, Reader] = {float: _float, int: _int, str: _str, bool: _bool}


def _no_reader(kind: Any) -> Reader:
    return lambda plain, where: _refuse(where, f"of type {getattr(kind, '__name__', kind)}", plain)


_NAMED = "the name of an entry"


def _written(where: Where) -> str:
    """A place in words: report.calls[3].tokens."""
    if isinstance(where, str):
        return where
    inside, own = where
    if own is _NAMED:
        return f"{_NAMED} of {_written(inside)}"
    return f"{_written(inside)}[{own}]" if isinstance(own, int) else f"{_written(inside)}.{own}"


def _object(plain: Any, where: Where) -> dict[str, Any]:
    return cast("dict[str, Any]", plain) if isinstance(plain, dict) else _refuse(where, "an object", plain)


def _list(plain: Any, where: Where, wanted: str) -> Sequence[Any]:
    return cast("Sequence[Any]", plain) if isinstance(plain, list) else _refuse(where, wanted, plain)


def _refuse(where: Where, wanted: str, plain: Any) -> NoReturn:
    if isinstance(plain, (str, float, bool)) or plain is None:
        shown = repr(plain)[:60]
    elif isinstance(plain, int):  # Python refuses to write out numbers of thousands of digits
        shown = str(plain) if abs(plain) < 2**63 else "a number beyond 64 bits"
    else:
        shown = "an object" if isinstance(plain, dict) else "a list"
    raise ReportFormatError(f"{_written(where)} should be {wanted}, not {shown}; the file was not read")
