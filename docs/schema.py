"""`docs/reference/*.schema.json`: the JSON Schema of saved reports, recordings and calibrations, from the nouns' types.

python -m docs.schema            # writes the files
python -m docs.schema --check    # exit code 1 where they are not what the nouns say
"""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from wattvlm import calibration, recording, report

FOLDER = Path(__file__).with_name("reference")
FILES: Mapping[str, tuple[type, str, int]] = {
    "report.schema.json": (report.Report, report.KIND, report.SCHEMA_VERSION),
    "recording.schema.json": (recording.Recording, recording.KIND, recording.SCHEMA_VERSION),
    "calibration.schema.json": (calibration.Calibration, calibration.KIND, calibration.SCHEMA_VERSION),
}
LARGEST_INTEGER = 2**63 - 1
"""Integers of a file fit 64 bits: most are nanoseconds."""

Schema = dict[str, Any]


def schema_of_file(noun: type, kind: str, version: int) -> Schema:
    """The schema of a file that holds one noun under its kind and version."""
    defined: dict[str, Schema] = {}
    whole = _object(noun, defined)
    head = {"kind": {"const": kind}, "schema_version": {"const": version}}
    whole["properties"] = {**head, **{name: each for name, each in whole["properties"].items() if name not in head}}
    whole["required"] = [*head, *(name for name in whole["required"] if name not in head)]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"urn:{kind.replace(' ', ':')}:{version}",
        "title": kind, **whole, "$defs": dict(sorted(defined.items())),
    }  # fmt: skip


def _object(noun: Any, defined: dict[str, Schema]) -> Schema:
    """A dataclass as an object of exactly its fields; those without a default are required."""
    hints = get_type_hints(noun)
    return {
        "description": " ".join((noun.__doc__ or "").split()),
        "type": "object",
        "properties": {each.name: _schema(hints[each.name], defined) for each in fields(noun)},
        "required": [each.name for each in fields(noun) if _is_required(each)],
        "additionalProperties": False,
    }


def _is_required(each: Field[Any]) -> bool:
    return each.default is MISSING and each.default_factory is MISSING


def _schema(kind: Any, defined: dict[str, Schema]) -> Schema:
    """What a value of a type is in a file; TypeError for a type that no file holds."""
    alias = getattr(get_origin(kind), "__value__", None)
    if alias is not None:  # numpy 2.5 writes NDArray as a type alias of Python 3.12
        kind = alias[get_args(kind)]
    origin, members = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(member, defined) for member in members]}
    if origin is Literal:
        return {"enum": list(members)}
    if origin is tuple:
        return _tuple(members, defined)
    if origin is np.ndarray:
        whole = np.dtype(get_args(members[1])[0]).kind == "i"
        return {"type": "array", "items": {"type": "integer" if whole else "number"}}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "propertyNames": _schema(members[0], defined),
                "additionalProperties": _schema(members[1], defined)}  # fmt: skip
    return _scalar(kind, defined)


def _tuple(members: tuple[Any, ...], defined: dict[str, Schema]) -> Schema:
    if len(members) == 2 and members[1] is Ellipsis:
        return {"type": "array", "items": _schema(members[0], defined)}
    each = [_schema(member, defined) for member in members]
    return {"type": "array", "prefixItems": each, "minItems": len(each), "items": False}


def _scalar(kind: Any, defined: dict[str, Schema]) -> Schema:
    if is_dataclass(kind) and isinstance(kind, type):
        if kind.__name__ not in defined:
            defined[kind.__name__] = {}  # a noun that holds itself ends here
            defined[kind.__name__] = _object(kind, defined)
        return {"$ref": f"#/$defs/{kind.__name__}"}
    if kind is int:
        return {"type": "integer", "minimum": -LARGEST_INTEGER, "maximum": LARGEST_INTEGER}
    named = {float: "number", str: "string", bool: "boolean", types.NoneType: "null"}
    if kind not in named:
        raise TypeError(f"no file holds a {kind}")
    return {"type": named[kind]}


def text(name: str) -> str:
    """A schema file as it should be."""
    return json.dumps(schema_of_file(*FILES[name]), indent=1) + "\n"


def main(arguments: list[str]) -> None:
    """Write the files; with --check say instead whether they are what the nouns say."""
    paths = {FOLDER / name: text(name) for name in FILES}
    if "--check" in arguments:
        sys.exit(any(path.read_text() != shown for path, shown in paths.items()))
    for path, shown in paths.items():
        path.write_text(shown)


if __name__ == "__main__":
    main(sys.argv[1:])
