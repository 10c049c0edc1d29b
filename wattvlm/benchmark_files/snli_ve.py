"""SNLI-VE: does the picture entail a sentence, contradict it, or neither; Flickr30K's pictures in a folder.

JSON lines with Flickr30K_ID (or Flikr30kID), sentence2 (or sentence), gold_label, pairID. Source: Xie et al. 2019
(arXiv 1901.06706), necla-ml/SNLI-VE.
"""

from __future__ import annotations

from pathlib import Path

from wattvlm.benchmark_files._entries import objects, picture, text_of
from wattvlm.benchmark_files.question import LETTERS, Benchmark, Question

NAME = "snli-ve"
TELLS = "SNLI-VE's .jsonl with Flickr30K_ID, sentence2 and gold_label, and Flickr30K's pictures in a folder"

LABELS = ("entailment", "neutral", "contradiction")
ASKED = 'Does the picture show that this is true, that it is false, or neither? "{}"'
OPTIONS = ("It is true (entailment)", "Neither (neutral)", "It is false (contradiction)")


def knows(path: Path, head: str) -> bool:
    """By the keys of its first line."""
    return path.suffix == ".jsonl" and '"gold_label"' in head and ("Flickr30K_ID" in head or "Flikr30kID" in head)


def read(path: Path, pictures: Path) -> Benchmark:
    """Lines whose label people did not agree on ("-") are left out, as its authors do."""
    found: list[Question] = []
    missing: list[str] = []
    for number, entry in enumerate(objects(path)):
        label = text_of(entry, "gold_label")
        if label not in LABELS:
            continue
        image = text_of(entry, "Flickr30K_ID") or text_of(entry, "Flikr30kID")
        id = text_of(entry, "pairID") or str(number)
        there = picture(pictures, image)
        if there is None:
            missing.append(id)
            continue
        sentence = text_of(entry, "sentence2") or text_of(entry, "sentence")
        right = LETTERS[LABELS.index(label)]
        found.append(Question(id, ASKED.format(sentence), (there,), (right,), OPTIONS))
    return Benchmark(path.stem, NAME, tuple(found), "option", missing=tuple(missing))
