"""How many tokens of each kind a call had, from what went in, what came out and the lengths seen on the way.

Everything here runs after the call, on plain lists of numbers; each count says how it was made, and a count that
cannot be made is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

_LONG_RUN = 4


@dataclass(frozen=True, slots=True)
class Count:
    """One count and how it was made; `name` as in a count mark."""

    name: str
    value: int
    how: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What went into the language model.

    ids: token ids a row without padding, or None for a call by embeddings alone. padded_length: positions a row,
    padding included. batch_size: prompts. placeholders: token ids that stand for visual features in this model.
    vision_ran: the vision side was seen running; None where it may have run unseen. features: rows that it gave to
    the language model. model_length: positions a row at the language model's first block. cross_attention: it attends
    to features beside its sequence. into_language_model: False for models that never put features into one.
    audio_ids: token ids that stand for sound.
    embedded: ids that went through the token embedding before the language model began, or None where that is unseen.
    """

    ids: Sequence[Sequence[int]] | None
    padded_length: int
    batch_size: int
    placeholders: Collection[int] = ()
    vision_ran: bool | None = False
    features: int | None = None
    model_length: int | None = None
    cross_attention: bool = False
    into_language_model: bool = True
    embedded: int | None = None
    audio_ids: Collection[int] = ()


def prompt_counts(prompt: Prompt) -> Iterator[Count]:
    """text_input and visual_input as far as they are known."""
    if prompt.ids is None:
        yield from _by_embeddings(prompt)
        return
    audio = sum(_occurrences(row, prompt.audio_ids) for row in prompt.ids)
    if prompt.audio_ids:
        yield Count("audio_input", audio, "placeholders of sound")
    text = sum(len(row) for row in prompt.ids) - audio
    if not prompt.into_language_model:
        yield Count("text_input", text, "token ids without padding")
        return
    marked = sum(_occurrences(row, prompt.placeholders) for row in prompt.ids)
    visual = _visual(prompt, marked)
    if visual is None:
        if prompt.vision_ran is False:
            yield Count("text_input", text, "token ids without padding")
        return
    value, how, replaced = visual
    yield Count("text_input", text - replaced, "token ids without padding and placeholders")
    yield Count("visual_input", value, how)


def _visual(prompt: Prompt, marked: int) -> tuple[int, str, int] | None:
    """(visual tokens, how counted, ids that only stand for them)."""
    grown = _grown(prompt, marked)
    rows = prompt.features
    if marked and rows == marked:
        return marked, "exact (placeholders = feature rows)", marked
    if grown is not None and prompt.vision_ran is not False:
        return grown
    if prompt.vision_ran is False:
        return (marked, "placeholders (features were given, no encoder ran)", marked) if marked else _NO_VISION
    if prompt.cross_attention and rows is not None:
        return rows, "feature rows, attended to beside the sequence and not part of its length", 0
    if marked:
        seen = "rows of the vision side were not seen" if rows is None else f"the vision side gave {rows} rows"
        return marked, f"placeholders ({seen})", marked
    if rows is None:
        return None
    inferred = _id_that_occurs(rows, prompt)
    if inferred is not None:
        return rows, f"exact (token id {inferred} occurs once a feature row)", rows
    return _filled(rows, prompt) or (rows, "feature rows", 0)


_NO_VISION = (0, "no vision side ran", 0)


def _grown(prompt: Prompt, marked: int) -> tuple[int, str, int] | None:
    """For models that put features between the embeddings: the sequence is longer than its ids."""
    if prompt.model_length is None or prompt.ids is None or prompt.model_length <= prompt.padded_length:
        return None
    sentinels = marked + sum(1 for row in prompt.ids for token in row if token < 0)
    if prompt.batch_size == 1:
        return prompt.model_length - prompt.padded_length + sentinels, "exact (sequence length - text ids)", sentinels
    if prompt.features is not None:
        return prompt.features, "feature rows (the sequence is longer than its ids)", sentinels
    grown = (prompt.model_length - prompt.padded_length) * prompt.batch_size + sentinels
    return grown, "sequence length - text ids, padding between rows included", sentinels


def _id_that_occurs(times: int, prompt: Prompt) -> int | None:
    """The one token id that occurs exactly so often, if there is just one and it is often enough to tell."""
    if times < 2 or prompt.ids is None:
        return None
    occurrences = Counter(token for row in prompt.ids for token in row)
    matching = [token for token, often in occurrences.items() if often == times]
    return matching[0] if len(matching) == 1 else None


def inferred_placeholder(prompt: Prompt) -> int | None:
    """The id that stands for features where no config names one, if what the vision side gave tells it."""
    if prompt.features is None:
        return None
    exact = _id_that_occurs(prompt.features, prompt)
    return exact if exact is not None else _id_in_runs(prompt.features, prompt)[0]


