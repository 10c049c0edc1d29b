"""What is measured: models by transformers, with their own processors, or with random weights and made-up inputs."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from wattvlm.bench.configs import PUBLISHED
from wattvlm.bench.design import Cell
from wattvlm.bench.made_up import made_up_inputs
from wattvlm.bench.quantised import base_dtype, quantise
from wattvlm.errors import WattvlmError

SHIPPED = "shipped"
QUESTION = "What is in the image? Answer in detail."
OWN_SIDE_PX = 336
"""Pixels a side of the images where none are asked for; the shipped model's scans have 8."""


class TransformersSubject:
    """Models loaded by transformers, one at a time; the loaded one is kept for the next cell.

    random_weights: a model is a name in `bench.configs` or a config.json, and nothing is loaded from anywhere. Else it
    is "shipped", a folder, or a hub id; the hub is asked only where `may_download` is True.
    """

    def __init__(self, *, random_weights: bool = False, may_download: bool = False) -> None:
        self._random_weights = random_weights
        self._may_download = may_download
        self._loaded: tuple[tuple[str, str, str], Any, Any] | None = None

    def call_of(self, cell: Cell, seed: int) -> Callable[[], Any]:
        """One call of the cell: preprocess and `generate`, the answer exactly as long as the cell says."""
        model, _ = self.loaded(cell, seed)
        inputs, options = self.inputs_of(cell, seed), exactly(cell.output_tokens)
        return lambda: model.generate(**inputs(), **options)

    def inputs_of(self, cell: Cell, seed: int) -> Callable[[], Any]:
        """What makes the inputs of a call: by the processor each time, or with random weights the same made-up ones."""
        model, processor = self.loaded(cell, seed)
        if processor is None:
            made = made_up_inputs(model, cell, seed)
            return lambda: made
        pictures, texts = _asked(processor, cell, seed)
        return lambda: processor(images=pictures, text=texts, return_tensors="pt", padding=True).to(model.device)

    def loaded(self, cell: Cell, seed: int) -> tuple[Any, Any]:
        """The cell's model and its processor, None with random weights; loaded once for cells with the same."""
        if self._loaded is None or self._loaded[0] != cell.loading:
            self._loaded = None  # the one before is given up first: two may not fit
            self._loaded = cell.loading, *self._load(cell, seed)
        return self._loaded[1], self._loaded[2]

    def _load(self, cell: Cell, seed: int) -> tuple[Any, Any]:
        torch: Any = import_module("torch")
        transformers: Any = import_module("transformers")
        transformers.utils.logging.disable_progress_bar()
        dtype = base_dtype(torch, cell.dtype, cell.device)
        if self._random_weights:
            config = transformers.AutoConfig.for_model(**config_of(cell.model))
            torch.manual_seed(seed)
            with torch.device(cell.device or "cpu"):
                model = transformers.AutoModelForImageTextToText.from_config(config, dtype=dtype).eval()
            _ends_nowhere(model)
            quantise(model, cell.dtype)
            return model, None
        source = _source(cell.model)
        local = {"local_files_only": not self._may_download}
        try:
            processor = transformers.AutoProcessor.from_pretrained(source, **local)
            model = transformers.AutoModelForImageTextToText.from_pretrained(source, dtype=dtype, **local).eval()
        except OSError as error:
            raise WattvlmError(
                f"{cell.model} is no folder with a model's files, and no model that the hub's cache on this machine "
                "holds. Cure: the folder's path, or --download"
            ) from error
        if getattr(processor, "tokenizer", None) is not None:
            processor.tokenizer.padding_side = "left"  # generation goes on from the end of each prompt
        model = model.to(cell.device or "cpu")
        quantise(model, cell.dtype)
        return model, processor


def exactly(output_tokens: int) -> dict[str, Any]:
    """Options of `generate` for an answer of one length."""
    return {"min_new_tokens": output_tokens, "max_new_tokens": output_tokens, "do_sample": False}


def config_of(name: str) -> dict[str, Any]:
    """The entries of a config.json: of a published model by its name, or those in a file or a folder."""
    if name in PUBLISHED:
        return PUBLISHED[name]
    path = Path(name)
    path = path / "config.json" if path.is_dir() else path
    if not path.is_file():
        raise WattvlmError(
            f"there is no configuration {name!r}. Cure: a config.json, or one of {', '.join(sorted(PUBLISHED))}"
        )
    try:
        found: object = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise WattvlmError(f"{path} is not readable JSON: {str(error)[:100]}") from error
    entries = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    if "model_type" not in entries:
        raise WattvlmError(f"{path} is no configuration of a model: it has no model_type")
    return entries


def _source(model: str) -> str:
    if model == SHIPPED:
        from wattvlm.demo import model_path

        return str(model_path())
    return model


def _ends_nowhere(model: Any) -> None:
    """Random weights may write any token; none of them may end an answer before its length is reached."""
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0


def _asked(processor: Any, cell: Cell, seed: int) -> tuple[Any, list[str]]:
    """Noise pictures of the cell's size, and a prompt for each answer of a batch, in the model's own format."""
    images: Any = import_module("PIL.Image")
    numpy: Any = import_module("numpy")
    width, height = cell.resolution or ((8, 8) if cell.model == SHIPPED else (OWN_SIDE_PX, OWN_SIDE_PX))
    chance = numpy.random.default_rng(seed)
    pixels = chance.integers(0, 256, (cell.batch_size, cell.images, height, width, 3), dtype=numpy.uint8)
    pictures = [[images.fromarray(each) for each in prompt] for prompt in pixels]
    return (pictures if cell.images else None), [prompt_of(processor, cell.images, QUESTION)] * cell.batch_size


def prompt_of(processor: Any, images: int, text: str) -> str:
    """A text about so many pictures, in the format of the processor's own chats where it has one."""
    content: list[dict[str, str]] = [{"type": "image"} for _ in range(images)]
    content.append({"type": "text", "text": text})
    if getattr(processor, "chat_template", None):
        messages = [{"role": "user", "content": content}]
        return str(processor.apply_chat_template(messages, add_generation_prompt=True))
    return f"{getattr(processor, 'image_token', '<image>') * images}\n{text}"
