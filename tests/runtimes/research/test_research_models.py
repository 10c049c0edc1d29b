"""Models whose code is not in transformers, by their control flow: seen as one call, with the counts of their own."""

from __future__ import annotations

import gc
import importlib
import weakref
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.runtimes.research.cases import Case, built
from wattvlm.assembly import assemble
from wattvlm.runtimes.transformers.runtime import TransformersRuntime
from wattvlm.trace import DECODE, PREFILL, Mark

HERE = Path(__file__).parent
CASES: list[Case] = [
    case
    for path in sorted(HERE.glob("*.py"))
    if not path.stem.startswith(("test_", "cases"))
    for case in importlib.import_module(f"tests.runtimes.research.{path.stem}").CASES
]


def same(one, two):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, two)
    if isinstance(one, (tuple, list)):
        return len(one) == len(two) and all(same(*pair) for pair in zip(one, two))
    return one == two


def hooks_of(model):
    return [(len(each._forward_hooks), len(each._forward_pre_hooks), sorted(vars(each))) for each in model.modules()]


def parameters_of(model):
    """Of everything that runs, also towers that are kept in a list beside torch's register."""
    lists = [value for each in model.modules() for value in vars(each).values() if type(value) is list]
    aside = [each for value in lists for each in value if isinstance(each, nn.Module)]
    return sum(parameter.numel() for each in (model, *aside) for parameter in each.parameters())


class Seen:
    """One run of a case under the runtime, and one without it."""

    def __init__(self, case):
        self.marks: list[Mark] = []
        model = built(case.build)
        with torch.no_grad():
            self.expected = case.call(model)
            self.hooks_before = hooks_of(model)
            runtime = TransformersRuntime()
            runtime.install(lambda *given: self.marks.extend(given))
            try:
                self.result = case.call(model)
                runtime.settle()
            finally:
                runtime.uninstall()
        self.hooks_after = hooks_of(model)
        self.parameters = parameters_of(model)
        gone = weakref.ref(model)
        del model
        gc.collect()
        self.is_freed = gone() is None
        self.trace = assemble(self.marks)


@pytest.fixture(scope="module")
def seen():
    runs: dict[str, Seen] = {}

    def run(case):
        if case.name not in runs:
            runs[case.name] = Seen(case)
        return runs[case.name]

    return run


by_name = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@by_name
def test_a_watched_call_returns_what_an_unwatched_one_does(case, seen):
    assert same(seen(case).result, seen(case).expected)


@by_name
def test_it_is_one_call_with_its_phases_in_order(case, seen):
    assert [mark.text for mark in seen(case).marks if mark.kind == "note"] == []
    (call,) = seen(case).trace.calls
    assert tuple(phase.name for phase in call.phases) == case.truth.phases
    spans = [span for phase in call.phases for span in phase.spans]
    edges = [edge for span in spans for edge in (span.start_ns, span.end_ns)]
    assert edges == sorted(edges)
    assert call.start_ns <= edges[0]
    assert edges[-1] <= call.end_ns
    assert call.ended == "returned"
    if DECODE in case.truth.phases:
        assert call.first_token_ns == call.phase(DECODE).spans[0].start_ns
    lengths = {phase.name: len(phase.spans) for phase in call.phases if phase.name != case.truth.phases[0]}
    expected = {name: case.truth.prefills if name == PREFILL else 1 for name in case.truth.phases[1:]}
    assert lengths == expected


@by_name
def test_its_tokens_are_those_of_its_own_arithmetic(case, seen):
    (call,) = seen(case).trace.calls
    tokens, truth = call.tokens, case.truth
    found = (tokens.text_input, tokens.visual_input, tokens.visual_encoded, tokens.visual_kept, tokens.output)
    assert found == (truth.text, truth.visual, truth.encoded, truth.kept, truth.output), dict(tokens.how)
    assert truth.how in tokens.how.get("visual_input", "")
    assert call.decode_steps == truth.steps
    assert (call.images, call.batch_size) == (truth.images, truth.prompts)


@by_name
def test_its_facts_are_those_of_the_whole_model(case, seen):
    (call,) = seen(case).trace.calls
    assert call.model.fusion == case.truth.fusion
    assert call.model.parameters == seen(case).parameters


@by_name
def test_nothing_is_left_behind(case, seen):
    assert seen(case).hooks_after == seen(case).hooks_before
    assert seen(case).is_freed


def test_no_model_of_the_cases_is_a_plain_transformers_class():
    for case in CASES:
        model = built(case.build)
        assert isinstance(model, nn.Module)
        assert not type(model).__module__.startswith("transformers.")
