"""Where in a model the language model and the vision side are, from its structure alone.

The language model is the lowest ancestor of the token embedding that holds a list of blocks; what lies beside the
path to it is the rest, of which the parts that take pixels are the vision side. No table of classes or names of models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wattvlm.runtimes.transformers.loose import number_of
from wattvlm.runtimes.transformers.tree import ModuleTree, ancestors, is_below

_TOKEN_EMBEDDING_NAMES = ("embed_tokens", "token_embedding", "word_embeddings", "wte", "tok_embeddings", "shared")
_NOT_VISION_NAMES = ("audio", "speech", "talker")
_CROSS_ATTENTION_NAMES = frozenset(("cross_attn", "crossattention", "encoder_attn", "EncDecAttention"))
_MERE_LISTS = ("ModuleList", "ModuleDict")
_LONG = 3
_MOST_BANDS = 13  # of a picture: Sentinel-2 has 13; convolutions of projectors take hundreds of channels
_PIECES_DEPTH = 3


@dataclass(frozen=True, slots=True)
class Part:
    """One module of the vision side. encodes: it turns pixels into features; else it carries features on."""

    path: str
    encodes: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the parts of one model are, as dotted paths from its root.

    parts: the vision side, outermost modules that can be called. language_model: "" is the root itself, None is none
    found. blocks: path of the language model's block list. token_embedding: path of what embeds its ids.
    inner_projector: the part of an encoder that projects, if any. pieces: path of a part -> paths of modules in it that
    show it running where a model calls these one by one instead of the part. cross_attention: the language model
    attends to features beside its sequence.
    """

    parts: tuple[Part, ...] = ()
    language_model: str | None = None
    blocks: str | None = None
    token_embedding: str | None = None
    inner_projector: str | None = None
    pieces: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    cross_attention: bool = False

    @property
    def has_encoder(self) -> bool:
        return any(part.encodes for part in self.parts)

    @property
    def encoder_only(self) -> bool:
        return self.language_model is None and bool(self.parts)


def find_layout(root: Any, tree: ModuleTree) -> Layout:
    """The layout of a torch module."""
    lists = _block_lists(tree)
    token_paths = _token_embedding_paths(root, tree)
    language = _language_model(token_paths, lists, tree)
    if language is None:
        return Layout(parts=(Part("", True),) if _takes_pixels("", tree) else ())
    model_path, blocks_path, token_path = language
    parts = _vision_parts(root, tree, lists, language, token_paths)
    towers = [part.path for part in parts if part.encodes]
    has_own_projector = len(towers) < len(parts)
    inner = None if has_own_projector or not towers else _inner_projector(tree, towers[0], lists, _hidden_size(root))
    pieces = {part.path: pieces_of(part.path, tree) for part in parts}
    cross_attention = _has_cross_attention(tree, model_path)
    return Layout(parts, model_path, blocks_path, token_path, inner, pieces, cross_attention)


def _block_lists(tree: ModuleTree) -> dict[str, int]:
    """Path -> length of each list of blocks that is not inside a block of another such list."""
    found: dict[str, int] = {}
    for path, module in tree:
        kind = type(module).__name__
        children: Mapping[str, Any] = module._modules
        if kind not in ("ModuleList", "Sequential") or len(children) < (2 if kind == "Sequential" else 1):
            continue
        first = next(iter(children.values()))
        if first is not None and _is_block(first) and not any(is_below(path, other) for other in found):
            found[path] = len(children)
    return found


def _is_block(module: Any) -> bool:
    """Several modules, or nothing but a list of them, as the blocks of T5 are."""
    children = module._modules
    return len(children) > 1 or any(type(child).__name__ == "ModuleList" for child in children.values())


