"""The page that compares meters copies no figure wrong: its measured rows are those of the page of accuracy."""

from tests.docs.pages import ROOT

MEASURED = (ROOT / "docs/accuracy.md").read_text().splitlines()
COMPARED = (ROOT / "docs/comparison.md").read_text()


def test_every_measured_row_of_the_comparison_is_one_of_the_accuracy_page() -> None:
    _, _, figures = COMPARED.partition("## The same calls")
    rows = [line for line in figures.splitlines() if line.startswith("|") and not line.startswith("|---")]
    assert len(rows) > 14
    cure = "copy 'mean of 20 calls' and 'What each meter costs' of docs/accuracy.md into docs/comparison.md anew"
    assert [row for row in rows if row not in MEASURED] == [], cure


def test_peers_are_named_with_the_version_that_was_measured() -> None:
    heading = next(line for line in COMPARED.splitlines() if "optimum-benchmark 0" in line)
    for named in ("zeus 0.16.0", "codecarbon 3.3.2"):
        assert named in heading
        assert any(line.startswith(f"| {named}") for line in MEASURED)
