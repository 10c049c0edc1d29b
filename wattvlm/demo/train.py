"""Trains the demo's model from scratch: `python -m wattvlm.demo.train --out FOLDER`.

It needs the extra "torch" with transformers 5, scikit-learn, one thread, and about three minutes on it.
"""

import json
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from wattvlm.demo import asking, splitting
from wattvlm.demo.accuracy import Accuracy
from wattvlm.demo.architecture import VISUAL_TOKENS, untrained_model, untrained_processor
from wattvlm.demo.fitting import Fit, Plan, fit
from wattvlm.demo.questions import HELD_OUT_FILE, QUESTIONS, HeldOutImages, best_constant_guess
from wattvlm.demo.saving import save

CARD_FILE = "card.json"

_USUAL = Plan()


def _accuracy_entry(accuracy: Accuracy, guess: tuple[str, float] | None) -> dict[str, Any]:
    low, high = accuracy.interval_fraction
    entry: dict[str, Any] = {
        "right": accuracy.right,
        "asked": accuracy.asked,
        "images": accuracy.independent,
        "fraction": round(accuracy.fraction, 4),
        "wilson_95": [round(low, 4), round(high, 4)],
    }
    if guess is not None:
        entry["best_constant_guess"] = {"answer": guess[0], "fraction": round(guess[1], 4)}
    return entry


def _examined(processor: Any, model: Any, images: HeldOutImages) -> dict[str, Any]:
    """Accuracy on `images` for each question and overall, beside the best guess that looks at no image."""
    guesses = {question.name: best_constant_guess(question, images.digits) for question in QUESTIONS}
    reached = asking.accuracies(processor, model, images)
    return {name: _accuracy_entry(accuracy, guesses.get(name)) for name, accuracy in reached.items()}


def _require_transformers_5() -> None:
    """The image processor that needs no torchvision came with transformers 5 (the result loads with 4.57 too)."""
    transformers: Any = import_module("transformers")
    if int(transformers.__version__.split(".")[0]) < 5:
        raise ImportError(f"transformers {transformers.__version__} is older than 5")


def _trained_with() -> dict[str, str]:
    return {name: version(name) for name in ("torch", "transformers", "tokenizers", "scikit-learn", "numpy")}


def _card(folder: Path, split: splitting.Split, plan: Plan, best: Fit) -> dict[str, Any]:
    """What the model is and can do, found by loading `folder` again and asking as a user would."""
    processor, model = asking.load(folder)
    return {
        "what": "A tiny LLaVA trained from scratch to answer three questions about handwritten digits",
        "model_class": type(model).__name__,
        "parameters": model.num_parameters(),
        "visual_tokens_per_image": VISUAL_TOKENS,
        "questions": {question.name: question.text for question in QUESTIONS},
        "images": {
            "source": splitting.SOURCE,
            "split_seed": splitting.SPLIT_SEED,
            "train": len(split.train),
            "validation": len(split.validation),
            "test": len(split.test),
            "shipped": len(split.shipped),
            "note": (
                f"The parts have no image in common, but the same people wrote digits of each part. {HELD_OUT_FILE}"
                f" holds the first {splitting.SHIPPED_IMAGES_PER_DIGIT} test images of each digit."
            ),
        },
        "training": {
            **asdict(plan),
            "chosen_step": best.step,
            "chosen_by": "most validation answers right; the later step where equal",
            "versions": _trained_with(),
        },
        "accuracy_note": (
            "The three answers about one image follow from one digit, so the intervals count images, not answers."
        ),
        "validation": _examined(processor, model, split.validation),
        "test": _examined(processor, model, split.test),
        "shipped_test_images": _examined(processor, model, split.shipped),
    }


def train(folder: Path, plan: Plan) -> dict[str, Any]:
    """Trains, writes model, held-out images and card.json into `folder`, and gives the card.

    Uses one torch thread, and puts the former number back. Raises ImportError where a package is missing or too old.
    """
    _require_transformers_5()
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    torch: Any = import_module("torch")
    split = splitting.split_digits()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        torch.manual_seed(plan.seed)
        processor = untrained_processor()
        model = untrained_model(processor.tokenizer)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns) as bar:
            task = bar.add_task("training", total=plan.steps)

            def show(step: int, fraction: float) -> None:
                bar.update(task, completed=step, description=f"training, best on validation {fraction:.3f}")

            best = fit(model, processor, split, plan, show)
        model.load_state_dict(best.weights)
        save(folder, processor, model, split.shipped)
        card = _card(folder, split, plan, best)
    finally:
        torch.set_num_threads(threads)
    (folder / CARD_FILE).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return card


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("digits_llava"), help="Folder to write.")
@click.option("--steps", type=click.IntRange(min=1), default=_USUAL.steps, show_default=True)
@click.option("--batch-size", type=click.IntRange(min=1), default=_USUAL.batch_size, show_default=True)
@click.option("--learning-rate", type=float, default=_USUAL.learning_rate, show_default=True)
@click.option("--check-every", type=click.IntRange(min=1), default=_USUAL.check_every, show_default=True)
@click.option("--seed", type=int, default=_USUAL.seed, show_default=True)
def main(out: Path, **plan: Any) -> None:
    """Train the demo's model from scratch and write it to a folder."""
    try:
        card = train(out, Plan(**plan))
    except ImportError as error:
        cure = "pip install 'wattvlm[torch]' 'transformers>=5' scikit-learn"
        raise click.ClickException(f"{error}. Nothing was trained or written; run: {cure}") from error
    for name, entry in card["test"].items():
        low, high = entry["wilson_95"]
        click.echo(f"test, {name}: {entry['fraction']:.3f} ({low:.3f} to {high:.3f}), {entry['asked']} answers")
    click.echo(f"{card['parameters']:,} parameters, step {card['training']['chosen_step']}, in {out}")


if __name__ == "__main__":
    main()
