"""Stand-ins with the names of vLLM's statistics that the plugin looks at; `test_stat_logger` holds them to it."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from tests.runtimes.vllm.shapes import EngineCoreRequest, MultiModalFeatureSpec, OutputProcessor, PlaceholderRange


class StatLoggerBase(ABC):
    @abstractmethod
    def __init__(self, vllm_config: Any, engine_index: int = 0) -> None: ...

    @abstractmethod
    def record(
        self, scheduler_stats: Any, iteration_stats: Any, mm_cache_stats: Any = None, engine_idx: int = 0
    ) -> None: ...

    @abstractmethod
    def log_engine_initialized(self) -> None: ...

    def log(self) -> None:
        return None

    def record_sleep_state(self, is_awake: int, level: int) -> None:
        return None


@dataclass
class PrefixCacheStats:
    preempted_queries: int = 0
    preempted_hits: int = 0


@dataclass
class SchedulerStats:
    num_running_reqs: int = 0
    prefix_cache_stats: PrefixCacheStats = field(default_factory=PrefixCacheStats)


class IterationStats:
    def __init__(self) -> None:
        self.iteration_timestamp = time.time()
        self.num_generation_tokens = 0
        self.num_preempted_reqs = 0


@dataclass
class RequestStateStats:
    num_generation_tokens: int = 0
    num_preemptions: int = 0
    scheduled_ts: float = 0.0
    first_token_ts: float = 0.0
    last_token_ts: float = 0.0


@dataclass
class RequestState:
    stats: RequestStateStats | None = field(default_factory=RequestStateStats)
    num_cached_tokens: int = 0


def config(engines: int = 1, front_ends: int = 1) -> SimpleNamespace:
    """As much of VllmConfig as the plugin looks at."""
    return SimpleNamespace(
        parallel_config=SimpleNamespace(data_parallel_size=engines, _api_process_count=front_ends),
        scheduler_config=SimpleNamespace(
            max_num_batched_tokens=2048, long_prefill_token_threshold=0, async_scheduling=False
        ),
        model_config=SimpleNamespace(model="tiny"),
    )


class Processor(OutputProcessor):
    """The front end's own states, with the statistics that it keeps."""

    def add_request(self, request: Any, prompt: Any, *args: Any, **kwargs: Any) -> None:
        self.request_states[request.request_id] = RequestState()


def request(name: str, text: int = 10, image: int = 16) -> EngineCoreRequest:
    features = [MultiModalFeatureSpec("image", PlaceholderRange(0, image))] if image else []
    return EngineCoreRequest(name, [1] * (text + image), features)
