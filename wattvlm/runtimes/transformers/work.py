"""Operations of a call's prefill: the shape of its blocks, and which positions its visual tokens hold."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from wattvlm.flops import Run, runs_of, work_of
from wattvlm.runtimes.transformers import inputs
from wattvlm.runtimes.transformers.calls import ObservedCall
from wattvlm.runtimes.transformers.counting import Count, Prompt, inferred_placeholder

Placed = list[tuple[int, list[Run]]]
"""For each prompt its length without padding and the runs of its visual tokens."""


def work_counts(call: ObservedCall, prompt: Prompt, visual_input: int) -> Iterator[Count]:
    """prefill_flops and visual_prefill_flops, where shapes and places are known and every position was computed."""
    is_whole = not call.cached_length and call.last_lengths in ([], call.first_lengths)
    placed = visual_places(prompt, visual_input) if is_whole else None
    shape = None if placed is None else call.known.shape.read()
    if shape is None or placed is None:
        return
    both_ways = _attends_both_ways(call, prompt)
    whole, visual = work_of(shape, placed, both_ways)
    attends = "each position attends to all" if both_ways else "each position attends to those before it"
    how = f"weights and attention of the language model's blocks; {attends}"
    yield Count("prefill_flops", whole, how)
    yield Count("visual_prefill_flops", visual, how)


def _attends_both_ways(call: ObservedCall, prompt: Prompt) -> bool:
    """Whether the first position may attend to the last one, as in models of a prefix; told by an unpadded mask."""
    length = prompt.model_length or 0
    if call.first_row is None or length < 2 or any(len(row) != prompt.padded_length for row in prompt.ids or ()):
        return False
    return all(len(row) >= length and bool(row[length - 1]) for row in inputs.host_rows(call.first_row))


def visual_places(prompt: Prompt, visual_input: int) -> Placed | None:
    """The places of so many visual tokens; None where they are not known, or the sequence is not what its ids say."""
    if prompt.ids is None or prompt.cross_attention or not prompt.into_language_model:
        return None
    if prompt.model_length is not None and prompt.model_length > prompt.padded_length:
        return _spliced(prompt, visual_input)
    if prompt.model_length != prompt.padded_length:
        return None
    inferred = None if prompt.placeholders else inferred_placeholder(prompt)
    placed = _marked(prompt.ids, prompt.placeholders if inferred is None else (inferred,))
    found = sum(end - start for _, runs in placed for start, end in runs)
    return placed if found == visual_input else None


def _marked(ids: Sequence[Sequence[int]], placeholders: Collection[int]) -> Placed:
    return [(len(row), runs_of(token in placeholders for token in row)) for row in ids]


def _spliced(prompt: Prompt, visual_input: int) -> Placed | None:
    """Features put in the place of one id that stands for all of them."""
    if prompt.ids is None or len(prompt.ids) != 1 or prompt.model_length is None:
        return None
    (row,) = prompt.ids
    sentinels = [place for place, token in enumerate(row) if token < 0 or token in prompt.placeholders]
    if len(sentinels) != 1 or prompt.model_length - len(row) + 1 != visual_input:
        return None
    (start,) = sentinels
    return [(prompt.model_length, [(start, start + visual_input)])]
