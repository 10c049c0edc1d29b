"""Where in a model the language model and the vision side are, from its structure alone.

The language model is the lowest ancestor of the token embedding that holds a list of blocks; what lies beside the
path to it is the rest, of which the parts that take pixels are the vision side. No table of classes or names of models.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_TOKEN_EMBEDDING_NAMES = ("embed_tokens", "token_embedding", "word_embeddings", "wte", "tok_embeddings", "shared")
_NOT_VISION_NAMES = ("audio", "speech", "talker")


@dataclass(frozen=True, slots=True)
class Part:
    """One module of the vision side. encodes: it turns pixels into features; else it carries features on."""

    path: str
    encodes: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the parts of one model are, as dotted paths from its root.

    parts: the vision side, outermost modules only. language_model: "" is the root itself, None is none found.
    blocks: path of the language model's block list. inner_projector: the part of an encoder that projects, if any.
    cross_attention: the language model attends to features beside its sequence.
    """

    parts: tuple[Part, ...] = ()
    language_model: str | None = None
    blocks: str | None = None
    inner_projector: str | None = None
    cross_attention: bool = False

    @property
    def encoder_only(self) -> bool:
        return self.language_model is None and bool(self.parts)


def find_layout(root: Any) -> Layout:
    """The layout of a torch module; one pass over its modules."""
    modules = dict(walk(root))
    lists = _block_lists(modules)
    token_paths = _token_embedding_paths(root, modules)
    language = _language_model(token_paths, lists)
    if language is None:
        return Layout(parts=(Part("", True),) if _takes_pixels("", modules) else ())
    model_path, blocks_path = language
    parts = _vision_parts(root, modules, lists, model_path, blocks_path, token_paths)
    has_own_projector = any(not part.encodes for part in parts)
    towers = [part.path for part in parts if part.encodes]
    inner = None if has_own_projector or not towers else _inner_projector(modules, towers[0], lists, root)
    crosses = _has_cross_attention(modules, model_path)
    return Layout(parts, model_path, blocks_path, inner, crosses)


def walk(root: Any) -> Iterable[tuple[str, Any]]:
    """(dotted path, module) of every module, parents first, in the order of registration; shared ones repeatedly."""
    waiting: list[tuple[str, Any]] = [("", root)]
    while waiting:
        path, module = waiting.pop()
        yield path, module
        prefix = f"{path}." if path else ""
        children: dict[str, Any] = module._modules
        waiting.extend([(prefix + name, child) for name, child in children.items() if child is not None][::-1])


def module_at(root: Any, path: str) -> Any:
    """The module at a dotted path, or None."""
    for name in path.split(".") if path else ():
        root = root._modules.get(name)
        if root is None:
            return None
    return root


def ancestors(path: str) -> list[str]:
    """The path and all above it, lowest first, the root ("") last."""
    names = path.split(".") if path else []
    return [".".join(names[:length]) for length in range(len(names), -1, -1)]


def _below(path: str, ancestor: str) -> bool:
    return not ancestor or path == ancestor or path.startswith(f"{ancestor}.")


def _block_lists(modules: Mapping[str, Any]) -> dict[str, int]:
    """Path -> length of each list of blocks that is not inside a block of another such list."""
    found: dict[str, int] = {}
    for path, module in modules.items():
        if type(module).__name__ not in ("ModuleList", "Sequential") or not module._modules:
            continue
        first = next(iter(module._modules.values()))
        if first is None or len(first._modules) < 2 or any(_below(path, other) for other in found):
            continue
        if type(module).__name__ == "ModuleList" or len(module._modules) > 1:
            found[path] = len(module._modules)
    return found


def _token_embedding_paths(root: Any, modules: Mapping[str, Any]) -> list[str]:
    try:
        embedding = root.get_input_embeddings()
    except Exception:  # a remote class may raise anything; then the names below decide
        embedding = None
    if type(embedding).__name__.endswith("Embedding"):
        paths = [path for path, module in modules.items() if module is embedding]
        if paths:
            return paths
    named = [
        (int(module.num_embeddings), path)
        for path, module in modules.items()
        if path.rpartition(".")[2] in _TOKEN_EMBEDDING_NAMES and hasattr(module, "num_embeddings")
    ]
    largest = max(named, default=(0, ""))[0]
    return [path for count, path in named if count == largest]


