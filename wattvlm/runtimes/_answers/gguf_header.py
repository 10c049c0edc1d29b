"""The key-value part of a GGUF file: a few kilobytes at its beginning (GGUF specification, version 3)."""

from __future__ import annotations

import os
from pathlib import Path
from struct import calcsize, unpack
from typing import BinaryIO

_NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_LONGEST = 1000
"""Longer arrays are vocabularies: of these only the length is kept."""


def read_header(path: Path) -> dict[str, object]:
    """Every key of a GGUF file with its value; ValueError where the file is none or is cut."""
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ValueError(f"{path} is no GGUF file")
        _number(file, "<I")
        _number(file, "<Q")
        keys = int(_number(file, "<Q"))
        return {_text(file): _value(file, int(_number(file, "<I"))) for _ in range(keys)}


def _value(file: BinaryIO, kind: int) -> object:
    if kind == _STRING:
        return _text(file)
    if kind != _ARRAY:
        return _number(file, _NUMBERS[kind]) if kind in _NUMBERS else _refuse(kind)
    inner, length = int(_number(file, "<I")), int(_number(file, "<Q"))
    if length <= _LONGEST:
        return [_value(file, inner) for _ in range(length)]
    _skip(file, inner, length)
    return length


def _skip(file: BinaryIO, kind: int, length: int) -> None:
    if kind in _NUMBERS:
        file.seek(calcsize(_NUMBERS[kind]) * length, os.SEEK_CUR)
        return
    if kind != _STRING:
        _refuse(kind)
    for _ in range(length):
        file.seek(int(_number(file, "<Q")), os.SEEK_CUR)


def _text(file: BinaryIO) -> str:
    length = int(_number(file, "<Q"))
    return file.read(length).decode("utf-8", "replace")


def _number(file: BinaryIO, form: str) -> float:
    content = file.read(calcsize(form))
    if len(content) < calcsize(form):
        raise ValueError("the file ends inside its header")
    (number,) = unpack(form, content)
    return number  # type: ignore[no-any-return]  # struct gives what the form says


def _refuse(kind: int) -> object:
    raise ValueError(f"values of kind {kind} are not known")
