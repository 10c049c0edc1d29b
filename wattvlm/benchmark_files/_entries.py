"""Rows of tables and objects of JSON, as several formats need them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from wattvlm.benchmark_files.question import BenchmarkFileError, Picture

Entry = Mapping[str, Any]

PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")


def rows(path: Path) -> Iterator[tuple[int, list[str], list[str]]]:
    """(offset of its first byte, heads, cells) of each row of a tab-separated table, one row in memory at a time."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        with path.open("rb") as file:
            lines = (line.decode("utf-8") for line in iter(file.readline, b""))
            reader = csv.reader(lines, delimiter="\t")
            heads = [head.lstrip("\ufeff") for head in next(reader, list[str]())]
            while True:
                offset = file.tell()
                cells = next(reader, None)
                if cells is None:
                    return
                if len(cells) == len(heads):
                    yield offset, heads, cells
    except (csv.Error, UnicodeDecodeError) as error:
        raise BenchmarkFileError(f"{path} is no readable table: {str(error)[:100]}") from error
    finally:
        csv.field_size_limit(before)


def loaded(path: Path) -> object:
    """What a JSON file holds."""
    try:
        return cast(object, json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, RecursionError) as error:
        raise BenchmarkFileError(f"{path} is not readable JSON: {str(error)[:100]}") from error


def objects(path: Path, found: object = None) -> list[Entry]:
    """A list of objects: of a JSON file, or of one that was loaded; of JSON lines where its name ends in .jsonl."""
    if found is None and path.suffix == ".jsonl":
        lines = path.read_text(encoding="utf-8").splitlines()
        try:
            found = [json.loads(line) for line in lines if line.strip()]
        except ValueError as error:
            raise BenchmarkFileError(f"{path} is not readable JSON: {str(error)[:100]}") from error
    found = loaded(path) if found is None else found
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in cast("list[object]", found)):
        raise BenchmarkFileError(f"{path} is no list of questions")
    return cast("list[Entry]", found)


def text_of(entry: Entry, name: str) -> str:
    """A value as text; "" where there is none, or the table's nan."""
    value = str(entry.get(name) if entry.get(name) is not None else "").strip()
    return "" if value == "nan" else value


def picture(folder: Path, name: str) -> Picture | None:
    """A picture by its name, with or without its ending; None where it is not there."""
    path = folder / name
    if path.suffix.lower() in PICTURE_ENDINGS:
        return Picture(path) if path.is_file() else None
    found = (folder / f"{name}{ending}" for ending in PICTURE_ENDINGS)
    return next((Picture(each) for each in found if each.is_file()), None)


def frames(folder: Path, clip: str) -> tuple[Picture, ...]:
    """The frames of a clip in the order of their names: the pictures in the folder that is named like the clip."""
    for place in (folder / clip, (folder / clip).with_suffix("")):
        if place.is_dir():
            found = sorted(each for each in place.iterdir() if each.suffix.lower() in PICTURE_ENDINGS)
            return tuple(Picture(each) for each in found)
    return ()
