"""What a server says of itself in Prometheus text, and which of its metrics are requests, tokens and waiting times.

Metrics are told by the words in their names and by their type, since each server names them its own way
(vllm:generation_tokens, sglang:generation_tokens, llamacpp:tokens_predicted, tgi_request_generated_tokens).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Any

from wattvlm.errors import WattvlmError


class NoParser(WattvlmError):
    """prometheus_client is not installed."""


@dataclass(slots=True)
class Metric:
    """One metric, summed over all of its labels. buckets: of a histogram, upper edge -> how many lie below it.

    value: of a counter or gauge; of a histogram the sum of what was observed, and count how often.
    """

    name: str
    kind: str
    value: float = 0.0
    count: float = 0.0
    buckets: dict[float, float] = field(default_factory=dict[float, float])


def parse(text: str) -> dict[str, Metric]:
    """The metrics in a page of Prometheus text by name; NoParser, or ValueError where it is none."""
    found: dict[str, Metric] = {}
    for family in _families(text):
        metric = found[family.name] = Metric(family.name, family.type)
        for sample in family.samples:
            _add(metric, sample)
    return found


_MODEL_LABELS = ("model_name", "model", "model_id")
"""vLLM and SGLang; others."""


def parse_by_model(text: str) -> dict[str, dict[str, Metric]]:
    """The metrics in a page by the model in their labels, then by name; "" for those of no model. Errors as `parse`."""
    found: dict[str, dict[str, Metric]] = {}
    for family in _families(text):
        for sample in family.samples:
            model = next((sample.labels[label] for label in _MODEL_LABELS if sample.labels.get(label)), "")
            metrics = found.setdefault(model, {})
            _add(metrics.setdefault(family.name, Metric(family.name, family.type)), sample)
    return found


def _families(text: str) -> Any:
    try:
        from prometheus_client.parser import text_string_to_metric_families
    except ImportError as error:
        raise NoParser(
            "prometheus_client is not installed, so the server's own counts are not read: joules only. "
            "Cure: pip install 'wattvlm[prometheus]'"
        ) from error
    return text_string_to_metric_families(text)


def _add(metric: Metric, sample: Any) -> None:
    if not isfinite(sample.value):
        return
    if sample.name.endswith("_bucket") and "le" in sample.labels:
        edge = float(sample.labels["le"])
        metric.buckets[edge] = metric.buckets.get(edge, 0.0) + sample.value
    elif metric.kind in ("histogram", "summary") and sample.name.endswith("_count"):
        metric.count += sample.value
    elif not sample.name.endswith("_created") and "quantile" not in sample.labels:
        metric.value += sample.value


_ONE = {"requests": "request", "reqs": "request", "req": "request", "tokens": "token", "seconds": "second"}

_ELSE = frozenset({
    "cache", "cached", "external", "recomputed", "by", "source", "kv", "max", "waiting", "queue", "queued", "deferred",
    "swapped", "failure", "failed", "abort", "aborted", "error", "errors", "http", "iteration", "draft", "accepted",
    "spec", "image", "images", "preemptions", "tool", "limit",
})  # fmt: skip
"""Words of metrics that count something else than what is asked for, although the other words are there."""

_RATES = frozenset({"second", "per"})
"""In the name of a counter or gauge: time or a rate, not a count."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What to look for: one set of these words, of this type. of: which number of the metric is meant."""

    type: str
    words: tuple[frozenset[str], ...]
    of: str = "value"


def _sets(*texts: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(text.split()) for text in texts)


_ENDED = ("success", "succeeded", "finished", "completed")
REQUESTS = (
    Kind("counter", _sets(*(f"request {word}" for word in _ENDED))),
    Kind("histogram", _sets("e2e request latency", "request duration", "e2e request duration"), "count"),
    Kind("counter", _sets("num request", "request count", "request processed")),
)
PROMPT_TOKENS = (
    Kind("counter", _sets("prompt token", "input token")),
    Kind("histogram", _sets("request input length", "request prompt token")),
)
OUTPUT_TOKENS = (
    Kind(
        "counter",
        _sets(*(f"{word} token" for word in ("generation", "generated", "output", "completion", "predicted"))),
    ),
    Kind("histogram", _sets("request generated token", "request generation token")),
)
_AT_ONCE = _sets("request running", "request processing", "request active", "batch current size")
RUNNING = (Kind("gauge", _AT_ONCE),)
FIRST_TOKEN = (Kind("histogram", _sets("time first token"), "buckets"),)
EACH_TOKEN = (Kind("histogram", _sets("inter token latency", "time output token", "time per token"), "buckets"),)


def find(metrics: Mapping[str, Metric], kinds: Iterable[Kind]) -> tuple[Metric, str] | None:
    """The metric that fits the first of these kinds, with which number of it is meant; the plainest name of several."""
    for kind in kinds:
        fitting = [metric for metric in metrics.values() if metric.kind == kind.type and _fits(metric, kind)]
        if fitting:
            return min(fitting, key=lambda metric: (len(_words(metric.name)), metric.name)), kind.of
    return None


def _fits(metric: Metric, kind: Kind) -> bool:
    words = _words(metric.name)
    unwanted = _ELSE if kind.type == "histogram" else _ELSE | _RATES
    return any(wanted <= words for wanted in kind.words) and not words & unwanted


def _words(name: str) -> frozenset[str]:
    return frozenset(_ONE.get(word, word) for word in re.split(r"[:_]", name.lower()) if word and word != "total")


def number(metric: Metric, of: str) -> float:
    """The number of a metric that is meant."""
    return metric.count if of == "count" else metric.value


def quantile(buckets: Mapping[float, float], fraction: float) -> tuple[float, float] | None:
    """Between which two bucket edges a quantile lies; None where nothing was observed."""
    edges = sorted(buckets)
    if not edges or buckets[edges[-1]] <= 0:
        return None
    wanted = fraction * buckets[edges[-1]]
    high = next((edge for edge in edges if buckets[edge] >= wanted), inf)
    lower = [edge for edge in edges if edge < high]
    return (lower[-1] if lower else 0.0), high
