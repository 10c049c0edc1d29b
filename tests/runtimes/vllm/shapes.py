"""Stand-ins with the names and parameters of vLLM's classes that the runtime looks at; `test_shapes` holds them to it.

They do what the real ones do in the respects that matter here: states of requests appear and go.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any


@dataclass
class PlaceholderRange:
    offset: int
    length: int
    is_embed: Any = None

    def get_num_embeds(self) -> int:
        return self.length if self.is_embed is None else sum(self.is_embed)


@dataclass
class MultiModalFeatureSpec:
    modality: str
    mm_position: PlaceholderRange


@dataclass
class EngineCoreRequest:
    request_id: str
    prompt_token_ids: list[int] | None
    mm_features: list[MultiModalFeatureSpec] | None = None
    pooling_params: Any = None


@dataclass
class EngineCoreEvent:
    type: int
    timestamp: float


@dataclass
class EngineCoreOutput:
    request_id: str
    new_token_ids: list[int]
    finish_reason: str | None = None
    events: list[EngineCoreEvent] | None = None
    prefill_stats: Any = None


@dataclass
class OutputProcessor:
    request_states: dict[str, Any] = field(default_factory=dict)

    def add_request(
        self, request: Any, prompt: Any, parent_req: Any = None, request_index: int = 0, queue: Any = None
    ) -> None:
        self.request_states[request.request_id] = request

    def process_outputs(
        self, engine_core_outputs: Any, engine_core_timestamp: Any = None, iteration_stats: Any = None
    ) -> list[str]:
        for output in engine_core_outputs:
            if output.finish_reason is not None:
                self.request_states.pop(output.request_id, None)
        return [output.request_id for output in engine_core_outputs]

    def abort_requests(self, request_ids: Any, internal: bool) -> list[str]:
        return [name for name in request_ids if self.request_states.pop(name, None) is not None]


class LLM:
    """Prepares for a while, then enters its prompts and steps through their answers."""

    def __init__(self) -> None:
        config = SimpleNamespace(architectures=["TinyForConditionalGeneration"])
        self.llm_engine = SimpleNamespace(
            model_config=SimpleNamespace(model="tiny", dtype="torch.float32", quantization=None, hf_config=config)
        )
        self.processor = OutputProcessor()

    def generate(self, prompts: list[EngineCoreRequest], sampling_params: Any = None) -> list[str]:
        for prompt in prompts:
            time.sleep(0.01)
            self.processor.add_request(prompt, None)
        for step in range(3):
            time.sleep(0.005)
            ended = "length" if step == 2 else None
            outputs = [EngineCoreOutput(prompt.request_id, [step], ended) for prompt in prompts]
            self.processor.process_outputs(outputs, time.monotonic(), None)
        return [prompt.request_id for prompt in prompts]

    def chat(self, messages: list[EngineCoreRequest], sampling_params: Any = None) -> list[str]:
        return self.generate(messages, sampling_params)