def _filled(rows: int, prompt: Prompt) -> tuple[int, str, int] | None:
    """For a sequence that its ids fill, and no id occurs as often as there are feature rows.

    Newlines and separators between features make more placeholders than rows, still in unbroken runs. Shorter runs tell
    that features stand in place of some ids, such as Qwen-VL's path of the image and its padding. Where nothing
    repeats, features can only have entered beside the sequence, as in adapters.
    """
    if prompt.ids is None or prompt.model_length != prompt.padded_length or prompt.cross_attention:
        return None
    found, often, longest = _id_in_runs(rows, prompt)
    if found is not None:
        return often, f"token id {found} in unbroken runs (the vision side gave {rows} rows)", often
    if longest >= _LONG_RUN:
        ids = sum(len(row) for row in prompt.ids)
        return (rows, "feature rows, each in the place of one id", rows) if rows < ids else None
    if longest < min(_LONG_RUN, rows):
        return 0, f"none in the sequence, which its ids fill ({rows} feature rows enter the blocks beside it)", 0
    return None


def _id_in_runs(rows: int, prompt: Prompt) -> tuple[int | None, int, int]:
    """(the one id that comes in long runs and often enough for so many rows, how often, length of the longest run)."""
    runs: Counter[int] = Counter()
    longest = 0
    for row in prompt.ids or ():
        for token, run in groupby(row):
            length = sum(1 for _ in run)
            longest = max(longest, length)
            if length >= _LONG_RUN:
                runs[token] += length
    (found, often), *others = runs.most_common(2) or [(0, 0)]
    return (found if often >= rows > 0 and not others else None), often, longest


def _by_embeddings(prompt: Prompt) -> Iterator[Count]:
    if not prompt.into_language_model or prompt.model_length is None:
        return
    total = prompt.model_length * prompt.batch_size
    if prompt.vision_ran is False:
        return  # features may be among the embeddings: how many is not known
    if prompt.embedded and prompt.embedded < total and prompt.vision_ran and not prompt.cross_attention:
        yield Count("text_input", prompt.embedded, "ids that were embedded")
        if prompt.batch_size == 1:
            yield Count("visual_input", total - prompt.embedded, "exact (sequence length - ids that were embedded)")
        elif prompt.features is not None:
            yield Count("visual_input", prompt.features, "feature rows (call by embeddings)")
        return
    if prompt.features is not None and prompt.features <= total and not prompt.cross_attention:
        yield Count("visual_input", prompt.features, "feature rows (call by embeddings)")
        yield Count("text_input", total - prompt.features, "sequence length - feature rows, padding included")
    elif prompt.features is not None:
        yield Count("visual_input", prompt.features, "feature rows, attended to beside the sequence")


def kept_count(visual_input: int | None, first_length: int | None, last_length: int | None, batch: int) -> Count | None:
    """visual_kept, where the last block saw fewer positions than the first: only visual tokens are pruned."""
    if visual_input is None or first_length is None or last_length is None or last_length >= first_length:
        return None
    kept = visual_input - (first_length - last_length) * batch
    if kept < 0:
        return None
    return Count("visual_kept", kept, "visual_input - positions lost between first and last block")


def hidden_count(
    visual_input: int | None,
    first_seen: Sequence[Sequence[int]] = (),
    last_seen: Sequence[Sequence[int]] = (),
) -> Count | None:
    """visual_kept, where a mask hides positions from the last block that it did not hide from the first: none is gone.

    first_seen, last_seen: for each prompt, which positions its last one attends to in the first and the last block.
    """
    hidden = _holes(last_seen) - _holes(first_seen)
    if visual_input is None or not 0 < hidden <= visual_input:
        return None
    how = f"none is dropped: a mask hides {hidden} of them from the last block, which computes them all the same"
    return Count("visual_kept", visual_input, how)


def _holes(seen: Sequence[Sequence[int]]) -> int:
    """Hidden positions after the first that is seen; padding and sliding windows hide those before it."""
    return sum(row[row.index(1) :].count(0) for row in seen if 1 in row)


def output_count(
    sequences: Sequence[Sequence[int]], prompt_length: int, end_ids: Collection[int], pad_id: int | None
) -> Count:
    """output: new tokens of the returned sequences, each up to and with its first end token."""
    total = sum(_new_tokens(row[prompt_length:], end_ids, pad_id) for row in sequences)
    rows = "" if len(sequences) == 1 else f" over {len(sequences)} returned sequences"
    return Count("output", total, f"returned ids{rows}, end token counted, padding not")


def _new_tokens(row: Sequence[int], end_ids: Collection[int], pad_id: int | None) -> int:
    for index, token in enumerate(row):
        if token in end_ids:
            return index + 1
    length = len(row)
    while length and row[length - 1] == pad_id:
        length -= 1
    return length


def image_runs(ids: Sequence[Sequence[int]], placeholders: Collection[int]) -> list[int]:
    """Lengths of the unbroken runs of placeholder ids; an id below 0 is a sentinel that stands for one image."""
    return [
        sum(1 for _ in run)
        for row in ids
        for is_marked, run in groupby(row, lambda token: token < 0 or token in placeholders)
        if is_marked
    ]


def are_images(runs: Sequence[int], tiles: int) -> bool:
    """Whether each run can be one image of so many tiles in all: the tiles are of one length, and none is cut."""
    if tiles % len(runs) == 0:
        return True
    total = sum(runs)
    return total % tiles == 0 and all(run % (total // tiles) == 0 for run in runs)


def _occurrences(row: Sequence[int], ids: Collection[int]) -> int:
    return sum(row.count(each) for each in ids)
