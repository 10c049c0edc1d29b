"""A comparison as one JSON object, for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import isfinite
from typing import Any, cast

from wattvlm import filing
from wattvlm.comparison import Comparison, Standings
from wattvlm.renderers._comparisons._page import Noun
from wattvlm.sweep import Sweep

FORMAT = "json"
FILE_EXTENSION = ".json"
SCHEMA_VERSION = 1
KINDS = {Comparison: "wattvlm comparison", Standings: "wattvlm standings", Sweep: "wattvlm sweep"}


def render(noun: Noun, indent: int | None = 1) -> str:
    """The comparison as JSON with kind and schema_version; an end of an interval that is not known is null."""
    whole = {"kind": KINDS[type(noun)], "schema_version": SCHEMA_VERSION, **finite(filing.to_plain(noun))}
    return json.dumps(whole, allow_nan=False, indent=indent)


def finite(plain: Any) -> Any:
    """The same with null in place of each number that is not finite."""
    if isinstance(plain, dict):
        return {key: finite(entry) for key, entry in cast("dict[str, Any]", plain).items()}
    if isinstance(plain, list):
        return [finite(entry) for entry in cast("Sequence[Any]", plain)]
    return None if isinstance(plain, float) and not isfinite(plain) else plain
