"""What is known of each model instance, found once and checked at every call."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary, ref

from wattvlm.flops import BlockShape
from wattvlm.runtimes.transformers.discovery import Layout, Part, find_layout
from wattvlm.runtimes.transformers.loose import class_of, entries_of
from wattvlm.runtimes.transformers.model_facts import facts_of, first_device
from wattvlm.runtimes.transformers.on_demand import OnDemand
from wattvlm.runtimes.transformers.shapes import shape_of
from wattvlm.runtimes.transformers.tree import ModuleTree, ancestors, child_of, children_beside, is_below

SEES_CALLS = "wattvlm_sees_calls"
"""Attribute of a class's __call__ that tells of each call by itself."""

_PLACEHOLDER_NAME = re.compile(
    r"^(image|img|video|img_context|image_pad|video_pad|image_patch|media_placeholder)_token_(id|index)$"
)


_SOUND_NAME = re.compile(r"^(audio|speech|input_audio|audio_pad)_token_(id|index)$")


@dataclass(frozen=True, slots=True)
class Place:
    """One module of a model: its path, the position of its parent among the places, its name there, and itself.

    children: how many it had beside it, where that matters: a tower that is loaded later changes nothing else.
    """

    path: str
    parent: int
    name: str
    module: ref[Any]
    children: int | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """A module inside a part, which a model may call instead of the part."""

    part: Part
    path: str


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model's layout and facts. Modules are held weakly, and by place: wrappers may put others there.

    places: the root first, each after its parent; modules at a call come in their order. on_path: ids of the modules
    from the root to the language model. language_id: id of the language model, if it tells of its calls itself and
    no part of the vision side is inside it. called: id -> part of the vision side, or piece of one, that tells of its
    calls itself. hooked: (place, part or piece) of the others. inner_projector, blocks, token_embedding: places.
    generates: what holds the language model can make text. facts_json, shape of its blocks: read off when asked
    for. Ids hold while the places are as they were.
    """

    layout: Layout
    facts_json: OnDemand[str]
    device: str
    placeholders: frozenset[int]
    audio_ids: frozenset[int]
    places: tuple[Place, ...]
    on_path: frozenset[int]
    language_id: int | None
    called: dict[int, Part | Piece]
    hooked: tuple[tuple[int, Part | Piece], ...]
    inner_projector: int | None
    blocks: int | None
    token_embedding: int | None
    generates: bool
    shape: OnDemand[BlockShape | None]

    def modules_of(self, root: Any) -> list[Any] | None:
        """The modules at the places, or None if any of them is no longer where it was."""
        found = [root]
        for place in self.places[1:]:
            module = child_of(found[place.parent], place.name)
            if module is None or place.module() is not module:
                return None
            if place.children is not None and place.children != children_beside(module):
                return None
            found.append(module)
        return found if self.places[0].children == children_beside(root) else None


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
    watched = _watched_parts(layout, tree)
    paths = [path for path, _ in watched]
    single = (layout.inner_projector, layout.blocks, layout.token_embedding)
    paths += [path for path in single if path is not None]
    wanted = frozenset(each for path in paths for each in ancestors(path)) | {""}
    language = layout.language_model
    on_path = frozenset(ancestors(language or ""))
    places: list[Place] = []
    at: dict[str | None, int] = {}
    for path in tree.paths:
        if path in wanted:
            above, _, name = path.rpartition(".")
            at[path] = len(places)
            module = tree.at(path)
            children = children_beside(module) if path in on_path else None
            places.append(Place(path, at[above] if path else -1, name, ref(module), children))
    follows = language is not None and _tells(tree.at(language))
    spliced_inside = any(is_below(part.path, language or "") for part in layout.parts)
    return KnownModel(
        layout,
        OnDemand(root, lambda tree: facts_of(layout, tree).to_json()),
        first_device(tree),
        frozenset(token for path in on_path for token in _ids_named(tree.at(path), _PLACEHOLDER_NAME)),
        frozenset(token for path in on_path for token in _ids_named(tree.at(path), _SOUND_NAME)),
        tuple(places),
        on_path=frozenset(id(tree.at(path)) for path in on_path),
        language_id=id(tree.at(language)) if language and follows and not spliced_inside else None,
        called={id(tree.at(path)): each for path, each in watched if path and _tells(tree.at(path))},
        hooked=tuple((at[path], each) for path, each in watched if not path or not _tells(tree.at(path))),
        inner_projector=at.get(layout.inner_projector),
        blocks=at.get(layout.blocks),
        token_embedding=at.get(layout.token_embedding),
        generates=any(_can_generate(tree.at(path)) for path in on_path),
        shape=OnDemand(root, partial(shape_of, layout)),
    )


def _watched_parts(layout: Layout, tree: ModuleTree) -> list[tuple[str, Part | Piece]]:
    """Every part, and the pieces of parts that a model may call by themselves.

    A piece that tells of its calls costs nothing; others are hooked only in encoders that do not tell themselves, and
    not inside a piece that does.
    """
    found: dict[str, Part | Piece] = {part.path: part for part in layout.parts}
    for part in layout.parts:
        telling: list[str] = []
        for path in layout.pieces.get(part.path, ()):
            if path in found or any(is_below(path, above) for above in telling):
                continue
            if _tells(tree.at(path)):
                telling.append(path)
                found[path] = Piece(part, path)
            elif part.encodes and part.path and (not _tells(tree.at(part.path)) or _is_used_by_method(part, tree)):
                found[path] = Piece(part, path)
    return list(found.items())


def _can_generate(module: Any) -> bool:
    return hasattr(module, "generate") or hasattr(module, "prepare_inputs_for_generation")


def _is_used_by_method(part: Part, tree: ModuleTree) -> bool:
    """Encoders that turn pixels into codes are used by their `encode` and never called themselves."""
    return callable(getattr(tree.at(part.path), "encode", None))


def _tells(module: Any) -> bool:
    return hasattr(class_of(module).__call__, SEES_CALLS)


def _ids_named(root: Any, name_of_id: re.Pattern[str]) -> frozenset[int]:
    """Token ids that the config gives under such a name."""
    config: Any = getattr(root, "config", None)
    owners: Sequence[Any] = [
        root,
        config,
        getattr(config, "vision_config", None),
        getattr(config, "text_config", None),
        getattr(config, "audio_config", None),
    ]
    found: set[int] = set()
    for owner in owners:
        found.update(
            value for name, value in entries_of(owner).items() if name_of_id.match(name) and isinstance(value, int)
        )
    return frozenset(found)
