"""Every family of the installed transformers library that takes images or video, read off its own registry."""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from typing import Any

import transformers as hf
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

ANSWERING = (
    "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
    "MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES",
    "MODEL_FOR_VISION_2_SEQ_MAPPING_NAMES",
)
"""The registry's tables of models that are asked and answer in text; which of them exist depends on the version."""

LOOKING = (
    "MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES",
    "MODEL_FOR_RETRIEVAL_MAPPING_NAMES",
    "MODEL_FOR_VISUAL_QUESTION_ANSWERING_MAPPING_NAMES",
)
"""Tables of models that take images and do not write: embedders and classifiers."""

PIXELS = ("pixel", "flattened_patches", "image_patches")
"""What the argument that takes a picture has in its name."""


@dataclass(frozen=True, slots=True)
class Family:
    """One model type of the registry and the class that the registry names for it."""

    model_type: str
    class_name: str
    answers: bool

    @property
    def model_class(self) -> Any:
        return getattr(hf, self.class_name)

    @property
    def config_class(self) -> Any:
        return CONFIG_MAPPING[self.model_type]


@functools.cache
def families() -> tuple[Family, ...]:
    """Each once, in alphabetical order; those that answer are not listed again among those that only look."""
    found: dict[str, Family] = {}
    for tables, answers in ((ANSWERING, True), (LOOKING, False)):
        for table in tables:
            for model_type, named in getattr(modeling_auto, table, {}).items():
                class_name = named if isinstance(named, str) else named[0]
                writes = answers and hasattr(getattr(hf, class_name), "generate")  # robots' models give actions
                found.setdefault(model_type, Family(model_type, class_name, writes))
    return tuple(found[model_type] for model_type in sorted(found) if _takes_pictures(found[model_type]))


def _takes_pictures(family: Family) -> bool:
    """Whether pixels can be handed in at all: the tables also list models of speech and of proteins."""
    return any(word in name for name in parameters(family.model_class) for word in PIXELS)


def parameters(model_class: Any) -> tuple[str, ...]:
    """Names that forward takes."""
    return tuple(inspect.signature(model_class.forward).parameters)
