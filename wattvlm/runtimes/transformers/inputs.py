"""Reading a call's arguments and results: the one place that touches the user's tensors, and only after the call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from wattvlm.runtimes.transformers.loose import is_sequence, is_tensor, mapping_of

Rows = list[list[int]]


def token_ids(given: Mapping[str, Any]) -> Any:
    """The tensor of prompt ids, shaped (prompts, positions), or None."""
    for name in ("input_ids", "inputs"):
        value = given.get(name)
        if is_tensor(value) and len(value.shape) == 2 and not _is_floating(value):
            return value
    return None


def prompts(given: Mapping[str, Any], ids: Any) -> int | None:
    """How many prompts were given, before beams or repeated sequences."""
    if ids is not None:
        return int(ids.shape[0])
    for name in ("inputs_embeds", "decoder_input_ids", "pixel_values", "inputs", "flattened_patches", "input_features"):
        value = given.get(name)
        if is_tensor(value) and len(value.shape) > 1:
            return int(value.shape[0])
    return None


def rows_without_padding(ids: Any, mask: Any, pad_id: int | None) -> Rows:
    """The ids of each prompt, less those that the mask hides; without a mask, less `pad_id` as generate itself infers.

    A mask longer than the ids also covers a cached prefix: its last columns belong to the ids.
    """
    rows = host_rows(ids)
    if is_tensor(mask) and len(mask.shape) == 2 and mask.shape[0] == ids.shape[0] and mask.shape[1] >= ids.shape[1]:
        seen = host_rows(mask)
        width = int(ids.shape[1])
        return [
            [token for token, flag in zip(row, flags[-width:]) if flag] if 0 in flags else row
            for row, flags in zip(rows, seen)
        ]
    if pad_id is None:
        return rows
    return [[token for token in row if token != pad_id] for row in rows]


def host_rows(tensor: Any) -> Rows:
    """A 2-D tensor as lists. From a GPU it is copied on a stream of its own, so that no queued work is waited for."""
    if not getattr(tensor, "is_cuda", False):
        rows: Rows = tensor.tolist()
        return rows
    import torch

    cuda: Any = torch.cuda
    with cuda.stream(cuda.Stream(tensor.device)):
        copied: Rows = tensor.tolist()
    return copied


def feature_rows(output: Any) -> int | None:
    """Rows of a module's output: vectors of its last dimension, over the whole batch. Shapes only."""
    if is_tensor(output):
        return _rows(output)
    for name in ("last_hidden_state", "image_hidden_states", "pooler_output"):
        value = getattr(output, name, None)
        if is_tensor(value) and len(value.shape) > 1:
            return _rows(value)
    if is_sequence(output):
        return _rows_of_all(output)
    return None


def result_tensor(result: Any) -> Any:
    """The first tensor of features or embeddings in what a method gave, or None."""
    for value in (result, *(result if is_sequence(result) else ()), *mapping_of(result).values()):
        if is_tensor(value) and len(value.shape) > 1 and _is_floating(value):
            return value
        if is_sequence(value) and value and is_tensor(value[0]) and len(value[0].shape) > 1:
            return value[0]
    return None


def given_features(encoder_outputs: Any) -> tuple[int | None, int | None]:
    """(feature rows, images) of the features that generate computes before it calls forward."""
    rows, images = 0, 0
    for output in mapping_of(encoder_outputs).values():
        features = getattr(output, "pooler_output", None)
        if features is None:
            features = output if is_tensor(output) or is_sequence(output) else None
        if features is None:
            continue
        if is_sequence(features):
            images += len(features)
            rows += _rows_of_all(features) or 0
        elif is_tensor(features):
            rows += _rows(features) or 0
    return rows or None, images or None


def _rows_of_all(values: Iterable[Any]) -> int | None:
    """Rows of several tensors that hold one image each; of a module's tuple of outputs only the first counts."""
    tensors = [value for value in values if is_tensor(value)]
    if not tensors:
        return None
    widths = {int(tensor.shape[-1]) for tensor in tensors if len(tensor.shape)}
    ranks = {len(tensor.shape) for tensor in tensors}
    one_an_image = ranks == {2} or (isinstance(values, list) and len(ranks) == 1)
    if len(widths) != 1 or not one_an_image:
        return _rows(tensors[0])
    return sum(_rows(tensor) or 0 for tensor in tensors)


