"""Reasoning and answer apart: by the tokenizer's tags, and absent where these leave it open."""

from __future__ import annotations

import pytest
import transformers as hf

from wattvlm.demo import model_path
from wattvlm.demo.asking import load
from wattvlm.demo.questions import QUESTIONS, held_out, prompt
from wattvlm.runtimes.transformers.reasoning import Tags, reasoning_tokens

TAGS = Tags(90, 91)


@pytest.mark.parametrize(
    ("new", "inside", "reasoning"),
    [
        ([90, 5, 6, 91, 7, 8], None, 4),
        ([5, 6, 91, 7, 8], None, 3),  # it had begun in the prompt
        ([90, 5, 6], None, 3),  # it was cut off
        ([5, 6], True, 2),
        ([5, 6], False, 0),
        ([5, 6], None, None),
        ([90, 5, 91, 6, 90, 7, 91, 8], None, 6),
    ],
)
def test_what_lies_between_the_tags_is_reasoning(new, inside, reasoning):
    assert reasoning_tokens(new, TAGS, inside) == reasoning


@pytest.fixture(scope="module")
def thinking():
    """The shipped model, with two tags added to its tokenizer."""
    processor, model = load(model_path())
    processor.tokenizer.add_tokens(["<think>", "</think>"])
    model.resize_token_embeddings(len(processor.tokenizer))
    return processor, model


class Forced(hf.LogitsProcessor):
    """Makes a model say these ids in turn."""

    def __init__(self, ids: list[int]) -> None:
        self.ids = list(ids)

    def __call__(self, input_ids, scores):
        wanted = self.ids.pop(0)
        scores[:] = float("-inf")
        scores[:, wanted] = 0.0
        return scores


def answer(thinking, words: list[str], **more):
    processor, model = thinking
    known = processor.tokenizer.get_added_vocab()
    inputs = processor(images=held_out().pictures()[:1], text=[prompt(QUESTIONS[0])], return_tensors="pt")
    said = [known.get(word, 9) for word in words]
    model.generate(**inputs, max_new_tokens=len(said), logits_processor=[Forced(said)], **more)


def test_a_processor_in_the_block_shows_the_tags_of_its_tokenizer(thinking, watched):
    answer(thinking, ["<think>", "a", "b", "</think>", "c", "d"])
    tokens = watched.call().tokens
    assert (tokens.output, tokens.reasoning_output, tokens.answer) == (6, 4, 2)
    assert "tags" in tokens.how["reasoning_output"]


def test_without_a_tag_there_was_no_reasoning(thinking, watched):
    answer(thinking, ["a", "b"])
    assert watched.call().tokens.reasoning_output == 0


def test_a_tokenizer_that_was_not_seen_leaves_it_unknown(thinking, watched):
    processor, model = thinking
    watched.runtime.uninstall()
    inputs = processor(images=held_out().pictures()[:1], text=[prompt(QUESTIONS[0])], return_tensors="pt")
    watched.runtime.install(lambda *given: watched.marks.extend(given))
    model.generate(**inputs, max_new_tokens=2)
    assert watched.call().tokens.reasoning_output is None
    model.generate(**inputs, max_new_tokens=2, tokenizer=processor.tokenizer)
    assert watched.calls()[-1].tokens.reasoning_output == 0


def test_what_only_decodes_leaves_it_unknown_and_costs_no_other_count(thinking, watched):
    class Decoder:
        def decode(self, ids, **kwargs):
            return ""

    answer(thinking, ["a", "b"], tokenizer=Decoder())
    tokens = watched.call().tokens
    assert (tokens.output, tokens.reasoning_output) == (2, None)


def test_a_tokenizer_without_tags_leaves_it_unknown(watched):
    answer(load(model_path()), ["a", "b"])
    assert watched.call().tokens.reasoning_output is None
