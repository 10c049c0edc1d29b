"""Tokens dropped before a layer of the language model: what the layers above it compute, and what their caches hold."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from wattvlm.pruning import DoesNotFit


def dropping(model: Any, before_layer: int, keep_fraction: float) -> Callable[[], None]:
    """Before a layer, of the visual tokens only those stay that the last token looks at most; gives what undoes it.

    The layers below keep all of them, and so do their caches.
    """
    language = getattr(model.model, "language_model", None)
    if language is None or len(getattr(language, "layers", ())) <= before_layer:
        raise DoesNotFit(f"{type(model).__name__} has no layer {before_layer} that is known here")
    state = _Dropping(model, before_layer, keep_fraction)
    hooks = [model.register_forward_pre_hook(state.prompt_seen, with_kwargs=True)]
    hooks += [
        layer.register_forward_pre_hook(state.at_first if place == before_layer else state.above, with_kwargs=True)
        for place, layer in enumerate(language.layers)
        if place >= before_layer
    ]

    def undo() -> None:
        for hook in hooks:
            hook.remove()

    return undo


class _Dropping:
    """What is shared by the layers of one call: which places of the prompt stay."""

    def __init__(self, model: Any, before_layer: int, keep_fraction: float) -> None:
        settings = model.config
        self._token = getattr(settings, "image_token_id", None) or getattr(settings, "image_token_index", None)
        self._fraction = keep_fraction
        self._torch: Any = import_module("torch")
        self._visual: Any = None
        self._kept: Any = None
        self._prompt_length = 0

    def prompt_seen(self, module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        """A forward pass with more than one token is a prompt; those of a single token go on with it."""
        ids = kwargs.get("input_ids")
        if ids is not None and ids.shape[1] > 1:
            self._visual = (ids[0] == self._token).nonzero().flatten()
            self._prompt_length, self._kept = ids.shape[1], None

    def at_first(self, layer: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """The layer before which tokens are dropped: choose them in a prompt, and drop them."""
        hidden = args[0] if args else kwargs["hidden_states"]
        if hidden.shape[1] == self._prompt_length and len(self._visual):
            self._kept = self._chosen(layer, hidden)
            hidden = hidden[:, self._kept]
            args, kwargs = ((hidden, *args[1:]), kwargs) if args else ((), {**kwargs, "hidden_states": hidden})
        return self.above(layer, args, kwargs)

    def above(self, layer: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """A layer that sees fewer tokens: positions and mask of those that are left."""
        if self._kept is None:
            return None
        hidden = args[0] if args else kwargs["hidden_states"]
        changed = dict(kwargs)
        is_prompt = hidden.shape[1] == len(self._kept)
        if is_prompt and kwargs.get("position_embeddings") is not None:
            changed["position_embeddings"] = tuple(each[..., self._kept, :] for each in kwargs["position_embeddings"])
        if is_prompt:
            for name in ("position_ids", "cache_position"):
                if kwargs.get(name) is not None:
                    changed[name] = kwargs[name][..., self._kept]
        mask = kwargs.get("attention_mask")
        if mask is not None:
            later = self._torch.arange(self._prompt_length, mask.shape[-1], device=mask.device)
            columns = self._torch.cat([self._kept, later])
            rows = mask[..., self._kept, :] if is_prompt and mask.dim() == 4 else mask
            changed["attention_mask"] = rows[..., columns]
        return args, changed

    def _chosen(self, layer: Any, hidden: Any) -> Any:
        """Places that stay, in order: all text, and the visual tokens with the largest weight for the last token.

        The weight is the layer's own query of the last token times the visual keys, without their positions.
        """
        torch, attention = self._torch, layer.self_attn
        normal = layer.input_layernorm(hidden[:1])
        width = attention.head_dim
        query = attention.q_proj(normal[:, -1]).view(-1, width)
        keys = attention.k_proj(normal[0, self._visual]).view(len(self._visual), -1, width)
        keys = keys.repeat_interleave(query.shape[0] // keys.shape[1], dim=1)
        weight = torch.einsum("hd,nhd->n", query, keys)
        stay = max(1, round(len(self._visual) * self._fraction))
        text = torch.ones(hidden.shape[1], dtype=torch.bool, device=hidden.device)
        text[self._visual] = False
        text[self._visual[weight.topk(stay).indices]] = True
        return text.nonzero().flatten()
