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
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from wattvlm.errors import ReportFormatError
from wattvlm.plain import from_plain as from_plain
from wattvlm.plain import to_plain as to_plain

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Noun = TypeVar("Noun", bound="DataclassInstance")

LARGEST_FILE_BYTES = 2**30
"""A day of readings of 8 GPUs and 2 CPU packages is some 800 MB of text; what is larger is refused."""

LARGEST_EXPANSION = 100
"""Text of readings and calls is 5 to 30 times its gzip size; what unfolds further was made to fill the memory."""

ALWAYS_READ_BYTES = 2**24
"""Below this no expansion is refused: a small file of equal numbers may well shrink to a hundredth."""


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
