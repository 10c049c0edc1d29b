"""What is known of each model instance, found once and checked at every call."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary, ref

from wattvlm.runtimes.transformers.discovery import Layout, find_layout
from wattvlm.runtimes.transformers.loose import entries_of
from wattvlm.runtimes.transformers.model_facts import facts_of
from wattvlm.runtimes.transformers.tree import ModuleTree, ancestors, module_at

_PLACEHOLDER_NAME = re.compile(
    r"^(image|img|video|img_context|image_pad|video_pad|image_patch|media_placeholder)_token_(id|index)$"
)


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model's layout and facts. Modules are held weakly, and by path: wrappers may put others in their place."""

    layout: Layout
    facts_json: str
    device: str
    placeholders: frozenset[int]
    modules: tuple[tuple[str, ref[Any]], ...]

    def parts_of(self, root: Any) -> PresentParts | None:
        """The modules to watch, or None if any of them is no longer where it was."""
        present: dict[str, Any] = {}
        for path, known in self.modules:
            module = module_at(root, path)
            if module is None or known() is not module:
                return None
            present[path] = module
        blocks = present.get(self.layout.blocks) if self.layout.blocks is not None else None
        on_path = frozenset(
            id(present[path]) for path in ancestors(self.layout.language_model or "") if path in present
        )
        if not blocks:
            return PresentParts(self.layout, present, None, None, on_path)
        first, *_, last = (blocks[0], blocks[len(blocks) - 1])
        return PresentParts(self.layout, present, first, last, on_path)


@dataclass(frozen=True, slots=True)
class PresentParts:
    """A known model's modules at one call. on_path: ids of the modules from the root to the language model."""

    layout: Layout
    modules: dict[str, Any]
    first_block: Any
    last_block: Any
    on_path: frozenset[int]


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
    paths += ancestors(layout.language_model or "")
    if layout.blocks is not None:
        paths.append(layout.blocks)
    unique = dict.fromkeys(paths)
    modules = tuple((path, ref(tree.at(path))) for path in unique)
    return KnownModel(layout, facts.to_json(), facts.device.partition(",")[0], _placeholders(root), modules)


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
