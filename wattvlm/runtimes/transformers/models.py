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
from wattvlm.runtimes.transformers.tree import ModuleTree, ancestors, is_below

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

    places: the root first, each after its parent; modules at a call come in their order. on_path: ids of the modules
    from the root to the language model. language_id: id of the language model, if it tells of its calls itself and
    no part of the vision side is inside it. called: id -> part of the vision side that tells of its calls itself.
    hooked: (place, part) of the others. inner_projector, blocks: places. Ids hold while the places are as they were.
    """

    layout: Layout
    facts_json: str
    device: str
    placeholders: frozenset[int]
    places: tuple[Place, ...]
    on_path: frozenset[int]
    language_id: int | None
    called: dict[int, Part]
    hooked: tuple[tuple[int, Part], ...]
    inner_projector: int | None
    blocks: int | None

    def modules_of(self, root: Any) -> list[Any] | None:
        """The modules at the places, or None if any of them is no longer where it was."""
        found = [root]
        for place in self.places[1:]:
            module = found[place.parent]._modules.get(place.name)
            if module is None or place.module() is not module:
                return None
            found.append(module)
        return found


class ModelMemory:
    """KnownModels by instance; forgets a model when the program does."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Any, KnownModel] = WeakKeyDictionary()

    def recall(self, root: Any) -> tuple[KnownModel, list[Any]]:
        """What is known of a model and its modules now, looked up anew when they have changed."""
        known = self._known.get(root)
        modules = None if known is None else known.modules_of(root)
        if known is None or modules is None:
            known = _learn(root)
            self._known[root] = known
            modules = known.modules_of(root)
        if modules is None:
            raise LookupError(f"the modules of {type(root).__name__} change while they are looked at")
        return known, modules


def _learn(root: Any) -> KnownModel:
    tree = ModuleTree(root)
    layout = find_layout(root, tree)
    facts = facts_of(root, layout, tree)
    paths = [part.path for part in layout.parts]
    paths += [path for path in (layout.inner_projector, layout.blocks) if path is not None]
    wanted = frozenset(each for path in paths for each in ancestors(path)) | {""}
    places: list[Place] = []
    at: dict[str | None, int] = {}
    for path in tree.paths:
        if path in wanted:
            above, _, name = path.rpartition(".")
            at[path] = len(places)
            places.append(Place(path, at[above] if path else -1, name, ref(tree.at(path))))
    called = {id(tree.at(part.path)): part for part in layout.parts if part.path and _tells(tree.at(part.path))}
    language = layout.language_model
    follows = language is not None and _tells(tree.at(language))
    spliced_inside = any(is_below(part.path, language or "") for part in layout.parts)
    return KnownModel(
        layout,
        facts.to_json(),
        facts.device.partition(",")[0],
        _placeholders(root),
        tuple(places),
        on_path=frozenset(id(tree.at(path)) for path in ancestors(language or "")),
        language_id=id(tree.at(language)) if language and follows and not spliced_inside else None,
        called=called,
        hooked=tuple((at[part.path], part) for part in layout.parts if id(tree.at(part.path)) not in called),
        inner_projector=at.get(layout.inner_projector),
        blocks=at.get(layout.blocks),
    )


def _tells(module: Any) -> bool:
    return hasattr(class_of(module).__call__, SEES_CALLS)


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
