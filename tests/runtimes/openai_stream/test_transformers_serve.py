"""Requests to `transformers serve` with the shipped model, whose answers are known."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.runtimes.conftest import RunningServer, Watched
from wattvlm.runtimes.openai_stream import RUNTIME
from wattvlm.trace import DECODE, PREFILL

httpx = pytest.importorskip("httpx", reason="needs httpx, of the extra wattvlm[engines]")
openai = pytest.importorskip("openai", reason="needs openai, of the extra wattvlm[engines]")

VISUAL = 16
"""digits_llava/config.json: image_seq_length."""


@pytest.fixture
def watched() -> Iterator[Watched]:
    watching = Watched(RUNTIME)
    yield watching
    watching.runtime.uninstall()
    assert watching.faults() == []


def test_a_streamed_answer_is_split_at_its_first_text(watched: Watched, transformers_server: RunningServer):
    with openai.OpenAI(base_url=f"{transformers_server.url}/v1", api_key="none") as client:
        chunks = list(client.chat.completions.create(**transformers_server.body(), stream=True))
    call = watched.call()
    assert [phase.name for phase in call.phases] == [PREFILL, DECODE]
    assert call.phases[0].spans[0].start_ns == call.start_ns  # this server tells no times of its own
    usage = chunks[-1].usage
    assert (call.tokens.output, call.tokens.prompt) == (usage.completion_tokens, usage.prompt_tokens)
    assert (call.tokens.visual_input, call.ended) == (VISUAL, "returned")
    notes = " ".join(watched.trace().notes)
    assert "it holds the server's queue" in notes
    assert "transformers serve" in notes


def test_an_answer_in_one_piece_is_a_call_without_phases_that_says_the_cure(
    watched: Watched, transformers_server: RunningServer
):
    said = httpx.post(transformers_server.chat, json=transformers_server.body(), timeout=60).json()["usage"]
    call = watched.call()
    assert call.phases == ()
    assert (call.tokens.output, call.tokens.prompt) == (said["completion_tokens"], said["prompt_tokens"])
    assert any("Cure: stream=True" in note for note in watched.trace().notes)
