"""Writing a trained model so that transformers 4.57 and 5 both load it."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from wattvlm.demo.questions import HELD_OUT_FILE, IMAGE_TOKEN, HeldOutImages


def save(folder: Path, processor: Any, model: Any, shipped: HeldOutImages) -> None:
    """Writes weights, tokenizer, processor and the images of `shipped` into `folder`; no file is a pickle."""
    import numpy as np

    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    _name_weights_as_the_hub_does(folder / "model.safetensors")
    _name_a_tokenizer_class_that_both_know(folder / "tokenizer_config.json")
    np.savez_compressed(folder / HELD_OUT_FILE, images=shipped.images, digits=np.array(shipped.digits, np.uint8))


def _name_weights_as_the_hub_does(file: Path) -> None:
    """transformers 5 leaves out one level of names that 4.57 needs, and reads them with or without it."""
    safetensors: Any = import_module("safetensors.torch")
    short, full = "vision_tower.", "vision_tower.vision_model."
    weights = {
        name if name.startswith(full) else name.replace(short, full, 1): tensor
        for name, tensor in safetensors.load_file(file).items()
    }
    file.write_bytes(safetensors.save(weights, metadata={"format": "pt"}))


def _name_a_tokenizer_class_that_both_know(file: Path) -> None:
    """4.57 does not know transformers 5's "TokenizersBackend", nor its list of extra special tokens."""
    config = json.loads(file.read_text(encoding="utf-8"))
    config |= {"tokenizer_class": "PreTrainedTokenizerFast", "extra_special_tokens": {"image_token": IMAGE_TOKEN}}
    file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
