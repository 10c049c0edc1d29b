"""What the demo asks, what the right answer is, and the held-out images it asks about.

Importing this module imports neither torch nor numpy; they come with the calls that need them.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wattvlm.demo import model_path

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL.Image import Image

IMAGE_TOKEN = "<image>"
DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
HELD_OUT_FILE = "held_out.npz"

_WORD_OF_NUMERAL = {str(digit): word for digit, word in enumerate(DIGIT_WORDS)}


@dataclass(frozen=True, slots=True)
class Question:
    """One question about the digit in an image; `truths[d]` is the right answer where the image shows digit d."""

    name: str
    text: str
    truths: tuple[str, ...]

    @property
    def possible(self) -> tuple[str, ...]:
        """The answers that count as an answer at all, in order of the digits."""
        return tuple(dict.fromkeys(self.truths))

    def truth(self, digit: int) -> str:
        """The right answer, one of `possible`, where the image shows `digit` (0 to 9)."""
        return self.truths[digit]

    def sentence(self, digit: int) -> str:
        """The whole sentence that the shipped model was trained to write for `digit`."""
        truth = self.truth(digit)
        return {"yes": "Yes, it is.", "no": "No, it is not."}.get(truth, f"It is {truth}.")

    def read(self, answer_text: str) -> str | None:
        """The one of `possible` that a model's free text says, or None where it says none or contradicts itself."""
        words = re.findall(r"[a-z]+|\d+", answer_text.casefold())
        said = {_WORD_OF_NUMERAL.get(word, word) for word in words} & set(self.possible)
        return said.pop() if len(said) == 1 else None


def _yes_or_no(true_for: range) -> tuple[str, ...]:
    return tuple("yes" if digit in true_for else "no" for digit in range(10))


QUESTIONS = (
    Question("digit", "Which digit is it?", DIGIT_WORDS),
    Question("even", "Is it even?", _yes_or_no(range(0, 10, 2))),
    Question("more_than_four", "Is it more than four?", _yes_or_no(range(5, 10))),
)


def prompt(question: Question) -> str:
    """The text to give the shipped model's processor beside one image; its chat template writes the same."""
    return f"USER: {IMAGE_TOKEN}\n{question.text} ASSISTANT:"


def is_right(question: Question, digit: int, answer_text: str) -> bool:
    """Whether a model's free text gives the right answer; text without a readable answer is wrong."""
    return question.read(answer_text) == question.truth(digit)


def best_constant_guess(question: Question, digits: Sequence[int]) -> tuple[str, float]:
    """The answer that is right most often without looking at `digits`' images, and the fraction it gets right.

    This is the chance level to set beside an accuracy: it is never below 1 / number of possible answers.
    Raises ValueError where `digits` is empty.
    """
    if not digits:
        raise ValueError("no digits were given, so no guess can be right or wrong; pass the digits of the images asked")
    answer, right = Counter(question.truth(digit) for digit in digits).most_common(1)[0]
    return answer, right / len(digits)


@dataclass(frozen=True, slots=True)
class HeldOutImages:
    """Images that training never saw: `images` as uint8 (n, 8, 8), 0 black to 255 white, and the digit each shows."""

    images: "npt.NDArray[np.uint8]"
    digits: tuple[int, ...]

    def __len__(self) -> int:
        """The number of images."""
        return len(self.digits)

    def pictures(self, side_px: int = 8) -> "list[Image]":
        """The images as RGB PIL images of `side_px` pixels a side (8 as scanned; more for a model that wants it)."""
        from PIL.Image import Resampling, fromarray

        pictures = [fromarray(image).convert("RGB") for image in self.images]
        return [picture.resize((side_px, side_px), Resampling.BICUBIC) for picture in pictures]


def held_out(folder: Path | None = None) -> HeldOutImages:
    """The held-out images shipped with the model, or those in another trained `folder`.

    Raises FileNotFoundError where the folder has none, and ValueError where the file holds objects (never unpickled).
    """
    import numpy as np

    with np.load((folder or model_path()) / HELD_OUT_FILE, allow_pickle=False) as arrays:
        return HeldOutImages(arrays["images"], tuple(int(digit) for digit in arrays["digits"]))
