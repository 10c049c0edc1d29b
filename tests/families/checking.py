"""One family under the meter: what was asked, what was counted, and where the two differ."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from tests.families.asking import NEW_TOKENS, CannotBeAsked, Question, ask, question_for
from tests.families.building import CannotBeBuilt, build, one_line
from tests.families.needs import NEEDS
from tests.families.registry import Family
from wattvlm.assembly import assemble
from wattvlm.runtimes.transformers.runtime import TransformersRuntime
from wattvlm.trace import DECODE, PREFILL, VISION_ENCODE, CallTrace, Mark


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one family. untried: why it was not run. question, call: asked and seen. faults: differences."""

    family: Family
    untried: str = ""
    question: Question | None = None
    call: CallTrace | None = None
    faults: tuple[str, ...] = ()


def check(family: Family) -> Outcome:
    """Build, ask with and without the meter, and compare; faults of the meter do not raise."""
    try:
        model = build(family)
        question = question_for(family, model)
    except (CannotBeBuilt, CannotBeAsked) as error:
        return Outcome(family, untried=str(error))
    plain = ask(model, question)
    hooks = _hooks(model)
    marks: list[Mark] = []
    runtime = TransformersRuntime()
    runtime.install(lambda *given: marks.extend(given))
    try:
        seen = ask(model, question)
        runtime.settle()
    except Exception as error:
        return Outcome(family, question=question, faults=(f"the metered call failed: {one_line(error)}",))
    finally:
        runtime.uninstall()
    calls = assemble(marks).calls
    faults = [mark.text for mark in marks if mark.kind == "note"]
    faults += [] if same(plain, seen) else ["the output differs"]
    faults += [] if _hooks(model) == hooks else [f"hooks left behind: {_hooks(model) - hooks}"]
    if len(calls) != 1:
        return Outcome(family, question=question, faults=(*faults, f"{len(calls)} calls instead of one"))
    faults += differences(family, question, calls[0])
    held = weakref.ref(model)
    del model, plain, seen
    gc.collect()
    faults += [] if held() is None else ["the model is held after the meter has closed"]
    return Outcome(family, question=question, call=calls[0], faults=tuple(faults))


def differences(family: Family, question: Question, call: CallTrace) -> Iterator[str]:
    """Where a seen call is not what was asked."""
    names = [phase.name for phase in call.phases]
    wanted = [VISION_ENCODE, PREFILL, DECODE] if family.answers else [VISION_ENCODE, PREFILL]
    need = NEEDS.get(family.model_type)
    if need is not None and need.phases is not None:
        wanted = list(need.phases)
    if names != wanted:
        yield f"phases {names} instead of {wanted}"
    edges = [edge for phase in call.phases for span in phase.spans for edge in (span.start_ns, span.end_ns)]
    if family.answers and edges != sorted(edges):  # a pair of encoders may read first
        yield "phases out of order"
    tokens = call.tokens
    if family.answers:
        expected = {"text_input": question.text, "visual_input": question.visual, "output": NEW_TOKENS}
        for name, value in expected.items():
            if getattr(tokens, name) != value:
                yield f"{name} {getattr(tokens, name)} instead of {value} ({tokens.how.get(name, 'not counted')})"
        if call.decode_steps != NEW_TOKENS - 1:
            yield f"{call.decode_steps} decode steps instead of {NEW_TOKENS - 1}"
        if question.visual is not None and not tokens.how.get("visual_input"):
            yield "visual_input does not say how it was counted"
    elif VISION_ENCODE in wanted and tokens.visual_encoded is None:
        yield "visual_encoded not counted"
    if call.images not in (1, None):
        yield f"{call.images} images instead of one"


def same(one: Any, other: Any) -> bool:
    """Whether two results hold the same tensors."""
    if hasattr(one, "numel"):
        return one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other))
    return True


def _hooks(model: Any) -> int:
    return sum(
        len(getattr(module, table))
        for module in model.modules()
        for table in ("_forward_hooks", "_forward_pre_hooks", "_forward_hooks_with_kwargs")
    )
