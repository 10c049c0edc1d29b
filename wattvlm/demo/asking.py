"""Asking a trained model the demo's questions as a user would: processor, `generate`, decode."""

from importlib import import_module
from pathlib import Path
from typing import Any

from wattvlm.demo.accuracy import Accuracy
from wattvlm.demo.questions import QUESTIONS, HeldOutImages, Question, is_right, prompt

OVERALL = "overall"


def load(folder: Path) -> tuple[Any, Any]:
    """Processor and model of `folder`, from local files only. Raises OSError where the folder is not a model."""
    transformers: Any = import_module("transformers")
    processor = transformers.AutoProcessor.from_pretrained(folder, local_files_only=True)
    return processor, transformers.AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True).eval()


def decoded(processor: Any, model: Any, inputs: Any, **options: Any) -> list[str]:
    """What `model.generate` writes after each prompt of `inputs`, as text; inputs are moved to the model's device."""
    output = model.generate(**inputs.to(model.device), **options)
    written = output[:, inputs["input_ids"].shape[1] :]
    return [text.strip() for text in processor.batch_decode(written, skip_special_tokens=True)]


def answers(processor: Any, model: Any, question: Question, images: HeldOutImages, batch_size: int = 60) -> list[str]:
    """The model's free text about each image, in the order of the images."""
    pictures = images.pictures()
    texts: list[str] = []
    for first in range(0, len(pictures), batch_size):
        some = pictures[first : first + batch_size]
        inputs = processor(images=some, text=[prompt(question)] * len(some), return_tensors="pt", padding=True)
        texts += decoded(processor, model, inputs)
    return texts


def accuracies(processor: Any, model: Any, images: HeldOutImages) -> dict[str, Accuracy]:
    """Accuracy by question name, and under "overall" that of all answers together."""
    right_by_question: dict[str, int] = {}
    for question in QUESTIONS:
        texts = answers(processor, model, question, images)
        pairs = zip(images.digits, texts, strict=True)
        right_by_question[question.name] = sum(is_right(question, digit, text) for digit, text in pairs)
    n = len(images)
    each = {name: Accuracy(right, n, n) for name, right in right_by_question.items()}
    return {**each, OVERALL: Accuracy(sum(right_by_question.values()), n * len(QUESTIONS), n)}
