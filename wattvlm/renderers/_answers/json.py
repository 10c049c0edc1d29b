"""A study's answer as one JSON object, for programs."""

from __future__ import annotations

import json
from typing import Any

from wattvlm import filing
from wattvlm.answers import Answer
from wattvlm.renderers._comparisons.json import finite

FORMAT = "json"
FILE_EXTENSION = ".json"
KIND = "wattvlm study"
SCHEMA_VERSION = 1


def render(answer: Answer, indent: int | None = 1) -> str:
    """The answer as JSON with kind and schema_version; an end of an interval that is not known is null."""
    plain: dict[str, Any] = finite(filing.to_plain(answer))
    return json.dumps({"kind": KIND, "schema_version": SCHEMA_VERSION, **plain}, allow_nan=False, indent=indent)