def _language_model(token_paths: Sequence[str], lists: Mapping[str, int]) -> tuple[str, str] | None:
    """(path of the language model, path of its block list); the decoder where an encoder shares the embedding."""
    found: list[tuple[bool, str, str]] = []
    for token_path in token_paths:
        for ancestor in ancestors(token_path)[1:]:
            own = [path for path in lists if _below(path, ancestor)]
            if own:
                blocks = min(own, key=lambda path: (_is_encoder_twin(path, own), path.count("."), -lists[path]))
                model = _decoder_of(ancestor, blocks)
                found.append(("decoder" in blocks.split("."), model, blocks))
                break
    if not found:
        return None
    _, model, blocks = max(found, key=lambda each: each[0])
    return model, blocks


def _is_encoder_twin(path: str, lists: Sequence[str]) -> bool:
    """Whether the same path with `decoder` for `encoder` exists: the encoder of an encoder-decoder pair."""
    return "encoder" in path.split(".") and path.replace("encoder", "decoder") in lists


def _decoder_of(ancestor: str, blocks: str) -> str:
    """In an encoder-decoder pair the language model is the decoder, not what holds both."""
    below = blocks[len(ancestor) :].strip(".").split(".")
    if "decoder" in below:
        lower = ".".join(below[: below.index("decoder") + 1])
        return f"{ancestor}.{lower}" if ancestor else lower
    return ancestor


def _vision_parts(
    root: Any, modules: Mapping[str, Any], lists: Mapping[str, int], model_path: str, blocks: str, tokens: Sequence[str]
) -> tuple[Part, ...]:
    """Modules beside the path to the blocks that could work on images."""
    on_path = set(ancestors(blocks))
    try:
        head = root.get_output_embeddings()
    except Exception:  # as for the input embedding
        head = None
    beside = [
        path
        for path in modules
        if path and path not in on_path and ancestors(path)[1] in on_path and not _below(path, blocks)
    ]
    candidates = [
        path
        for path in beside
        if modules[path] is not head
        and not any(_below(token, path) for token in tokens)
        and not any(word in path.rpartition(".")[2].lower() for word in _NOT_VISION_NAMES)
        and _has_parameters(path, modules)
    ]
    inside_model = [path for path in candidates if _below(path, model_path) and path != model_path]
    fit = [path for path in candidates if path not in inside_model or _could_encode(path, modules, lists)]
    towers = [path for path in fit if _takes_pixels(path, modules) and any(_below(each, path) for each in lists)]
    towers = towers or [path for path in fit if _takes_pixels(path, modules)]
    return tuple(Part(path, path in towers) for path in fit)


def _could_encode(path: str, modules: Mapping[str, Any], lists: Mapping[str, int]) -> bool:
    """What lies inside the language model beside its blocks is mostly norms and positions: those do not see images."""
    return _takes_pixels(path, modules) or any(_below(each, path) for each in lists)


def _takes_pixels(path: str, modules: Mapping[str, Any]) -> bool:
    if getattr(modules[path], "main_input_name", "") == "pixel_values":
        return True
    return any(type(module).__name__ in ("Conv2d", "Conv3d") for _, module in walk(modules[path]))


def _has_parameters(path: str, modules: Mapping[str, Any]) -> bool:
    return any(module._parameters for _, module in walk(modules[path]))


def _inner_projector(modules: Mapping[str, Any], tower: str, lists: Mapping[str, int], root: Any) -> str | None:
    """The direct child of a tower that maps to the language model's width, as in towers that merge patches."""
    width = _hidden_size(root)
    after_blocks = False
    for path, module in modules.items():
        if not _below(path, tower) or path == tower or ancestors(path)[1] != tower:
            continue
        if path in lists:
            after_blocks = True
        elif after_blocks and _last_width(path, modules) == width and module._modules:
            return path
    return None


def _hidden_size(root: Any) -> int | None:
    config = getattr(root, "config", None)
    text: Any = getattr(config, "text_config", None) or config
    size = getattr(text, "hidden_size", None)
    return size if isinstance(size, int) else None


def _last_width(path: str, modules: Mapping[str, Any]) -> int | None:
    widths = [getattr(module, "out_features", None) for _, module in walk(modules[path])]
    return next((width for width in reversed(widths) if width is not None), None)


def _has_cross_attention(modules: Mapping[str, Any], model_path: str) -> bool:
    below = list(walk(modules[model_path]))
    names = {type(module).__name__ for _, module in below}
    attributes = {path.rpartition(".")[2] for path, _ in below}
    marked = any("crossattention" in name.lower() for name in names)
    return marked or bool(attributes & {"cross_attn", "crossattention", "encoder_attn", "EncDecAttention"})
