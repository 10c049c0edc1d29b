"""The Llama class of llama-cpp-python: on a stand-in of its shape, and on the real one where it is installed."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest

from tests.runtimes import tiny_gguf
from tests.runtimes.conftest import Watched, picture
from wattvlm.runtimes.llama_cpp import RUNTIME
from wattvlm.trace import DECODE, PREFILL, PREPROCESS

IMAGE_CHUNK = 1
PAUSE_S = 0.01


class Llama:
    """What llama-cpp-python's class does: a chat handler computes text and images, generate gives tokens."""

    def __init__(self, mtmd: ModuleType | None = None) -> None:
        self.model_path = "tiny.gguf"
        self.mtmd: Any = mtmd
        self.computed: list[int] = []

    def eval(self, tokens: list[int]) -> None:
        time.sleep(PAUSE_S)
        self.computed += tokens

    def generate(self, tokens: list[int], reset: bool = True) -> Generator[int, list[int] | None, None]:
        self.eval(tokens[len(self.computed) :])
        for token in range(3):
            extra = yield token
            self.eval([token, *(extra or ())])

    def create_completion(self, prompt: list[int], stream: bool = False) -> Any:
        chunks = ({"choices": [{"text": str(token)}]} for token in self.generate(prompt))
        return chunks if stream else {"choices": [{"text": "".join(c["choices"][0]["text"] for c in chunks)}]}

    def create_chat_completion(self, messages: list[int], stream: bool = False) -> Any:
        time.sleep(PAUSE_S)
        self.eval([1] * 4)
        self.mtmd.mtmd_helper_eval_chunk_single(None, None, messages[0], 0)
        self.computed += [0] * messages[0]
        return self.create_completion([*self.computed, 7, 8], stream)


def mtmd_module() -> ModuleType:
    """The module of image functions; a chunk here is the number of its tokens."""
    module: Any = ModuleType("llama_cpp.mtmd_cpp")
    module.MTMD_INPUT_CHUNK_TYPE_IMAGE = IMAGE_CHUNK
    module.mtmd_input_chunk_get_type = lambda chunk: IMAGE_CHUNK
    module.mtmd_input_chunk_get_n_tokens = lambda chunk: chunk
    module.mtmd_helper_eval_chunk_single = lambda *args: time.sleep(PAUSE_S)
    return cast("ModuleType", module)


@pytest.fixture
def watched(monkeypatch) -> Iterator[Watched]:
    module: Any = ModuleType("llama_cpp.llama")
    module.Llama = Llama
    monkeypatch.setitem(sys.modules, "llama_cpp.llama", module)
    monkeypatch.setitem(sys.modules, "llama_cpp.mtmd_cpp", mtmd_module())
    watching = Watched(RUNTIME)
    yield watching
    watching.runtime.uninstall()
    assert watching.faults() == []


def test_a_chat_with_an_image_has_all_phases_and_counts(watched: Watched):
    llama = Llama(sys.modules["llama_cpp.mtmd_cpp"])
    assert llama.create_chat_completion([16]) == {"choices": [{"text": "012"}]}
    call = watched.call()
    assert [phase.name for phase in call.phases] == [PREPROCESS, PREFILL, DECODE]
    preprocess, prefill, decode = (phase.duration_ns / 1e9 for phase in call.phases)
    assert preprocess >= PAUSE_S
    assert prefill >= 3 * PAUSE_S
    assert decode >= 2 * PAUSE_S
    tokens = call.tokens
    assert (tokens.visual_input, tokens.text_input, tokens.cached_input, tokens.output) == (16, 6, 0, 3)
    assert (call.images, call.model.name, call.ended) == (1, "tiny.gguf", "returned")


def test_a_prompt_of_the_cache_is_not_computed(watched: Watched):
    llama = Llama()
    llama.computed = [5, 6, 7]
    llama.create_completion([5, 6, 7, 8])
    tokens = watched.call().tokens
    assert (tokens.text_input, tokens.cached_input, tokens.visual_input) == (4, 3, 0)


def test_a_stream_stays_lazy_and_its_phases_follow_the_reading(watched: Watched):
    stream = Llama().create_completion([1, 2], stream=True)
    assert not any(mark.name == PREFILL for mark in watched.marks)
    assert next(stream) == {"choices": [{"text": "0"}]}
    assert any(mark.kind == "first_token" for mark in watched.marks)
    assert len(list(stream)) == 2
    assert (watched.call().tokens.output, watched.call().ended) == (3, "returned")


def test_a_stream_that_is_given_up_ends_there(watched: Watched):
    stream = Llama().create_completion([1, 2], stream=True)
    next(stream)
    stream.close()
    assert (watched.call().ended, watched.call().tokens.output) == ("was closed before its end", 1)


def test_tokens_can_still_be_sent_into_generate(watched: Watched):
    llama = Llama()
    tokens = llama.generate([1, 2])
    assert next(tokens) == 0
    assert tokens.send([9]) == 1
    assert llama.computed == [1, 2, 0, 9]
    assert watched.trace().calls == ()  # no call of the class is under way


def test_an_error_is_raised_as_it_would_be(watched: Watched):
    with pytest.raises(AttributeError, match="mtmd"):
        Llama().create_chat_completion([16])
    assert watched.call().ended == "raised AttributeError"


@pytest.fixture(scope="module")
def real_llama(llama_files: tuple[Path, Path]) -> Any:
    if importlib.util.find_spec("llama_cpp") is None:
        pytest.skip("llama-cpp-python is not installed (it has no wheel and compiles llama.cpp)")
    llama_cpp: Any = importlib.import_module("llama_cpp")
    formats: Any = importlib.import_module("llama_cpp.llama_chat_format")
    language, vision = llama_files
    handler = formats.Llava15ChatHandler(clip_model_path=str(vision), verbose=False)
    return llama_cpp.Llama(str(language), chat_handler=handler, n_ctx=1024, n_threads=1, verbose=False)


@pytest.mark.parametrize("stream", [False, True])
def test_the_real_class_is_seen_as_the_stand_in_is(real_llama: Any, stream):
    content = [{"type": "image_url", "image_url": {"url": picture()}}, {"type": "text", "text": "What?"}]
    settings = {"max_tokens": 5, "temperature": 0.0, "logit_bias": {tiny_gguf.END_ID: -100.0}}
    watching = Watched(RUNTIME)
    answer = real_llama.create_chat_completion([{"role": "user", "content": content}], stream=stream, **settings)
    said: Any = list(answer) if stream else answer
    watching.runtime.uninstall()
    assert watching.faults() == []
    call = watching.call()
    assert [phase.name for phase in call.phases] == [PREPROCESS, PREFILL, DECODE]
    assert (call.tokens.visual_input, call.images, call.tokens.output) == (tiny_gguf.VISUAL_TOKENS, 1, 5)
    if not stream:
        assert call.tokens.prompt == said["usage"]["prompt_tokens"]
        assert call.tokens.output == said["usage"]["completion_tokens"]