def _rows(tensor: Any) -> int | None:
    """Vectors of the last dimension; of a map of channels (..., channels, height, width) its pixels.

    The two are told apart by their lengths: fewer tiles than features in a row, more channels than pixels in a row.
    """
    if len(tensor.shape) < 2 or not tensor.shape[-1]:
        return None
    if len(tensor.shape) > 3 and tensor.shape[-3] > tensor.shape[-1]:
        return int(tensor.numel()) // int(tensor.shape[-3])
    return int(tensor.numel()) // int(tensor.shape[-1])


def language_length(args: Any, kwargs: Mapping[str, Any]) -> int | None:
    """Positions that enter a language model, by its embeddings or ids."""
    embeddings = kwargs.get("inputs_embeds")
    if is_tensor(embeddings):
        return int(embeddings.shape[-2])
    ids = kwargs.get("input_ids", args[0] if args else None)
    return int(ids.shape[-1]) if is_tensor(ids) and len(ids.shape) == 2 else None


def result_length(result: Any) -> int | None:
    """Positions that come out of it."""
    hidden = result[0] if is_sequence(result) and result else getattr(result, "last_hidden_state", None)
    return int(hidden.shape[-2]) if is_tensor(hidden) and len(hidden.shape) == 3 else None


def _is_floating(tensor: Any) -> bool:
    return bool(tensor.dtype.is_floating_point)


def seen_by(position: int, mask: Any) -> Any:
    """(prompts, positions) of 1 and 0: what a position may attend to by a mask of shape (prompts, heads, to, from),
    true or 0 where seen; None for any other. A small copy, so that the mask itself lives no longer.
    """
    if not is_tensor(mask) or len(mask.shape) != 4:
        return None
    row = mask[:, 0, position, :]
    return (row == 0).int() if _is_floating(mask) else row.int()


def images_given(given: Mapping[str, Any]) -> tuple[int, str] | None:
    """Images by the shapes of the arguments, where a row of an argument is one image for certain."""
    for name in ("image_grid_thw", "image_sizes", "image_grid_hw", "image_grid_hws", "video_grid_thw"):
        value = given.get(name)
        if is_tensor(value) and len(value.shape) == 2:
            return int(value.shape[0]), f"rows of {name}"
    return None


def pixel_rows(given: Mapping[str, Any]) -> tuple[str, int | None]:
    """(argument, rows of it) that holds pixels: images, or tiles of them. It need not be called pixel_values."""
    for name, value in (("pixel_values", given.get("pixel_values")), *given.items()):
        rows = pictures_in(value, is_certain=name == "pixel_values")
        if rows is not None:
            return name, rows
    return "", None


def pictures_in(value: Any, *, is_certain: bool = False) -> int | None:
    """Images or tiles in a tensor of pixels or a list of such; None for anything else."""
    if is_sequence(value):
        if is_certain:
            return len(value)
        rows = [pictures_in(each[None] if is_tensor(each) and len(each.shape) == 3 else each) for each in value]
        return sum(row or 0 for row in rows) if rows and all(rows) else None
    if not is_tensor(value) or len(value.shape) not in (4, 5, 6):
        return None
    if not is_certain and not (_is_floating(value) and 3 in value.shape[1:-2]):
        return None
    # from the fifth dimension on: images or tiles a prompt
    return int(value.shape[0]) * (int(value.shape[1]) if len(value.shape) > 4 and value.shape[1] != 3 else 1)


def generation_setting(given: Mapping[str, Any], model: Any, name: str) -> Any:
    """A generation setting by generate's own order: the argument, the given config, the model's config."""
    if given.get(name) is not None:
        return given[name]
    for config in (given.get("generation_config"), getattr(model, "generation_config", None)):
        value = getattr(config, name, None)
        if value is not None:
            return value
    return None


def id_set(value: Any) -> frozenset[int]:
    """Token ids of a setting that may be one id, several, or none."""
    if isinstance(value, int):
        return frozenset((value,))
    if is_tensor(value) and not value.is_cuda:
        value = value.flatten().tolist()
    if is_sequence(value):
        return frozenset(entry for entry in value if isinstance(entry, int))
    return frozenset()
