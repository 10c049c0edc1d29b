"""A picture and a prompt for any family: shapes from its configuration, and of several the first that it accepts.

How many placeholders a picture takes is the model's own answer: the count with which its check lets the call pass.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from tests.families.building import START, one_line, setting
from tests.families.needs import NEEDS, Need
from tests.families.registry import Family, parameters
from tests.families.sizes import WIDTH

BEFORE, AFTER = (5, 6), (7, 8, 9, 10, 11)
NEW_TOKENS = 4
MOST_PLACEHOLDERS = 600
PIXEL_ARGUMENTS = (
    "pixel_values",
    "flattened_patches",
    "image_pixel_values",
    "pixel_values_images",
    "pixel_values_videos",
)

NOTHING = Need()

Inputs = dict[str, Any]


class CannotBeAsked(Exception):
    """Why no picture and prompt was found that the model takes, in one line."""


@dataclass(frozen=True, slots=True)
class Question:
    """inputs: of one call with one picture. text, visual: tokens of the prompt, by the model's own check or by the
    arithmetic on its configuration; None where there is none. truth: which of the two, in words.
    """

    inputs: Inputs
    text: int | None
    visual: int | None
    truth: str


def ask(model: Any, question: Question, tokens: int = NEW_TOKENS) -> Any:
    """Exactly so many new tokens, greedily; of a model that does not write, one forward pass."""
    torch.manual_seed(0)  # some choose patches by chance
    with torch.no_grad():
        if not hasattr(model, "generate"):
            return model(**question.inputs)
        return model.generate(**question.inputs, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)


def question_for(family: Family, model: Any) -> Question:
    """The first picture and number of placeholders that the model takes."""
    faults: list[str] = []
    for picture in pictures(family, model.config):
        found = _with_prompt(family, model, picture, faults)
        if found is not None:
            return found
    raise CannotBeAsked(faults[0] if faults else "no picture fits what its forward takes")


def pictures(family: Family, config: Any) -> Iterator[Inputs]:
    """Pixels in each shape that a family may take, with what goes with them."""
    takes = frozenset(parameters(family.model_class))
    need = NEEDS.get(family.model_type, NOTHING)
    patch = _one(setting(config, "patch_size") or 8)
    channels = _one(setting(config, "in_channels", "num_channels") or 3)
    side = _one(setting(config, "image_size") or 32)
    random = torch.Generator().manual_seed(7)
    count = (side // patch) ** 2
    if "flattened_patches" in takes:
        shapes: list[tuple[int, ...]] = [(1, count, 2 + channels * patch * patch)]
    elif any(name.endswith("grid_thw") or name.endswith("grid_hw") for name in takes):
        depth = _one(setting(config, "temporal_patch_size", "patch_temporal") or 1)
        flat = channels * patch * patch
        shapes = [(64, flat * depth), (64, flat), (64, 2 * flat), (64, channels, patch, patch),
                  (64, channels, depth, patch, patch)]  # fmt: skip
    else:
        shapes = [(1, channels, side, side), (1, 1, channels, side, side), (1, 3, channels, side, side),
                  (1, 1, 2, channels, side, side), (1, count, channels * patch * patch),
                  (count, channels * patch * patch), (1, channels, patch, count * patch)]  # fmt: skip
    for shape in [need.pixels] if need.pixels is not None else shapes:
        beside = _beside(takes, shape, side, patch, count)
        beside |= {name: torch.tensor(value) for name, value in need.inputs.items()}
        beside = {name: value for name, value in beside.items() if name not in need.without}
        pixels = next((name for name in PIXEL_ARGUMENTS if name in takes), None)
        if pixels is None:
            return
        picture = {pixels: torch.rand(shape, generator=random), **beside}
        yield picture
        if "image_sizes" in picture:
            yield {name: value for name, value in picture.items() if name != "image_sizes"}


def _beside(takes: frozenset[str], shape: tuple[int, ...], side: int, patch: int, count: int) -> Inputs:
    """What families take beside their pixels, by the argument's name."""
    grid, rows = side // patch, 8
    known: Inputs = {
        "image_grid_thw": torch.tensor([[1, rows, rows]]),
        "image_grid_hw": torch.tensor([[rows, rows]]),
        "image_sizes": torch.tensor([[side, side]]),
        "spatial_shapes": torch.tensor([[grid, grid]]),
        "target_sizes": torch.tensor([[grid, grid]]),
        "aspect_ratio_ids": torch.tensor([[1]]),
        "aspect_ratio_mask": torch.ones(1, 1, shape[2] if len(shape) == 6 else 1, dtype=torch.long),
        "high_res_pixel_values": torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(8)),
        "width": torch.tensor([grid * patch]),
        "height": torch.tensor([grid * patch]),
        "image_position_ids": torch.tensor([[[x, y] for y in range(grid) for x in range(grid)]]),
    }
    if len(shape) == 3 and shape[1] == count:
        known["pixel_attention_mask"] = torch.ones(1, count, dtype=torch.long)
    return {name: value for name, value in known.items() if name in takes}


