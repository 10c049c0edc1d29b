"""Scores of models on a benchmark, from the result files of VLMEvalKit and lmms-eval, joined by question.

VLMEvalKit writes a table (xlsx, csv, tsv or json) with a row a question: `index`, options `A`, `B`, ..., and `hit` (or
`score`), 0 or 1. lmms-eval writes JSON lines with `doc_id` and, under each metric's name, a number or an object that
has the number as `score` and its own `question_id`.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from math import isfinite
from pathlib import Path
from string import ascii_uppercase
from typing import Any, cast

from wattvlm.comparison import Score
from wattvlm.errors import ReportFormatError

_RESULT_WORDS = re.compile(r"(_(exact_matching|[\w.-]*gpt[\w.-]*|chatgpt\w*))?_(result|results|auxmatch)$")
_ACCURACY = re.compile(r"(^|_)(exact_match|accuracy|acc|relaxed_overall|hit|score)(_|,|$)")
_LARGEST_BYTES = 2**28

Entry = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answers:
    """One model's answers: by question id how right each is (0 to 1), and what guessing would get, where it is known.

    stem: the file's name without its ending. measure: the column or metric that was read.
    """

    stem: str
    measure: str
    right: Mapping[str, float]
    chance: Mapping[str, float]


def read_answers(path: Path, most_score: float = 1.0) -> Answers:
    """The answers in a result file; ReportFormatError says what is missing in a file that is none.

    most_score: what a wholly right answer gets (1; a judge may give more).
    """
    entries = list(_entries(path))
    if not entries:
        raise ReportFormatError(f"{path} holds no answers: it is empty")
    measure = _measure_of(entries, path)
    right: dict[str, float] = {}
    chance: dict[str, float] = {}
    for number, entry in enumerate(entries):
        question = _question_of(entry, measure, path, number)
        value = _number(entry.get(measure))
        if value is None:
            raise ReportFormatError(f"{path}: question {question} has no number under {measure!r}")
        right[question] = value / most_score
        options = _options(entry)
        if options > 1:
            chance[question] = 1.0 / options
    if not all(0.0 <= value <= 1.0 for value in right.values()):
        raise ReportFormatError(
            f"{path}: {measure!r} is not between 0 and 1 for all questions, so it is no accuracy. Cure: the result "
            "file of a benchmark with right and wrong answers"
        )
    return Answers(path.name.partition(".")[0], measure, right, chance)


def joined(answers: Mapping[str, Answers], chance_fraction: float | None = None) -> tuple[dict[str, Score], list[str]]:
    """(the score of each run on the questions that all of them answered, notes on what was left out).

    chance_fraction: what guessing gets right, where the files do not tell it. ValueError where no question is common.
    """
    common = set[str].intersection(*(set(each.right) for each in answers.values()))
    if not common:
        raise ValueError("the files of --scores have no question in common: they are of different benchmarks or splits")
    notes = [
        f"{name}: {len(each.right) - len(common):,} of {len(each.right):,} questions are left out, since not all runs "
        "answered them"
        for name, each in answers.items()
        if len(each.right) > len(common)
    ]
    benchmark = _benchmark([each.stem for each in answers.values()])
    scores = {
        name: Score(benchmark, sum(each.right[question] for question in common), len(common),
                    chance_fraction if chance_fraction is not None else _chance(each, common))
        for name, each in answers.items()
    }  # fmt: skip
    if any(each.chance_fraction is None for each in scores.values()):
        notes.append(
            "what guessing gets right is not in the files: accuracy above chance is absent. Cure: --chance 25%"
        )
    return scores, notes


def _chance(answers: Answers, common: set[str]) -> float | None:
    known = [answers.chance[question] for question in common if question in answers.chance]
    return sum(known) / len(known) if len(known) == len(common) else None


def _benchmark(stems: Sequence[str]) -> str:
    """What the names of result files share at their ends: 'MMBench_DEV_EN' of LLaVA_MMBench_DEV_EN_..._result."""
    if all("_samples_" in stem for stem in stems):
        return stems[0].partition("_samples_")[2]
    bare = [_RESULT_WORDS.sub("", stem).split("_") for stem in stems]
    if len(bare) < 2:
        return "accuracy"
    shared = list(takewhile(lambda words: len(set(words)) == 1, zip(*(reversed(words) for words in bare))))
    return "_".join(words[0] for words in reversed(shared)) or "accuracy"


def _entries(path: Path) -> Iterator[Entry]:
    suffix = path.suffix.lower()
    if path.stat().st_size > _LARGEST_BYTES:
        raise ReportFormatError(f"{path} is larger than any result file and was not read")
    if suffix == ".xlsx":
        yield from _sheet(path)
    elif suffix in (".csv", ".tsv"):
        with path.open(newline="", encoding="utf-8") as file:
            yield from csv.DictReader(file, delimiter="\t" if suffix == ".tsv" else ",")
    elif suffix in (".jsonl", ".json"):
        yield from _objects(path, by_line=suffix == ".jsonl")
    else:
        raise ReportFormatError(
            f"{path}: result files end in .xlsx, .csv, .tsv, .json (VLMEvalKit) or .jsonl (lmms-eval's samples)"
        )


def _objects(path: Path, by_line: bool) -> Iterator[Entry]:
    text = path.read_text(encoding="utf-8")
    try:
        loaded: Any = [json.loads(line) for line in text.splitlines() if line.strip()] if by_line else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ReportFormatError(f"{path} is not readable JSON: {str(error)[:100]}") from error
    if not isinstance(loaded, list) or not all(isinstance(each, dict) for each in cast("list[object]", loaded)):
        raise ReportFormatError(f"{path} is no list of answers")
    yield from cast("list[Entry]", loaded)


def _sheet(path: Path) -> Iterator[Entry]:
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        raise ReportFormatError(
            f"{path} is a spreadsheet, and openpyxl is not installed. Cure: pip install 'wattvlm[scores]', or let "
            "VLMEvalKit write tsv (PRED_FORMAT=tsv)"
        ) from error
    try:
        rows: Any = load_workbook(path, read_only=True, data_only=True).worksheets[0].iter_rows(values_only=True)
        heads = [str(head) for head in next(rows)]
        yield from (dict(zip(heads, row)) for row in rows)
    except Exception as error:  # a broken zip, XML, or sheet: openpyxl has no error of its own for them
        raise ReportFormatError(f"{path} is not a readable spreadsheet: {str(error)[:100]}") from error


def _measure_of(entries: Sequence[Entry], path: Path) -> str:
    """The column or metric that says how right an answer is."""
    first = entries[0]
    for name in ("hit", "score"):
        if _number(first.get(name)) is not None:
            return name
    named = [name for name in first if _ACCURACY.search(name) and _number(first[name]) is not None]
    if not named:
        raise ReportFormatError(
            f"{path} does not say which answers are right: it has {', '.join(map(str, first))[:200]}. Cure: "
            "VLMEvalKit's file that ends in _result (with the column hit), or lmms-eval's samples (--log_samples)"
        )
    return named[0]


def _number(value: object) -> float | None:
    """The number of a cell, or of lmms-eval's object that has it as its score."""
    if isinstance(value, dict):
        entry = cast("dict[str, object]", value)
        return _number(entry.get("score", entry.get("exact_match")))
    try:
        number = float(str(value))
    except ValueError:
        return float(value == "True" or value is True) if str(value) in ("True", "False") else None
    return number if isfinite(number) else None


def _question_of(entry: Entry, measure: str, path: Path, number: int) -> str:
    inside = entry.get(measure)
    own = cast("Entry", inside).get("question_id") if isinstance(inside, dict) else None
    for found in (own, entry.get("index"), entry.get("question_id"), entry.get("doc_id")):
        if found is not None and str(found) != "":
            return re.sub(r"\.0$", "", str(found))
    raise ReportFormatError(f"{path}: answer {number + 1} has no index, question_id or doc_id, so it cannot be joined")


def _options(entry: Entry) -> int:
    """How many answers were offered: the filled columns A, B, ..., or 2 where yes or no is asked for."""
    filled = sum(1 for letter in ascii_uppercase if str(entry.get(letter) or "").strip() not in ("", "nan"))
    target = str(entry.get("target", entry.get("answer", ""))).strip().lower()
    return filled or (2 if target in ("yes", "no") else 0)