def _token_embedding_paths(root: Any, tree: ModuleTree) -> list[str]:
    try:
        embedding = root.get_input_embeddings()
    except Exception:  # a remote class may raise anything; then the names below decide
        embedding = None
    if type(embedding).__name__.endswith("Embedding"):
        paths = tree.paths_of(embedding)
        if paths:
            return paths
    named = [
        (int(module.num_embeddings * module.embedding_dim), path)
        for path, module in tree
        if path.rpartition(".")[2] in _TOKEN_EMBEDDING_NAMES and hasattr(module, "num_embeddings")
    ]
    largest = max(named, default=(0, ""))[0]  # by size: CLIP's text side has more ids than LLaMA, but narrower ones
    return [path for size, path in named if size == largest]


def _language_model(
    token_paths: Sequence[str], lists: Mapping[str, int], tree: ModuleTree
) -> tuple[str, str, str] | None:
    """Paths of the language model, its block list, its token embedding; the decoder where an encoder shares that."""
    found: list[tuple[bool, str, str, str]] = []
    for token_path in token_paths:
        for ancestor in ancestors(token_path)[1:]:
            own = [path for path in lists if is_below(path, ancestor)]
            if own:
                blocks = min(own, key=lambda path: _unlikeliness(path, ancestor, own, lists, tree))
                found.append(("decoder" in blocks.split("."), _decoder_of(ancestor, blocks), blocks, token_path))
                break
    if not found:
        return None
    _, model, blocks, token_path = max(found, key=lambda each: each[0])
    return model, blocks, token_path


def _unlikeliness(
    path: str, ancestor: str, own: Sequence[str], lists: Mapping[str, int], tree: ModuleTree
) -> tuple[bool, bool, int, int]:
    """Sort key of a block list to be the language model's: not an encoder's, not beside a picture, high up, long."""
    below = path[len(ancestor) :].strip(".").split(".")[0]
    branch = f"{ancestor}.{below}" if ancestor else below
    return _is_encoder_twin(path, own), _takes_pixels(branch, tree), path.count("."), -lists[path]


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
    root: Any, tree: ModuleTree, lists: Mapping[str, int], language: tuple[str, str, str], token_paths: Sequence[str]
) -> tuple[Part, ...]:
    """Modules beside the path to the blocks that could work on images."""
    model_path, blocks_path, _ = language
    on_path = set(ancestors(blocks_path))
    vocabulary = getattr(tree.at(token_paths[0]), "num_embeddings", -1)
    text_encoder = _text_encoder(tree, lists, blocks_path, vocabulary)
    on_path |= set() if text_encoder is None else set(ancestors(text_encoder))
    try:
        head = root.get_output_embeddings()
    except Exception:  # as for the input embedding
        head = None
    fit: list[str] = []
    for position, parent in enumerate(tree.parents):
        path = tree.paths[position]
        if parent < 0 or path in on_path or tree.paths[parent] not in on_path or tree.paths[parent] == blocks_path:
            continue
        if text_encoder is not None and is_below(path, text_encoder) and not _takes_pixels(path, tree):
            continue
        if tree.paths[parent] == tree.parent(blocks_path) and path in lists and _attends_across(path, tree):
            continue  # layers that stand between those of the language model
        is_head = tree.modules[position] is head
        is_head = is_head or (_last_width(path, tree) == vocabulary and not _takes_pixels(path, tree))
        is_other = is_head or _is_not_vision(path)
        holds_tokens = any(is_below(token, path) for token in token_paths) or _holds_vocabulary(path, tree, vocabulary)
        if is_other or holds_tokens or not any(module._parameters for module in tree.under(path)):
            continue
        # Beside its blocks a language model has norms and positions, which do not see images.
        if not is_below(path, model_path) or not model_path or _could_encode(path, tree, lists):
            fit.append(path)
    fit = [path for path in fit if model_path or _could_encode(path, tree, lists)]
    with_blocks = [path for path in fit if any(is_below(each, path) for each in lists)]
    towers = [path for path in fit if _takes_pixels(path, tree)] or with_blocks
    encoders = [path for path in towers if path in with_blocks] or towers
    return tuple(
        Part(each, path in encoders and (each == path or _takes_pixels(each, tree)))
        for path in fit
        for each in _callable(path, tree)
    )


