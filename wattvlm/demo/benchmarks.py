"""The held-out digits as benchmarks: in MMBench's table, which is shipped, and in VQAv2's files.

python -m wattvlm.demo.benchmarks FOLDER     # writes both
"""

from __future__ import annotations

import base64
import csv
import io
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from wattvlm.demo.questions import DIGIT_WORDS, QUESTIONS, HeldOutImages, Question, held_out

_OPTIONS = 4
_PEOPLE = 10
_HEADS = ("index", "question", "hint", "A", "B", "C", "D", "answer", "category", "image", "split")
_SUBSET = "digits"
_AS_VQA_WRITES = {word: str(digit) for digit, word in enumerate(DIGIT_WORDS)}


def digits_path() -> Path:
    """The shipped table: each question of the demo about each held-out picture, with up to four options."""
    return Path(__file__).parent / "digits_mmbench.tsv"


def write_mmbench(path: Path, images: HeldOutImages) -> Path:
    """MMBench's table; the right option stands at a place of chance, which the seed settles."""
    chance = random.Random(0)
    rows: list[Sequence[object]] = []
    for picture, digit in zip(_pngs(images), images.digits, strict=True):
        text = base64.b64encode(picture).decode()
        for question in QUESTIONS:
            options = _options(question, digit, chance)
            letter = "ABCD"[options.index(question.truth(digit))]
            blank = [""] * (_OPTIONS - len(options))
            rows.append([len(rows), question.text, "", *options, *blank, letter, question.name, text, "held_out"])
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t", lineterminator="\n").writerows([_HEADS, *rows])
    return path


def write_vqav2(folder: Path, images: HeldOutImages) -> Path:
    """VQAv2's questions, annotations, and pictures; ten people who all know the answer. Gives the questions' path."""
    pictures = folder / _SUBSET
    pictures.mkdir(parents=True, exist_ok=True)
    questions: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for number, (picture, digit) in enumerate(zip(_pngs(images), images.digits, strict=True)):
        (pictures / f"COCO_{_SUBSET}_{number:012d}.png").write_bytes(picture)
        for place, question in enumerate(QUESTIONS):
            id = number * len(QUESTIONS) + place
            answer = _AS_VQA_WRITES.get(question.truth(digit), question.truth(digit))
            people = [{"answer": answer, "answer_id": each + 1} for each in range(_PEOPLE)]
            questions.append({"image_id": number, "question": question.text, "question_id": id})
            annotations.append({"question_id": id, "image_id": number, "answer_type": question.name, "answers": people})
    path = folder / f"v2_OpenEnded_{_SUBSET}_questions.json"
    path.write_text(json.dumps({"data_subtype": _SUBSET, "questions": questions}), encoding="utf-8")
    annotated = folder / f"v2_{_SUBSET}_annotations.json"
    annotated.write_text(json.dumps({"data_subtype": _SUBSET, "annotations": annotations}), encoding="utf-8")
    return path


def _options(question: Question, digit: int, chance: random.Random) -> list[str]:
    """The right answer among others that are possible, in an order of chance."""
    right = question.truth(digit)
    others = [each for each in question.possible if each != right]
    found = [right, *chance.sample(others, min(_OPTIONS - 1, len(others)))]
    chance.shuffle(found)
    return found


def _pngs(images: HeldOutImages) -> list[bytes]:
    found: list[bytes] = []
    for picture in images.pictures():
        file = io.BytesIO()
        picture.save(file, format="PNG")
        found.append(file.getvalue())
    return found


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    print(write_mmbench(target / digits_path().name, held_out()))
    print(write_vqav2(target, held_out()))
