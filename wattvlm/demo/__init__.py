"""The shipped demo: a tiny real vision-language model, and questions about held-out images of digits."""

from pathlib import Path


def model_path() -> Path:
    """The folder of the shipped model: weights, tokenizer, processor, held-out images and card.json."""
    return Path(__file__).parent / "digits_llava"


def replay_path() -> Path:
    """The shipped recording of a simulated data-centre session, for `wattvlm demo --replay`."""
    return Path(__file__).parent / "data_centre.json.gz"
