"""The demo itself: ask a model about held-out images under the meter."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from wattvlm.demo import model_path
from wattvlm.demo.accuracy import Accuracy
from wattvlm.demo.asking import decoded, load
from wattvlm.demo.questions import QUESTIONS, Question, best_constant_guess, held_out, is_right, prompt
from wattvlm.errors import NotResolved
from wattvlm.metering import meter
from wattvlm.report import Report
from wattvlm.units import format_significant

_OWN_MODEL_SIDE_PX = 224
"""Models of the user's own get the 8 x 8 scans enlarged to a size that common processors take."""

_ANSWER_TOKENS = 12
_SHOWN = 4
_SHADES = " ░▒▓█"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answered question about one image."""

    question: Question
    digit: int
    text: str

    @property
    def is_right(self) -> bool:
        return is_right(self.question, self.digit, self.text)


@dataclass(frozen=True, slots=True)
class Session:
    """What the demo found: the answers and the Report of the calls that gave them."""

    answers: tuple[Answer, ...]
    report: Report

    def text(self) -> str:
        """A few answers, the accuracy with its interval beside chance, and accuracy above chance per kJ."""
        lines = [*_pictures(), "", *(self._example(index) for index in range(_SHOWN)), ""]
        lines += [self._accuracy_line(question) for question in QUESTIONS]
        return "\n".join([*lines, *self._per_kilojoule(), ""])

    def _example(self, index: int) -> str:
        asked = self.answers[index * len(QUESTIONS) + index % len(QUESTIONS)]
        verdict = "right" if asked.is_right else f"wrong: it is {asked.question.truth(asked.digit)}"
        return f"  image {index + 1}: {asked.question.text:<24}{asked.text!r:<22}{verdict}"

    def _of(self, question: Question) -> tuple[Accuracy, float]:
        own = [answer for answer in self.answers if answer.question is question]
        right = sum(answer.is_right for answer in own)
        _, chance = best_constant_guess(question, [answer.digit for answer in own])
        return Accuracy(right, len(own), len(own)), chance

    def _accuracy_line(self, question: Question) -> str:
        accuracy, chance = self._of(question)
        low, high = (100 * edge for edge in accuracy.interval_fraction)
        return (
            f"  {question.text:<24}{accuracy.right:>3} of {accuracy.asked} right, {100 * accuracy.fraction:5.1f} % "
            f"(95 %: {low:.0f} to {high:.0f}), best guess without looking {100 * chance:.0f} %"
        )

    def _per_kilojoule(self) -> list[str]:
        """Accuracy above chance, (a - c) / (1 - c), per kilojoule of a request, averaged over the questions."""
        pairs = [self._of(question) for question in QUESTIONS]
        if any(chance >= 1.0 for _, chance in pairs):
            return []
        above = sum((accuracy.fraction - chance) / (1 - chance) for accuracy, chance in pairs) / len(pairs)
        try:
            energy = self.report.joules_per_request
        except NotResolved:
            return []
        tilde = "~" if energy.is_modelled else ""
        figure = format_significant(above / (energy.middle_j / 1000), 3)
        return [f"  accuracy above chance per kJ of a request: {tilde}{figure}"]


def ask(*, device: str = "", model_name: str = "", images: int = 24) -> Session:
    """Ask every question about `images` held-out images, one call each; the first call warms up and is not metered.

    model_name: a folder or a hub id of an image-text-to-text model; "" is the shipped model.
    """
    from rich.console import Console
    from rich.progress import track

    processor, model = _load(model_name, device)
    pictures = held_out().pictures(_OWN_MODEL_SIDE_PX if model_name else 8)[:images]
    digits = held_out().digits[:images]
    _ask_one(processor, model, QUESTIONS[0], pictures[0], bool(model_name))
    work = [(question, digit, picture) for digit, picture in zip(digits, pictures) for question in QUESTIONS]
    progress = track(work, "asking", console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
    with meter(label=Path(model_name).name if model_name else "digits-llava") as m:
        answers = tuple(
            Answer(question, digit, _ask_one(processor, model, question, picture, bool(model_name)))
            for question, digit, picture in progress
        )
    return Session(answers, m.report)


def _load(model_name: str, device: str) -> tuple[Any, Any]:
    """Processor and model on the device; the shipped model comes from local files alone."""
    torch: Any = import_module("torch")
    transformers: Any = import_module("transformers")
    transformers.utils.logging.disable_progress_bar()
    if model_name:
        processor = transformers.AutoProcessor.from_pretrained(model_name)
        model = transformers.AutoModelForImageTextToText.from_pretrained(model_name).eval()
    else:
        torch.set_num_threads(1)  # 0.2 M parameters: a second thread would only wait for the first
        processor, model = load(model_path())
    return processor, model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def _ask_one(processor: Any, model: Any, question: Question, picture: Any, is_own: bool) -> str:
    text = _chat_prompt(processor, question) if is_own else prompt(question)
    inputs = processor(images=[picture], text=[text], return_tensors="pt")
    return decoded(processor, model, inputs, max_new_tokens=_ANSWER_TOKENS, do_sample=False)[0]


def _chat_prompt(processor: Any, question: Question) -> str:
    """The question in the model's own chat format; the shipped model's format where it has none."""
    if not getattr(processor, "chat_template", None):
        return prompt(question)
    content = [{"type": "image"}, {"type": "text", "text": question.text}]
    return str(processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True))


def _pictures() -> list[str]:
    """The first images side by side, two characters a pixel."""
    images = held_out().images[:_SHOWN]
    shade = _SHADES if (sys.stdout.encoding or "").lower().startswith("utf") else " .:*#"
    rows = [
        "   ".join("".join(2 * shade[int(pixel) * (len(shade) - 1) // 255] for pixel in image[row]) for image in images)
        for row in range(images.shape[1])
    ]
    return ["  " + row.rstrip() for row in rows]
