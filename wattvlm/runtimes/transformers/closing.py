"""The marks that a call's arguments and results give once it is over: counts and facts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wattvlm.runtimes.transformers import inputs
from wattvlm.runtimes.transformers.calls import STEPS, ObservedCall, monotonic_ns
from wattvlm.runtimes.transformers.counting import (
    Count,
    Prompt,
    are_images,
    hidden_count,
    image_runs,
    inferred_placeholder,
    kept_count,
    output_count,
    prompt_counts,
)
from wattvlm.runtimes.transformers.loose import is_tensor
from wattvlm.runtimes.transformers.reasoning import new_ids, reasoning_count
from wattvlm.runtimes.transformers.work import work_counts


def write_prompt_counts(call: ObservedCall) -> None:
    """The model's facts and what went in; known from the first logits on, so a long call writes them in its middle."""
    call.prompt_counted = True
    now_ns = monotonic_ns()
    facts_json = call.known.facts_json.read()
    if facts_json is not None:
        call.mark("facts", now_ns, text=facts_json)
    if call.prompts is not None:
        call.count(now_ns, "batch_size", call.prompts, "prompts")
    ids = _prompt_ids(call)
    prompt = _prompt(call, ids)
    call.prompt, call.visual_input = prompt, None
    for each in (*_token_counts(call, prompt), *_images(call, prompt)):
        call.count(now_ns, each.name, each.value, each.how)
        if each.name == "visual_input":
            call.visual_input = each.value


def write_counts(call: ObservedCall) -> None:
    """Every count of an ended call that is known."""
    if not call.prompt_counted:
        write_prompt_counts(call)
    now_ns = monotonic_ns()
    if call.prefill_ns is not None:
        call.count(now_ns, "decode_steps", call.decode_steps, STEPS)
    if call.prompt is not None and call.visual_input is not None:
        for each in work_counts(call, call.prompt, call.visual_input):
            call.count(now_ns, each.name, each.value, each.how)
    counts = [_output(call), _reasoning(call)] if call.is_complete else [_output_so_far(call)]
    for known in filter(None, counts):
        call.count(now_ns, known.name, known.value, known.how)
    if call.stream is not None and call.stream.peak_memory_bytes is not None:
        peak_bytes = call.stream.peak_memory_bytes()
        call.count(now_ns, "peak_memory_bytes", peak_bytes, "torch's peak of allocated memory, of the process so far")


def _prompt_ids(call: ObservedCall) -> inputs.Rows | None:
    if call.ids is None:
        return _embedded_rows(call)
    pad_id: int | None = None
    if call.ticks_expected:  # only generate infers a mask from padding ids; forward computes every position
        pad = inputs.generation_setting(call.given, call.model, "pad_token_id")
        ends = inputs.id_set(inputs.generation_setting(call.given, call.model, "eos_token_id"))
        pad_id = pad if isinstance(pad, int) and pad not in ends else None
    return inputs.rows_without_padding(call.ids, call.given.get("attention_mask"), pad_id)


def _embedded_rows(call: ObservedCall) -> inputs.Rows | None:
    """The ids of a call by embeddings, if those that were embedded fill the sequence: some stand for features."""
    length, prompts = sum(call.first_lengths), call.prompts or 1
    if not length or _embedded(call) != length * prompts:
        return None
    if len(call.embedded) == 1 and len(call.embedded[0].shape) == 2:
        mask = call.given.get("attention_mask")
        return inputs.rows_without_padding(call.embedded[0], mask, None)
    if prompts > 1:
        return None
    return [[token for ids in call.embedded for row in inputs.host_rows(ids.reshape(1, -1)) for token in row]]


def _embedded(call: ObservedCall) -> int:
    return sum(int(ids.numel()) for ids in call.embedded)


def _prompt(call: ObservedCall, ids: inputs.Rows | None) -> Prompt:
    layout = call.known.layout
    length = call.ids_length
    if call.ids is None and ids is not None:
        length = sum(call.first_lengths)
    elif length is None:
        length = 0 if call.ids is None else int(call.ids.shape[1])
    return Prompt(
        ids=ids,
        padded_length=length,
        batch_size=call.prompts or 1,
        placeholders=call.known.placeholders,
        audio_ids=call.known.audio_ids,
        vision_ran=_vision_ran(call),
        features=call.feature_rows if call.vision_marked or call.given_rows is not None else None,
        model_length=sum(call.first_lengths) or None,
        cross_attention=layout.cross_attention,
        into_language_model=layout.language_model is not None and call.joins_language,
        embedded=_embedded(call) or None,
    )


def _token_counts(call: ObservedCall, prompt: Prompt) -> Iterator[Count]:
    if call.vision_marked and call.rows_encoded is not None:
        yield Count("visual_encoded", call.rows_encoded, "rows out of the vision encoder")
    if call.waits:
        return
    if call.cached_length and call.prompts and _were_given(call, prompt):
        yield Count("cached_input", call.cached_length * call.prompts, "length of the cache that was given")
    visual: int | None = None
    for each in prompt_counts(prompt):
        visual = each.value if each.name == "visual_input" else visual
        yield each
    kept: Count | None = None
    if not prompt.cross_attention and call.last_lengths and len(call.first_lengths) == len(call.last_lengths):
        kept = kept_count(visual, sum(call.first_lengths), sum(call.last_lengths), call.prompts or 1)
    kept = kept or hidden_count(visual, *(inputs.host_rows(mask) for mask in call.masks))
    if kept is not None:
        yield kept