def _callable(path: str, tree: ModuleTree) -> list[str]:
    """The module itself; of a mere list, which nothing ever calls, and of what holds sound too, what is in it."""
    children = tree.children(path)
    own = [child for child in children if not _is_not_vision(child)]
    if type(tree.at(path)).__name__ not in _MERE_LISTS and own == children:
        return [path]
    return [each for child in own for each in _callable(child, tree)]


def _is_not_vision(path: str) -> bool:
    return any(word in path.rpartition(".")[2].lower() for word in _NOT_VISION_NAMES)


def pieces_of(path: str, tree: ModuleTree, depth: int = 0) -> list[str]:
    """What a model may call one by one instead of a part: the modules near its top; of a long list its two ends."""
    children = tree.children(path)
    if len(children) > _LONG and type(tree.at(path)).__name__ in (*_MERE_LISTS, "Sequential"):
        return [children[0], children[-1]]
    found: list[str] = []
    for child in children:
        if type(tree.at(child)).__name__ not in _MERE_LISTS:
            found.append(child)
        if depth + 1 < _PIECES_DEPTH:
            found += pieces_of(child, tree, depth + 1)
    return found


def _text_encoder(tree: ModuleTree, lists: Mapping[str, int], blocks_path: str, vocabulary: int) -> str | None:
    """The encoder that reads text for this decoder: named as its twin, and with a token embedding of its own."""
    twins = [path for path in lists if path != blocks_path and path.replace("encoder", "decoder") == blocks_path]
    holders = [twin.rpartition(".")[0] for twin in twins]
    return next((path for path in holders if path and _holds_vocabulary(path, tree, vocabulary)), None)


def _holds_vocabulary(path: str, tree: ModuleTree, vocabulary: int) -> bool:
    """Whether an embedding of all tokens lies below, as in the other half of an encoder-decoder pair."""
    return any(number_of(module, "num_embeddings") == vocabulary for module in tree.under(path))


def _could_encode(path: str, tree: ModuleTree, lists: Mapping[str, int]) -> bool:
    return _takes_pixels(path, tree) or any(is_below(each, path) for each in lists)


def _takes_pixels(path: str, tree: ModuleTree) -> bool:
    if getattr(tree.at(path), "main_input_name", "") == "pixel_values":
        return True
    first = next((module for module in tree.under(path) if type(module).__name__ in ("Conv2d", "Conv3d")), None)
    return first is not None and bool(first.in_channels <= _MOST_BANDS)  # later ones may squeeze features that far


def _inner_projector(tree: ModuleTree, tower: str, lists: Mapping[str, int], width: int | None) -> str | None:
    """The direct child of a tower that maps to the language model's width, as in towers that merge patches."""
    after_blocks = False
    for path in tree.paths_under(tower)[1:]:
        if tree.parent(path) != tower:
            continue
        if any(is_below(each, path) for each in lists):
            after_blocks = True
        elif after_blocks and tree.at(path)._modules and _last_width(path, tree) == width:
            return path
    return None


def _hidden_size(root: Any) -> int | None:
    config: Any = getattr(root, "config", None)
    size = getattr(getattr(config, "text_config", None) or config, "hidden_size", None)
    return size if isinstance(size, int) else None


def _last_width(path: str, tree: ModuleTree) -> int | None:
    widths = (number_of(module, "out_features") for module in reversed(tree.under(path)))
    return next((width for width in widths if width is not None), None)


def _has_cross_attention(tree: ModuleTree, model_path: str) -> bool:
    if any("crossattention" in name.lower() for name in {type(module).__name__ for module in tree.under(model_path)}):
        return True
    return _attends_across(model_path, tree)


def _attends_across(path: str, tree: ModuleTree) -> bool:
    return any(each.rpartition(".")[2] in _CROSS_ATTENTION_NAMES for each in tree.paths_under(path))
