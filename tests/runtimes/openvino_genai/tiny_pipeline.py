"""A VLMPipeline of LLaVA's kind in OpenVINO's format, written with its own operations: 140 kB of random weights.

The language model remembers what it has read in one state, as a cache does, and answers by the mean of it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

DEMO = Path(__file__).parents[3] / "wattvlm/demo/digits_llava"
HIDDEN = 16
WORDS = 334
"""digits_llava/config.json: text_config.vocab_size; the pipeline takes the shipped model's tokenizer."""

PATCH_SIZE = 8
IMAGE_SIZE = 32
VISUAL_TOKENS = (IMAGE_SIZE // PATCH_SIZE) ** 2


def write(folder: Path) -> None:
    """Every file of the pipeline."""
    import openvino
    from openvino_tokenizers import convert_tokenizer
    from transformers import AutoTokenizer

    chance = np.random.default_rng(1)
    for name, model in (
        ("text_embeddings", _text_embeddings(chance)),
        ("vision_embeddings", _vision_embeddings(chance)),
        ("language", _language_model(chance)),
    ):
        openvino.save_model(model, folder / f"openvino_{name}_model.xml", compress_to_fp16=False)
    for name, model in zip(
        ("tokenizer", "detokenizer"), convert_tokenizer(AutoTokenizer.from_pretrained(DEMO), with_detokenizer=True)
    ):
        openvino.save_model(model, folder / f"openvino_{name}.xml")
    for name in ("tokenizer_config.json", "tokenizer.json", "chat_template.jinja", "generation_config.json"):
        shutil.copy(DEMO / name, folder / name)
    config = json.loads((DEMO / "config.json").read_text())
    config["vision_config"].update(image_size=IMAGE_SIZE, patch_size=PATCH_SIZE)
    (folder / "config.json").write_text(json.dumps({**config, "image_seq_length": VISUAL_TOKENS}))
    (folder / "preprocessor_config.json").write_text(json.dumps(_image_settings()))


def _image_settings() -> dict[str, Any]:
    side = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    means = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    return {**means, "crop_size": side, "size": {"shortest_edge": IMAGE_SIZE}, "patch_size": PATCH_SIZE}


def _weights(chance: np.random.Generator, *shape: int) -> Any:
    from openvino import opset13 as ops

    return ops.constant(chance.normal(0, 0.1, shape).astype(np.float32))


def _whole(*numbers: int) -> Any:
    from openvino import opset13 as ops

    return ops.constant(np.array(numbers, np.int64))


def _parameter(name: str, kind: Any, *shape: int) -> Any:
    import openvino
    from openvino import opset13 as ops

    made = ops.parameter(openvino.PartialShape(list(shape)), kind, name=name)
    made.output(0).get_tensor().set_names({name})
    return made


def _model(output: Any, name: str, parameters: list[Any], *sinks: Any) -> Any:
    import openvino
    from openvino import opset13 as ops

    result = ops.result(output)
    result.output(0).get_tensor().set_names({name})
    return openvino.Model([result], list(sinks), parameters, name)


def _text_embeddings(chance: np.random.Generator) -> Any:
    from openvino import opset13 as ops

    ids = _parameter("input", np.int64, -1, -1)
    return _model(ops.gather(_weights(chance, WORDS, HIDDEN), ids, _whole(0)), "inputs_embeds", [ids])


def _vision_embeddings(chance: np.random.Generator) -> Any:
    from openvino import opset13 as ops

    pixels = _parameter("pixel_values", np.float32, -1, 3, -1, -1)
    kernel, step = _weights(chance, HIDDEN, 3, PATCH_SIZE, PATCH_SIZE), [PATCH_SIZE, PATCH_SIZE]
    patches = ops.convolution(pixels, kernel, step, [0, 0], [0, 0], [1, 1])
    rows = ops.transpose(ops.reshape(patches, _whole(0, HIDDEN, -1), True), _whole(0, 2, 1))
    return _model(rows, "last_hidden_state", [pixels])


def _language_model(chance: np.random.Generator) -> Any:
    from openvino import opset13 as ops

    embeddings = _parameter("inputs_embeds", np.float32, -1, -1, HIDDEN)
    mask, positions = (_parameter(name, np.int64, -1, -1) for name in ("attention_mask", "position_ids"))
    beams = _parameter("beam_idx", np.int32, -1)
    memory, sink = _remembered(embeddings, beams)
    unused = [ops.reduce_sum(each, _whole(0, 1), False) for each in (mask, positions)]
    nothing = ops.multiply(ops.convert(ops.add(*unused), "f32"), ops.constant(np.float32(0)))
    mean = ops.reduce_mean(memory, _whole(2), False)
    hidden = ops.matmul(ops.add(embeddings, mean), _weights(chance, HIDDEN, HIDDEN), False, False)
    logits = ops.matmul(ops.tanh(ops.add(hidden, nothing)), _weights(chance, HIDDEN, WORDS), False, False)
    return _model(logits, "logits", [embeddings, mask, positions, beams], sink)


def _remembered(embeddings: Any, beams: Any) -> tuple[Any, Any]:
    """(all embeddings so far as (batch, 1, positions, hidden), the sink that keeps them for the next step)."""
    import openvino
    from openvino import opset13 as ops
    from openvino.op import util

    kept = util.VariableInfo()
    kept.data_shape, kept.data_type = openvino.PartialShape([-1, 1, -1, HIDDEN]), openvino.Type.f32
    kept.variable_id = "past_key_values.0.keypresent.0.key"
    variable = util.Variable(kept)
    batch, length = (ops.gather(ops.shape_of(embeddings), _whole(axis), _whole(0)) for axis in (0, 1))
    shape = ops.concat([batch, _whole(1), ops.multiply(length, _whole(0)), _whole(HIDDEN)], 0)
    past = ops.read_value(ops.broadcast(ops.constant(np.float32(0)), shape), variable)
    now = ops.concat([ops.gather(past, beams, _whole(0)), ops.unsqueeze(embeddings, _whole(1))], 2)
    return now, ops.assign(now, variable)
