"""The page of models says what its rows say, and the rows are those of a run in which no family was wrong."""

import json
from pathlib import Path

from docs.models import PAGE, ROWS, page


def test_the_page_is_what_the_kept_rows_say():
    assert PAGE.read_text() == page(json.loads(ROWS.read_text())), "docs/models.md is old: run python -m docs.models"


def test_no_family_in_the_matrix_is_wrong():
    rows = [row for kept in json.loads(Path(ROWS).read_text()).values() for row in kept]
    assert len(rows) > 100
    assert [row["family"] for row in rows if row["result"] not in ("right", "not run")] == []
