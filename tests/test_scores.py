"""Result files of VLMEvalKit and lmms-eval: read as they are written, and joined by question."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from wattvlm.errors import ReportFormatError
from wattvlm.scores import joined, read_answers

HEAD = ("index", "question", "A", "B", "C", "D", "answer", "prediction", "category", "split", "hit", "log")


def vlmevalkit_rows(right: dict[int, int], options: int = 4) -> list[tuple[object, ...]]:
    """Rows of a multiple-choice result of VLMEvalKit."""
    letters = [*"wxyz"[:options], *[""] * (4 - options)]
    return [(index, "which?", *letters, "A", "A", "identity", "dev", hit, "") for index, hit in right.items()]


def vlmevalkit_csv(path: Path, right: dict[int, int], options: int = 4) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([HEAD, *vlmevalkit_rows(right, options)])
    return path


def lmms_eval_jsonl(path: Path, right: dict[int, float]) -> Path:
    """Lines as `--log_samples` writes them for POPE."""
    lines = [
        json.dumps({
            "doc_id": place, "target": "yes", "filtered_resps": ["Yes"], "doc_hash": "0f3a",
            "pope_accuracy": {"question_id": question, "score": score, "prediction": "yes", "ground_truth": "yes"},
            "pope_f1_score": {"question_id": question, "score": score, "prediction": "yes", "ground_truth": "yes"},
        })
        for place, (question, score) in enumerate(right.items())
    ]  # fmt: skip
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_multiple_choice_table_gives_the_hits_and_the_chance_of_its_options(tmp_path: Path):
    found = read_answers(vlmevalkit_csv(tmp_path / "m_MMBench_DEV_EN_exact_matching_result.csv", {241: 1, 252: 0}))
    assert found.measure == "hit"
    assert found.right == {"241": 1.0, "252": 0.0}
    assert found.chance == {"241": 0.25, "252": 0.25}


def test_a_spreadsheet_reads_as_the_same_table_in_csv_does(tmp_path: Path):
    openpyxl = pytest.importorskip("openpyxl", reason="spreadsheets need the extra wattvlm[scores]")
    book = openpyxl.Workbook()
    for row in (HEAD, *vlmevalkit_rows({241: 1, 252: 0}, options=2)):
        book.active.append(row)
    book.save(tmp_path / "m_result.xlsx")
    as_csv = read_answers(vlmevalkit_csv(tmp_path / "m_result.csv", {241: 1, 252: 0}, options=2))
    as_sheet = read_answers(tmp_path / "m_result.xlsx")
    assert (
        (as_sheet.right, as_sheet.chance) == (as_csv.right, as_csv.chance) == (as_csv.right, {"241": 0.5, "252": 0.5})
    )


def test_samples_of_lmms_eval_are_joined_by_the_benchmarks_own_question_id(tmp_path: Path):
    found = read_answers(lmms_eval_jsonl(tmp_path / "20260101_120000_samples_pope.jsonl", {7: 1.0, 9: 0.0}))
    assert found.measure == "pope_accuracy"
    assert found.right == {"7": 1.0, "9": 0.0}
    assert found.chance == {"7": 0.5, "9": 0.5}


def test_only_questions_that_all_runs_answered_count_and_the_rest_is_named(tmp_path: Path):
    one = read_answers(vlmevalkit_csv(tmp_path / "A_MMBench_result.csv", {1: 1, 2: 0, 3: 1}))
    two = read_answers(vlmevalkit_csv(tmp_path / "B_MMBench_result.csv", {2: 1, 3: 1}))
    scores, notes = joined({"A": one, "B": two})
    assert (scores["A"].right, scores["A"].asked) == (1, 2)
    assert (scores["B"].right, scores["B"].asked) == (2, 2)
    assert scores["A"].benchmark == "MMBench"
    assert notes == ["A: 1 of 3 questions are left out, since not all runs answered them"]


def test_files_of_two_benchmarks_are_refused(tmp_path: Path):
    one = read_answers(vlmevalkit_csv(tmp_path / "a.csv", {1: 1}))
    two = read_answers(vlmevalkit_csv(tmp_path / "b.csv", {2: 1}))
    with pytest.raises(ValueError, match="no question in common"):
        joined({"A": one, "B": two})


def test_a_chance_that_no_file_tells_is_absent_until_it_is_given(tmp_path: Path):
    (tmp_path / "open.json").write_text(json.dumps([{"index": 1, "hit": 1, "answer": "4"}]))
    answers = {"A": read_answers(tmp_path / "open.json")}
    scores, notes = joined(answers)
    assert scores["A"].chance_fraction is None
    assert "--chance" in notes[0]
    assert joined(answers, 0.004)[0]["A"].chance_fraction == 0.004


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("a.csv", "index,question,prediction\n1,which?,A\n", "does not say which answers are right"),
        ("a.csv", "index,hit\n1,17\n", "not between 0 and 1"),
        ("a.csv", "question,hit\nwhich?,1\n", "no index, question_id or doc_id"),
        ("a.csv", "", "it is empty"),
        ("a.jsonl", "{", "not readable JSON"),
        ("a.json", '{"index": 1}', "no list of answers"),
        ("a.xlsx", "not a zip", "not a readable spreadsheet"),
        ("a.txt", "1", "result files end in"),
    ],
)
def test_a_file_that_is_no_result_says_what_it_lacks(tmp_path: Path, name: str, text: str, why: str):
    (tmp_path / name).write_text(text)
    with pytest.raises(ReportFormatError, match=why):
        read_answers(tmp_path / name)
