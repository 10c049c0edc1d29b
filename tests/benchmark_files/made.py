"""Small data sets in the layout of each benchmark, made here: digits, squares, and short clips."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image


def png(shade: int) -> bytes:
    """A grey square."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, shade, shade)).save(file, format="PNG")
    return file.getvalue()


def as_text(shade: int) -> str:
    """The square as base64."""
    return base64.b64encode(png(shade)).decode()


def square(folder: Path, name: str, shade: int = 0) -> None:
    """The square as a file."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(png(shade))


def table(path: Path, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    """A tab-separated table."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t").writerows([heads, *rows])
    return path


def lines(path: Path, entries: Sequence[dict[str, Any]]) -> Path:
    """JSON lines."""
    path.write_text("".join(json.dumps(each) + "\n" for each in entries), encoding="utf-8")
    return path


def as_json(path: Path, found: object) -> Path:
    """A JSON file."""
    path.write_text(json.dumps(found), encoding="utf-8")
    return path


MMBENCH = ("index", "question", "hint", "A", "B", "C", "D", "answer", "category", "image", "split")


def mmbench(folder: Path) -> Path:
    """Two questions; the second has a pass of CircularEval in the file, whose picture is that of another row."""
    return table(
        folder / "MMBench_MADE.tsv",
        MMBENCH,
        [
            (3, "Which shade?", "Look\nclosely.", "white", "black", "", "", "B", "shade", as_text(0), "dev"),
            (7, "Which form?", "", "square", "circle", "line", "", "A", "form", as_text(200), "dev"),
            (1000007, "Which form?", "", "line", "square", "circle", "", "B", "form", "7", "dev"),
            (9, "Lost?", "", "yes", "no", "", "", "A", "lost", "", "dev"),
        ],
    )


def vqav2(folder: Path) -> Path:
    """Two questions on one picture."""
    square(folder / "val2014", "COCO_val2014_000000000042.jpg")
    people = ["yes"] * 8 + ["no"] * 2
    counts = ["2"] * 2 + ["two"] + ["3"] * 7
    answers = [[{"answer": each, "answer_id": place + 1, "answer_confidence": "yes"} for place, each in enumerate(said)]
               for said in (people, counts)]  # fmt: skip
    as_json(
        folder / "v2_mscoco_val2014_annotations.json",
        {"annotations": [
            {"question_id": 42000, "image_id": 42, "answer_type": "yes/no", "answers": answers[0]},
            {"question_id": 42001, "image_id": 42, "answer_type": "number", "answers": answers[1]},
        ]},
    )  # fmt: skip
    return as_json(
        folder / "v2_OpenEnded_mscoco_val2014_questions.json",
        {"info": {}, "data_subtype": "val2014", "questions": [
            {"image_id": 42, "question": "Is it black?", "question_id": 42000},
            {"image_id": 42, "question": "How many?", "question_id": 42001},
            {"image_id": 43, "question": "Not there?", "question_id": 43000},
        ]},
    )  # fmt: skip


def vizwiz(folder: Path) -> Path:
    """One question."""
    square(folder, "VizWiz_val_00000000.jpg")
    people = [{"answer": "unanswerable", "answer_confidence": "no"}] * 4 + [
        {"answer": "soup", "answer_confidence": "yes"}
    ] * 6
    return as_json(folder / "val.json", [{"image": "VizWiz_val_00000000.jpg", "question": "What is this?",
                                          "answers": people, "answer_type": "other", "answerable": 1}])  # fmt: skip


def clip(folder: Path, name: str, count: int) -> None:
    """Frames of a clip."""
    for place in range(count):
        square(folder / name, f"{place:05d}.png", 10 * place)


def mvbench(folder: Path) -> Path:
    """One question on a whole clip, one on its second second."""
    clip(folder / "frames", "one", 9)
    entry = {"video": "one.mp4", "question": "What happens?", "candidates": ["It rises.", "It falls."]}
    return as_json(
        folder / "made_task.json",
        [entry | {"answer": "It falls."}, entry | {"answer": "It rises.", "start": 1.0, "end": 2.0}],
    )


def mmbench_video(folder: Path) -> Path:
    """One open question on a clip."""
    clip(folder / "frames", "abc", 4)
    return table(
        folder / "MMBench-Video.tsv",
        ("index", "video", "video_type", "question", "answer", "dimensions"),
        [(0, "abc", "Sports", "Who wins?", "The square.", "['FP-S']")],
    )


def mmvet(folder: Path) -> Path:
    """Two open questions."""
    square(folder, "v1_0.png")
    entry = {"imagename": "v1_0.png", "question": "What is x?", "answer": "-1 <AND> -5", "imagesource": "made"}
    return as_json(folder / "mm-vet.json", {"v1_0": entry | {"capability": ["ocr", "math"]},
                                            "v1_1": entry | {"capability": ["rec"]}})  # fmt: skip


def snli_ve(folder: Path) -> Path:
    """A line for each label, and one without agreement."""
    square(folder, "4705552913.jpg")
    labels = ("entailment", "neutral", "contradiction", "-")
    entries = [{"Flickr30K_ID": "4705552913", "pairID": f"{place}e", "sentence2": "It is a square.",
                "gold_label": label} for place, label in enumerate(labels)]  # fmt: skip
    return lines(folder / "snli_ve_dev.jsonl", entries)


def blink(folder: Path) -> Path:
    """A question on two pictures, and one of a hidden split."""
    square(folder, "a.png", 0)
    square(folder, "b.png", 255)
    entry = {"question": "Which is darker?", "sub_task": "Shade", "choices": ["the first", "the second"],
             "image_1": "a.png", "image_2": "b.png", "image_3": None, "prompt": "..."}  # fmt: skip
    return lines(folder / "blink.jsonl", [entry | {"idx": "val_Shade_1", "answer": "(A)"},
                                          entry | {"idx": "test_Shade_1", "answer": "hidden"}])  # fmt: skip


def mmeb(folder: Path) -> Path:
    """A query by text for pictures."""
    square(folder, "a.png", 0)
    square(folder, "b.png", 255)
    return lines(folder / "mmeb.jsonl", [{"qry_text": "Find the black one.", "qry_img_path": "",
                                          "tgt_text": ["<|image_1|>\nA picture.", "<|image_1|>\nA picture."],
                                          "tgt_img_path": ["a.png", "b.png"]}])  # fmt: skip
