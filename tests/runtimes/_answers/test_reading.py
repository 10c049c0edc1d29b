"""Requests and answers are understood however they are cut or packed."""

from __future__ import annotations

import io
import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runtimes.conftest import picture
from wattvlm.runtimes._answers.asked import asked_by, image_size, is_model_request
from wattvlm.runtimes._answers.events import AnswerReader

STREAM = (
    b': a comment\r\n\r\ndata: {"choices":[{"delta":{"role":"assistant","content":null}}]}\r\n\r\n'
    b'data: {"choices":[{"delta":{"content":"\xc3\xa4"}}]}\n\n'
    b'event: x\ndata:{"choices":[],"usage":{"prompt_tokens":5}}\n\n'
    b"data: [DONE]\n\n"
)


@settings(deadline=None)
@given(st.lists(st.integers(1, len(STREAM) - 1), unique=True))
def test_events_may_be_cut_anywhere(cuts):
    edges = [0, *sorted(cuts), len(STREAM)]
    reader = AnswerReader()
    firsts = [reader.take(STREAM[start:end], end) for start, end in pairwise(edges)]
    assert sum(firsts) == 1
    assert reader.answer() == {"usage": {"prompt_tokens": 5}}
    assert reader.is_done
    first_text = STREAM.index(b"\n", STREAM.index(b"\xc3"))
    assert reader.first_ns == next(edge for edge in edges if edge > first_text)


@settings(deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=200))
def test_no_answer_whatsoever_raises(one, two):
    reader = AnswerReader()
    reader.take(one, 1)
    reader.take(two, 2)
    assert isinstance(reader.answer(), dict)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_request_whatsoever_raises(body):
    asked_by(body)
    image_size(body)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
@settings(deadline=None)
@given(width=st.integers(1, 300), height=st.integers(1, 300), lossless=st.booleans())
def test_the_size_of_an_image_is_read_from_its_header(form, width, height, lossless):
    image = pytest.importorskip("PIL.Image", reason="needs pillow")
    written = io.BytesIO()
    options = {"lossless": lossless} if form == "WEBP" else {}
    image.new("RGB", (width, height)).save(written, form, **options)
    assert image_size(written.getvalue()) == (width, height)


def test_images_of_all_endpoints_are_found_and_their_sizes_where_they_are_in_the_request():
    pytest.importorskip("PIL", reason="needs pillow")
    chat = [{"type": "image_url", "image_url": {"url": picture(size=(8, 9))}}, {"type": "text", "text": "a"},
            {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]  # fmt: skip
    found = asked_by(json.dumps({"model": "m", "messages": [{"role": "user", "content": chat}]}))
    assert found is not None
    assert (found.model, found.sizes) == ("m", ((8, 9), None))
    parts = [{"type": "input_image", "image_url": picture(size=(7, 5))}]
    found = asked_by(json.dumps({"input": [{"role": "user", "content": parts}]}))
    assert found is not None
    assert found.sizes == ((7, 5),)


@pytest.mark.parametrize(("prompt", "prompts"), [("a", 1), (["a", "b", "c"], 3), ([1, 2, 3], 1), ([[1, 2], [3]], 2)])
def test_several_prompts_of_one_request_are_a_batch(prompt, prompts):
    found = asked_by(json.dumps({"prompt": prompt}))
    assert found is not None
    assert found.prompts == prompts


def test_only_requests_for_text_are_model_requests():
    assert is_model_request("POST", "/v1/chat/completions")
    assert is_model_request("post", "/openai/deployments/x/completions/")
    assert not is_model_request("GET", "/v1/chat/completions")
    assert not is_model_request("POST", "/v1/files")
