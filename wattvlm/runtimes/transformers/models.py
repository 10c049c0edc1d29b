"""What is known of each model instance, found once and checked at every call."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary, ref

from wattvlm.runtimes.transformers.discovery import Layout, Part, find_layout
from wattvlm.runtimes.transformers.loose import class_of, entries_of
from wattvlm.runtimes.transformers.model_facts import facts_of
from wattvlm.runtimes.transformers.tree import ModuleTree, ancestors

SEES_CALLS = "wattvlm_sees_calls"
"""Attribute of a class's __call__ that tells of each call by itself."""

_PLACEHOLDER_NAME = re.compile(
    r"^(image|img|video|img_context|image_pad|video_pad|image_patch|media_placeholder)_token_(id|index)$"
)


@dataclass(frozen=True, slots=True)
class Place:
    """One module of a model: its path, the position of its parent among the places, its name there, and itself."""

    path: str
    parent: int
    name: str
    module: ref[Any]


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model's layout and facts. Modules are held weakly, and by place: wrappers may put others there.

    places: the root first, each after its parent.
    """

    layout: Layout
    facts_json: str
    device: str
    placeholders: frozenset[int]
    places: tuple[Place, ...]

    def parts_of(self, root: Any) -> PresentParts | None:
        """The modules to watch, or None if any of them is no longer where it was."""
        found = [root]
        for place in self.places[1:]:
            module = found[place.parent]._modules.get(place.name)
            if module is None or place.module() is not module:
                return None
            found.append(module)
        return PresentParts.among({place.path: module for place, module in zip(self.places, found)}, self.layout)


@dataclass(frozen=True, slots=True)
class PresentParts:
    """A known model's modules at one call.

    on_path: ids of the modules from the root to the language model. called: id -> part, for the parts of the vision
    side whose calls are seen without hooks. hooked: the others.
    """

    modules: dict[str, Any]
    first_block: Any
    last_block: Any
    on_path: frozenset[int]
    called: dict[int, Part]
    hooked: list[Part]

    @classmethod
    def among(cls, modules: dict[str, Any], layout: Layout) -> PresentParts:
        blocks = None if layout.blocks is None else modules[layout.blocks]
        on_path = frozenset(id(modules[path]) for path in layout.path_to_language)
        called: dict[int, Part] = {}
        hooked: list[Part] = []
        for part in layout.parts:
            module = modules[part.path]
            if part.path and hasattr(class_of(module).__call__, SEES_CALLS):
                called[id(module)] = part
            else:
                hooked.append(part)
        first, last = (blocks[0], blocks[len(blocks) - 1]) if blocks else (None, None)
        return cls(modules, first, last, on_path, called, hooked)


class ModelMemory:
    """KnownModels by instance; forgets a model when the program does."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Any, KnownModel] = WeakKeyDictionary()

    def recall(self, root: Any) -> tuple[KnownModel, PresentParts]:
        """What is known of a model, looked up anew when its modules have changed."""
        known = self._known.get(root)
        parts = None if known is None else known.parts_of(root)
        if known is None or parts is None:
            known = _learn(root)
            self._known[root] = known
            parts = known.parts_of(root)
        if parts is None:
            raise LookupError(f"the modules of {type(root).__name__} change while they are looked at")
        return known, parts


def _learn(root: Any) -> KnownModel:
    tree = ModuleTree(root)
    layout = find_layout(root, tree)
    facts = facts_of(root, layout, tree)
    paths = [part.path for part in layout.parts]
    if layout.inner_projector is not None:
        paths.append(layout.inner_projector)
    if layout.blocks is not None:
        paths.append(layout.blocks)
    known = frozenset(each for path in paths for each in ancestors(path)) | {""}
    places: list[Place] = []
    positions: dict[str, int] = {}
    for path in tree.paths:
        if path in known:
            positions[path] = len(places)
            above, _, name = path.rpartition(".")
            places.append(Place(path, positions[above] if path else -1, name, ref(tree.at(path))))
    return KnownModel(layout, facts.to_json(), facts.device.partition(",")[0], _placeholders(root), tuple(places))


def _placeholders(root: Any) -> frozenset[int]:
    """Token ids that the config says stand for visual features."""
    config: Any = getattr(root, "config", None)
    owners: Sequence[Any] = [root, config, getattr(config, "vision_config", None), getattr(config, "text_config", None)]
    found: set[int] = set()
    for owner in owners:
        found.update(
            value
            for name, value in entries_of(owner).items()
            if _PLACEHOLDER_NAME.match(name) and isinstance(value, int)
        )
    return frozenset(found)