def _with_prompt(family: Family, model: Any, picture: Inputs, faults: list[str]) -> Question | None:
    placeholder = NEEDS.get(family.model_type, NOTHING).placeholder or placeholder_of(model.config)
    if placeholder is None or _is_encoder_of_pixels(family):
        question = Question(_prompt(family, model, picture, None, 0), _text(family), None, "")
        return _by_arithmetic(family, model, question) if _accepts(model, question, faults) else None
    tried: set[int] = set()
    told = NEEDS.get(family.model_type, NOTHING).placeholders or _feature_rows(model, picture)
    waiting = [told] if told else [1, 4]
    while waiting:
        count = waiting.pop()
        if count in tried or not 0 < count <= MOST_PLACEHOLDERS:
            continue
        tried.add(count)
        question = Question(_prompt(family, model, picture, placeholder, count), _text(family), count, "")
        before = len(faults)
        if _accepts(model, question, faults):
            if NEEDS.get(family.model_type, NOTHING).visual is not None:
                return _by_arithmetic(family, model, question)
            return _checked(family, model, picture, placeholder, question)
        numbers = [int(each) for fault in faults[before:] for each in re.findall(r"\d+", fault)]
        waiting += [each for number in numbers for each in (number, number // WIDTH)]
    return None


def _checked(family: Family, model: Any, picture: Inputs, placeholder: int, question: Question) -> Question:
    """Whether the model itself refuses one placeholder more and one less."""
    count = question.visual or 0
    others = [
        Question(_prompt(family, model, picture, placeholder, other), 0, other, "") for other in (count + 1, count - 1)
    ]
    refuses = [not _accepts(model, other, []) for other in others if other.visual]
    if refuses and all(refuses):
        return Question(question.inputs, question.text, count, "the model's own check")
    need = NEEDS.get(family.model_type, NOTHING)
    if count == need.placeholders:
        return Question(question.inputs, question.text, count, f"by its configuration: {need.arithmetic}")
    raise CannotBeAsked("it takes any number of placeholders, so nothing says how many a picture has")


def _by_arithmetic(family: Family, model: Any, question: Question) -> Question:
    need = NEEDS.get(family.model_type, NOTHING)
    if need.visual is None:
        return question
    text = question.text
    if text is not None and question.visual not in (None, need.visual):
        text += question.visual or 0  # attended to beside the sequence, so placeholders stay words of it
    return Question(question.inputs, text, need.visual, f"by its configuration: {need.arithmetic}")


def _accepts(model: Any, question: Question, faults: list[str]) -> bool:
    try:
        ask(model, question)
    except Exception as error:
        faults.append(one_line(error))
        return False
    return True


def placeholder_of(config: Any) -> int | None:
    """The token id that stands for a picture, as the configuration names it."""
    names = ("image_token_id", "image_token_index", "image_patch_id", "media_placeholder_token_id")
    found = setting(config, *names)
    if found is None:
        found = setting(config, "video_token_id", "video_token_index")
    return found if isinstance(found, int) else None


def _is_encoder_of_pixels(family: Family) -> bool:
    """Models that take no prompt beside the picture."""
    return "input_ids" not in parameters(family.model_class)


def _text(family: Family) -> int | None:
    return 1 + len(BEFORE) + len(AFTER) if "input_ids" in parameters(family.model_class) else None


def _prompt(family: Family, model: Any, picture: Inputs, placeholder: int | None, count: int) -> Inputs:
    takes = frozenset(parameters(family.model_class))
    row = [START, *BEFORE, *([placeholder] * count if placeholder is not None else []), *AFTER]
    ids = torch.tensor([row])
    inputs: Inputs = {**picture}
    if "input_ids" in takes:
        inputs |= {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    is_picture = (ids == placeholder).long() if placeholder is not None else torch.zeros_like(ids)
    known: Inputs = {
        "token_type_ids": is_picture,
        "mm_token_type_ids": is_picture,
        "moe_mm_token_type_ids": is_picture,
        "qformer_input_ids": torch.tensor([[5, 6, 7]]),
        "qformer_attention_mask": torch.ones(1, 3, dtype=torch.long),
        "bbox": torch.zeros(1, len(row), 4),
        "cross_attention_mask": torch.ones(1, len(row), 1, 1, dtype=torch.long),
        "image_attention_mask": torch.ones(1, len(row), 1, dtype=torch.long),
        "image_embeds_position_mask": is_picture,
    }
    return {name: value for name, value in known.items() if name in takes} | inputs


def _feature_rows(model: Any, picture: Inputs) -> int | None:
    """Rows that the model's own method gives for the picture, asked without any meter."""
    method = getattr(model, "get_image_features", None)
    if method is None:
        return None
    takes = frozenset(inspect.signature(method).parameters)
    try:
        with torch.no_grad():
            given = method(**{name: value for name, value in picture.items() if name in takes})
    except Exception:  # another shape may fit
        return None
    features = getattr(given, "pooler_output", given)
    if isinstance(features, (list, tuple)):
        return sum(each.numel() // each.shape[-1] for each in features if hasattr(each, "numel")) or None
    return features.numel() // features.shape[-1] if hasattr(features, "numel") else None


def _one(value: Any) -> int:
    """The number, or the first of several, however they are nested."""
    while isinstance(value, (list, tuple)):
        value = value[0]
    return int(value)
