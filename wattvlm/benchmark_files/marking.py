"""How right an answer is, by the published rules of each benchmark. Pure arithmetic on text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from wattvlm.benchmark_files.question import LETTERS, Marking, Question

_STANDS_ALONE = re.compile(r"[.()\[\],:;!*#{}\"'\s]+")
_LONG_WORDS = 3
"""In an answer with more words than these, a lone capital A is rather an article than a letter."""

_REMOVED = ";:/'[]\"()=+\\_><@`,?"
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
_WORDS_OF_NUMBERS = "zero one two three four five six seven eight nine ten"
_NUMBERS = {word: str(number) for number, word in enumerate(_WORDS_OF_NUMBERS.split())} | {"none": "0"}
_ARTICLES = ("a", "an", "the")
_WITHOUT_APOSTROPHE = {
    "n't": "ai are ca could did does do had has have is might must need ought sha should was were wo would",
    "'ve": "could might must should they we what where who would you",
    "'d": "he how someone something there they where who you",
    "'ll": "how it somebody someone something they what who why you",
    "'s": "he how someone somebody something that there what when where who why",
    "'re": "there they what why you",
}
_CONTRACTIONS = {
    stem + ending.replace("'", ""): stem + ending
    for ending, stems in _WITHOUT_APOSTROPHE.items() for stem in stems.split()
} | {"maam": "ma'am", "oclock": "o'clock", "twas": "'twas", "yall": "y'all"}  # fmt: skip

ENOUGH_PEOPLE = 3
"""An answer that three of the others gave is right (Antol et al. 2015, VQA)."""


def chosen(answer: str, options: Sequence[str]) -> str | None:
    """The letter of the option that an answer names, by its letter or by its text alone; None where it names none.

    Two letters, or the texts of two options, are no choice. Rules: MMBench (arXiv 2307.06281), step of exact matching.
    """
    letters = LETTERS[: len(options)]
    words = [word for word in _STANDS_ALONE.split(answer) if word]
    named = {word for word in words if word in letters and len(word) == 1}
    if named == {"A"} and len(words) > _LONG_WORDS and not re.search(r"\(A\)|\bA[.:]|(is|:)\s+A\W*$", answer):
        named = set[str]()
    if len(named) == 1:
        return named.pop()
    said = answer.casefold()
    spoken = [letter for letter, option in zip(letters, options) if _says(said, option.casefold())]
    return spoken[0] if len(spoken) == 1 and not named else None


def _says(said: str, option: str) -> bool:
    return bool(option.strip()) and re.search(rf"(?<!\w){re.escape(option.strip(' .'))}(?!\w)", said) is not None


def soft_score(answer: str, people: Sequence[str]) -> float:
    """Agreement with people's answers, 0 to 1: min(1, how many of the others said it / 3), over each one left out.

    VQA's rule (Antol et al. 2015; Goyal et al. 2017), with its normalisation of both sides: the answer's punctuation,
    number words, articles and contractions; people's punctuation where they do not all say the same.
    """
    given = _plain_words(_unpunctuated(" ".join(answer.split("\n")).replace("\t", " ").strip()))
    others = [_unpunctuated(each) for each in people] if len(set(people)) > 1 else list(people)
    if not others:
        return 0.0
    same = [each == given for each in others]
    return fmean(min(1.0, (sum(same) - own) / ENOUGH_PEOPLE) for own in same)


def _unpunctuated(text: str) -> str:
    """Marks beside a space go, and all of them where a number has a comma; others become a space."""
    in_number = _COMMA_IN_NUMBER.search(text) is not None
    found = text
    for mark in _REMOVED:
        beside_space = f"{mark} " in text or f" {mark}" in text
        found = found.replace(mark, "" if beside_space or in_number else " ")
    return _PERIOD.sub("", found)


def _plain_words(text: str) -> str:
    words = [_NUMBERS.get(word, word) for word in text.lower().split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def score(question: Question, answer: str, marking: Marking) -> float | None:
    """How right an answer is, 0 to 1; None where a judge says it, or the file does not tell what is right."""
    if marking == "judge" or not question.right:
        return None
    if marking == "option":
        return float(chosen(answer, question.options) == question.right[0])
    return soft_score(answer, question.right)


def chance(questions: Sequence[Question], marking: Marking) -> dict[str, float]:
    """What an answer without looking gets of each question: one of the options at random, or the best constant one.

    The best constant answer is that which gets most of all these questions right; of a judge nothing is known.
    """
    if marking == "option":
        return {each.id: 1.0 / len(each.options) for each in questions if each.options}
    if marking == "judge":
        return {}
    per_answer = {
        answer: {each.id: soft_score(answer, each.right) for each in questions} for answer in commonest(questions)
    }
    return max(per_answer.values(), key=lambda scores: sum(scores.values()), default=dict[str, float]())


def commonest(questions: Sequence[Question]) -> tuple[str, ...]:
    """The right answers that most people gave, of all these questions."""
    said = Counter(answer for each in questions for answer in each.right)
    return tuple(answer for answer, _ in said.most_common(_CONSTANT_ANSWERS))


_CONSTANT_ANSWERS = 10


def over_passes(scores: Mapping[str, float], groups: Mapping[str, str]) -> dict[str, float]:
    """CircularEval: a question is right only where all of its passes are. groups: of each pass. By group.

    The product also is what guessing gets of all passes, where each is guessed anew.
    """
    found: dict[str, float] = {}
    for id, each in scores.items():
        group = groups.get(id) or id
        found[group] = found.get(group, 1.0) * each
    return found


def whole_groups(questions: Iterable[Question], most: int) -> list[Question]:
    """Questions in their order, as many as go with all of their passes into so many calls."""
    by_group: dict[str, list[Question]] = {}
    for each in questions:
        by_group.setdefault(each.group or each.id, []).append(each)
    found: list[Question] = []
    for group in by_group.values():
        if len(found) + len(group) <= most:
            found += group
    return found
