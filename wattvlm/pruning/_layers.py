"""Tokens dropped before layers of the language model: what the layers above compute, and what their caches hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any

from wattvlm.pruning import DoesNotFit, image_token_of
from wattvlm.pruning._parts import layers_of

Choose = Callable[[Any, Any, Any], tuple[Any, Any]]
"""(layer, hidden states, places of visual tokens in them) -> (those places that stay, in order; the hidden states)."""


def dropping(model: Any, before_layer: int, keep_fraction: float) -> Callable[[], None]:
    """Before a layer, of the visual tokens only those stay that the last token looks at most; gives what undoes it.

    The layers below keep all of them, and so do their caches.
    """
    return dropping_by(model, {before_layer: partial(looked_at, fraction=keep_fraction)})


def dropping_by(model: Any, stages: Mapping[int, Choose]) -> Callable[[], None]:
    """Before each of some layers, only those visual tokens stay that are chosen there; gives what undoes it.

    What stays keeps its position. Rows of a batch are dropped alike, as the first is.
    """
    layers = layers_of(model)
    if len(layers) <= max(stages):
        raise DoesNotFit(f"{type(model).__name__} has no layer {max(stages)}: its language model has {len(layers)}")
    state = _Dropping(image_token_of(model), stages)
    hooks = [model.register_forward_pre_hook(state.prompt_seen, with_kwargs=True)]
    hooks += [
        layer.register_forward_pre_hook(partial(state.before, place), with_kwargs=True)
        for place, layer in enumerate(layers)
        if place >= min(stages)
    ]

    def undo() -> None:
        for hook in hooks:
            hook.remove()

    return undo


def looked_at(layer: Any, hidden: Any, visual: Any, *, fraction: float) -> tuple[Any, Any]:
    """The visual tokens with the largest weight for the last token.

    The weight is the layer's own query of the last token times the visual keys, without their positions. DoesNotFit
    where a layer keeps its queries and keys otherwise.
    """
    torch: Any = import_module("torch")
    attention: Any = getattr(layer, "self_attn", None)
    if not all(hasattr(attention, name) for name in ("q_proj", "k_proj", "head_dim")):
        raise DoesNotFit(f"{type(layer).__name__} has no queries and keys of its own. Cure: mmtok, which asks for none")
    norm = getattr(layer, "input_layernorm", None) or getattr(layer, "operator_norm", None)
    if norm is None:
        raise DoesNotFit(f"{type(layer).__name__} has no norm before its attention. Cure: mmtok, which asks for none")
    normal, width = norm(hidden[:1]), attention.head_dim
    query = attention.q_proj(normal[:, -1]).view(-1, width)
    keys = attention.k_proj(normal[0, visual]).view(len(visual), -1, width)
    if query.shape[0] % keys.shape[1]:
        raise DoesNotFit(f"{type(layer).__name__} has queries that do not go with its keys. Cure: mmtok")
    keys = keys.repeat_interleave(query.shape[0] // keys.shape[1], dim=1)
    weight = torch.einsum("hd,nhd->n", query, keys)
    stay = max(1, round(len(visual) * fraction))
    return visual[weight.topk(stay).indices.sort().values], hidden


class _Dropping:
    """What is shared by the layers of one call: which places of the prompt are left at each of them."""

    def __init__(self, image_token: int, stages: Mapping[int, Choose]) -> None:
        self._token = image_token
        self._stages = stages
        self._torch: Any = import_module("torch")
        self._prompt_length = 0
        self._visual: Any = None
        self._left: Any = None
        self._left_at: dict[int, Any] = {}

    def prompt_seen(self, module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        """A forward pass with more than one token is a prompt; those of a single token go on with it."""
        ids = kwargs.get("input_ids")
        if ids is not None and ids.shape[1] > 1:
            self._visual = (ids[0] == self._token).nonzero().flatten()
            self._prompt_length = ids.shape[1]
            self._left = self._torch.arange(self._prompt_length, device=ids.device)
            self._left_at = {}

    def before(self, place: int, layer: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """A layer of a prompt: choose and drop where it is its turn. Of a token after it: what its cache holds."""
        if self._visual is None or not len(self._visual):
            return None
        hidden = args[0] if args else kwargs["hidden_states"]
        if hidden.shape[1] == 1:
            return (args, {**kwargs, **self._columns(place, kwargs)}) if place in self._left_at else None
        if place in self._stages:
            hidden = self._dropped(place, layer, hidden)
            args, kwargs = ((hidden, *args[1:]), kwargs) if args else ((), {**kwargs, "hidden_states": hidden})
        self._left_at[place] = self._left
        return args, {**kwargs, **self._rows(kwargs)}

    def _dropped(self, place: int, layer: Any, hidden: Any) -> Any:
        torch = self._torch
        chosen, hidden = self._stages[place](layer, hidden, self._visual)
        stays = torch.ones(hidden.shape[1], dtype=torch.bool, device=hidden.device)
        stays[self._visual] = False
        stays[chosen] = True
        self._left = self._left[stays]
        self._visual = (stays.cumsum(0) - 1)[chosen]
        return hidden[:, stays]

    def _rows(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Positions and mask of a prompt's tokens that are left."""
        left, changed = self._left, dict[str, Any]()
        if kwargs.get("position_embeddings") is not None:
            changed["position_embeddings"] = tuple(each[..., left, :] for each in kwargs["position_embeddings"])
        for name in ("position_ids", "cache_position"):
            if kwargs.get(name) is not None:
                changed[name] = kwargs[name][..., left]
        mask = kwargs.get("attention_mask")
        if mask is not None:
            changed["attention_mask"] = mask[..., left, :][..., left] if mask.dim() == 4 else mask[..., left]
        return changed

    def _columns(self, place: int, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The mask of one more token over what a layer's cache holds; it was made for the cache of the first layer."""
        mask = kwargs.get("attention_mask")
        if mask is None:
            return {}
        torch, left = self._torch, self._left_at[place]
        held = self._left_at.get(0)
        length = self._prompt_length if held is None else len(held)
        own = left if held is None else torch.isin(held, left).nonzero().flatten()
        later = torch.arange(length, mask.shape[-1], device=mask.device)
        return {"attention_mask": mask[..., torch.cat([own, later])]}
