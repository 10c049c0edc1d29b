"""The whole report as JSON: the same file that `Report.save` writes, as text."""

from __future__ import annotations

import json

from wattvlm.report import KIND, SCHEMA_VERSION, Report

FORMAT = "json"
FILE_EXTENSION = ".json"
IS_BINARY = False


def render(report: Report, indent: int | None = None) -> str:
    """The report as one JSON object with kind and schema_version; `Report.load` reads it back. indent: spaces."""
    whole = {"kind": KIND, "schema_version": SCHEMA_VERSION, **report.to_dict()}
    return json.dumps(whole, allow_nan=False, indent=indent)