def _were_given(call: ObservedCall, prompt: Prompt) -> bool:
    """Whether the ids that were given hold those of the cache too; else these are none of this call's prompt."""
    if call.ids is None:
        return False
    if prompt.model_length is None:  # generate takes the whole sequence, forward what comes next
        return call.ticks_expected
    return prompt.model_length <= int(call.ids.shape[1]) - call.cached_length


def _vision_ran(call: ObservedCall) -> bool | None:
    if call.vision_marked or call.given_rows is not None:
        return True
    if not call.known.layout.parts:
        return False
    given_pixels = inputs.pixel_rows(call.given)[1] is not None
    given_pixels = given_pixels or any("pixel" in name and value is not None for name, value in call.given.items())
    return None if given_pixels else False


def _may_be_tiles(pixels: Any) -> bool:
    """Several pictures a prompt in one tensor (prompts, pictures, channels, height, width)."""
    return is_tensor(pixels) and len(pixels.shape) == 5 and int(pixels.shape[1]) > 1


def _images(call: ObservedCall, prompt: Prompt) -> list[Count]:
    by_shape = inputs.images_given(call.given)
    if by_shape is not None:
        return [Count("images", *by_shape)]
    name, pixels = inputs.pixel_rows(call.given)
    if pixels is None:
        if _vision_ran(call) is False:
            return [Count("images", 0, "no vision side ran")]
        shown = max(call.shown.values(), default=None)
        return [Count("images", 1, "one entered the vision encoder")] if shown == 1 else []
    if pixels == 1:
        return [Count("images", 1, f"rows of {name}")]
    inferred = None if prompt.placeholders else inferred_placeholder(prompt)
    marking = prompt.placeholders if inferred is None else (inferred,)
    lengths = image_runs(prompt.ids or (), marking)
    runs = len(lengths)
    if runs == pixels and _may_be_tiles(call.given.get(name)):
        return []  # each tile has a run of its own, as each image has: which of the two it is, nothing here tells
    if call.given_images is not None and call.given_images != pixels:
        return [Count("images", call.given_images, "feature groups")]
    if runs in (0, pixels):
        return [Count("images", pixels, f"rows of {name}")]
    if are_images(lengths, pixels):
        return [Count("images", runs, f"runs of placeholder ids ({pixels} rows of {name}: tiles)")]
    return []


def _output(call: ObservedCall) -> Count | None:
    """New tokens in what generate returned."""
    ends = inputs.id_set(inputs.generation_setting(call.given, call.model, "eos_token_id"))
    pad = inputs.generation_setting(call.given, call.model, "pad_token_id")
    counts: list[Count] = []
    for result, prompt_length, start_id in call.outcomes:
        sequences = getattr(result, "sequences", result)
        if not is_tensor(sequences) or len(sequences.shape) != 2:
            return None
        rows = inputs.host_rows(sequences)
        prompt_length = prompt_length or _start_ids(call, rows, start_id)
        is_padded = len(rows) > 1 and isinstance(pad, int)  # one sequence alone is as long as it is
        counts.append(output_count(rows, prompt_length, ends, pad if is_padded else None))
    if not counts:
        return None
    return Count("output", sum(each.value for each in counts), counts[0].how)


def _start_ids(call: ObservedCall, rows: inputs.Rows, start_id: int | None) -> int:
    """Ids before the new ones in what a generate by embeddings returned: before transformers 4.38 one start id."""
    one_more = len(call.outcomes) == 1 and all(len(row) == call.ticks + 1 for row in rows)
    return int(one_more and start_id is not None and all(row[0] == start_id for row in rows))


def _reasoning(call: ObservedCall) -> Count | None:
    """Reasoning tokens in what generate returned, where the tokenizer is known and has tags for it."""
    if call.tags is None or len(call.outcomes) != 1:
        return None
    ((result, prompt_length, start_id),) = call.outcomes
    sequences = getattr(result, "sequences", result)
    if not is_tensor(sequences) or len(sequences.shape) != 2:
        return None
    ends = inputs.id_set(inputs.generation_setting(call.given, call.model, "eos_token_id"))
    rows = inputs.host_rows(sequences)
    prompt_length = prompt_length or _start_ids(call, rows, start_id)
    split = ((row[:prompt_length], new_ids(row[prompt_length:], ends)) for row in rows)
    return reasoning_count(split, call.tags, knows_prompt=prompt_length > 1)


def _output_so_far(call: ObservedCall) -> Count | None:
    """Tokens that were certainly made before the call was broken off: one a prompt and finished step."""
    if call.first_logits_ns is None or not call.prompts:
        return None
    return Count("output", call.decode_steps * call.prompts, "finished decoding steps before the call was broken off")
