"""One call while it runs: what has been seen of it, and the marks that it makes."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from wattvlm.runtimes import next_call_id
from wattvlm.runtimes.transformers.counting import Prompt
from wattvlm.runtimes.transformers.device_time import StreamTimes
from wattvlm.runtimes.transformers.discovery import Part
from wattvlm.runtimes.transformers.inputs import token_ids
from wattvlm.runtimes.transformers.models import KnownModel, Piece
from wattvlm.runtimes.transformers.pieces import PieceRuns
from wattvlm.runtimes.transformers.reasoning import Tags
from wattvlm.trace import DECODE, PREFILL, VISION_ENCODE, Mark, MarkKind, MarkSink

RUNTIME_NAME: Final = "transformers"
PROGRESS_PERIOD_NS: Final = 250_000_000

monotonic_ns = time.monotonic_ns


class ObservedCall:
    """What one call has shown so far. Times are host ns; `stream` keeps the device's own beside them.

    prefilled: positions that earlier forward passes of the call computed, of a prompt that the user cuts into pieces.
    The order of events: vision parts run (before or inside the model's forward), the language model's first block
    sees the prompt, the first logits are ready, steps follow, the call ends. Each may be missing.
    """

    ids: Any = None
    prompts: int | None = None
    is_bare = False
    is_complete = True
    is_stepping = False
    ticks_expected = False
    prompt_counted = False
    waits = False
    is_announced = False
    started_ns = 0
    before: ObservedCall | None = None
    tags: Tags | None = None
    prompt: Prompt | None = None
    visual_input: int | None = None
    first_mask: Any = None
    first_row: Any = None
    masks: Sequence[Any] = ()
    device_phases_marked: frozenset[str] = frozenset()
    cached_length = 0
    aside = 0
    ticks = 0
    forwards = 0
    block_steps = 0
    forward_depth = 0
    inside_parts = 0
    expansion = 1
    ids_length: int | None = None
    encoded_rows: int | None = None
    last_part: str | None = None
    given_rows: int | None = None
    given_images: int | None = None
    vision_started_ns: int | None = None
    vision_ended_ns: int | None = None
    vision_marked = False
    vision_is_open = False
    text_came_first = False
    first_forward_ns: int | None = None
    first_forward_ended_ns: int | None = None
    language_started_ns: int | None = None
    prefill_ns: int | None = None
    prefill_pauses = False
    prefilled = 0
    first_logits_ns: int | None = None
    progress_ns = 0
    _held: list[Mark] | None = None

    def __init__(
        self,
        sink: MarkSink,
        model: Any,
        known: KnownModel,
        given: Mapping[str, Any],
        stream: StreamTimes | None = None,
    ) -> None:
        self.sink: Final = sink
        self.known = known
        self.model: Any = model
        self.given: Mapping[str, Any] = given
        self.stream: Final = stream
        self.call_id: Final = next_call_id()
        self.lane: Final = threading.get_ident()
        self.hooks: list[Any] = []
        self.outcomes: list[tuple[Any, int, int | None]] = []
        self.embedded: list[Any] = []
        self.shown: dict[str, int] = {}
        self.first_lengths: list[int] = []
        self.last_lengths: list[int] = []
        self.part_rows: dict[str, int] = {}
        self.piece_runs: dict[Part, PieceRuns] = {}

    def mark(self, kind: MarkKind, time_ns: int, name: str = "", value: float = 0.0, text: str = "") -> None:
        self.write(Mark(time_ns, kind, self.call_id, name, self.lane, value=value, text=text))

    def count(self, time_ns: int, name: str, value: float, how: str) -> None:
        self.write(Mark(time_ns, "count", self.call_id, name, self.lane, value=value, text=how))

    def write(self, mark: Mark) -> None:
        if self._held is None:
            self.sink(mark)
        else:
            self._held.append(mark)

    @contextmanager
    def in_one_piece(self) -> Generator[None, None, None]:
        """Marks made inside are written together at its end: a write costs some ten microseconds however long it is."""
        if self._held is not None:
            yield
            return
        held = self._held = []
        try:
            yield
        finally:
            self._held = None
            if held:
                self.sink(*held)

    def start(self) -> None:
        if self.stream is not None:
            self.stream.record("start")
        self.started_ns = self.progress_ns = monotonic_ns()
        if not self.waits:
            self.announce()

    def announce(self) -> None:
        """The call is one for certain: a method that waits for work of the model may do none."""
        if not self.is_announced:
            self.is_announced = True
            self.mark("call_start", self.started_ns, RUNTIME_NAME)

    def go_on(self, given: Mapping[str, Any], ids: Any, prompts: int | None) -> None:
        """What waited for it begins: the language model's part, with these arguments."""
        self.waits = False
        self.announce()
        self.close_vision()
        self.prompt_counted = False
        embeddings = given.get("inputs_embeds")
        if ids is None and embeddings is not None:
            earlier = token_ids(self.given)
            ids = earlier if earlier is not None and earlier.shape == embeddings.shape[:2] else None
        self.given = {**self.given, **given}
        self.ids, self.prompts = ids, prompts
        self.is_bare = False
        self.inside_parts = self.forward_depth = self.forwards = 0
        self.first_forward_ns = self.first_forward_ended_ns = self.ids_length = None

    def embeds(self, ids: Any) -> None:
        """Ids enter the token embedding, perhaps in pieces; until the language model has begun they are the prompt."""
        if self.language_started_ns is None and not self.aside:
            self.embedded.append(ids)

    @property
    def has_embedded(self) -> bool | None:
        """Whether ids went through the token embedding; None where that is not watched."""
        return bool(self.embedded) if self.known.token_embedding is not None and self.hooks else None

    def part_starts(self, encodes: bool) -> None:
        """A module of the vision side begins; those that run after the language model has begun are not prefill's."""
        self.inside_parts += 1
        self._vision_starts(encodes)

    def part_ends(self, path: str, rows: int | None, encodes: bool = False) -> None:
        """A module of the vision side has given so many rows."""
        self.inside_parts -= 1
        self.part_gave(path, rows, encodes)

    def part_gave(self, path: str, rows: int | None, encodes: bool = False) -> None:
        """As `part_ends`, for what is inside a part or has no start of its own."""
        if self._is_past_vision:
            return
        self._vision_ends(path)
        if rows is not None:
            self.part_rows[path] = self.part_rows.get(path, 0) + self._unexpanded(rows)
        if encodes and self.known.layout.inner_projector is None:
            self.encoder_gave(rows)

    def piece_starts(self, piece: Piece) -> None:
        """A module inside a part begins: news only if the part itself was not called."""
        if self.inside_parts or self._is_past_vision:
            return
        self._vision_starts(piece.part.encodes)
        self.piece_runs.setdefault(piece.part, PieceRuns()).starts(piece.path)

    def piece_ends(self, piece: Piece, rows: int | None) -> None:
        runs = self.piece_runs.get(piece.part)
        if self.inside_parts or self._is_past_vision or runs is None:
            return
        self._vision_ends(piece.part.path)
        runs.ends(None if rows is None else self._unexpanded(rows))

    @property
    def joins_language(self) -> bool:
        """Image features go into the language model, unlike those of two encoders side by side, such as CLIP's."""
        if self.ticks_expected or self.known.placeholders or self.known.layout.cross_attention:
            return True
        return self.known.generates

    @property
    def _is_past_vision(self) -> bool:
        """Whether what runs now is no part of encoding: the language model works on what was encoded."""
        if self.prefill_ns is None:
            return bool(self.aside)
        return bool(self.aside) or not self.known.layout.has_encoder or self.joins_language

    def _vision_starts(self, encodes: bool) -> None:
        if self._is_past_vision:
            return
        if self.vision_started_ns is None:
            self.vision_started_ns = monotonic_ns()
            if self.prefill_ns is not None:  # of two encoders side by side the text's has had its turn first
                self.mark("phase_end", self.vision_started_ns, PREFILL)
                self.text_came_first = True
            if self.stream is not None:
                self.stream.record("vision_start")
        is_first_or_more = encodes or self.vision_marked or not self.known.layout.has_encoder
        if not self.vision_is_open and is_first_or_more:
            self.announce()
            self.mark("phase_start", monotonic_ns() if self.vision_marked else self.vision_started_ns, VISION_ENCODE)
            self.vision_marked = self.vision_is_open = True

    def _vision_ends(self, path: str) -> None:
        self.vision_ended_ns = monotonic_ns()
        if self.stream is not None:
            self.stream.record("vision_end")
        self.last_part = path

    def encoder_gave(self, rows: int | None) -> None:
        if rows is not None and not self._is_past_vision:
            self.encoded_rows = (self.encoded_rows or 0) + self._unexpanded(rows)

    @property
    def feature_rows(self) -> int | None:
        """Rows that the vision side gives on: as handed to forward, else out of its last module."""
        if self.given_rows is not None:
            return self.given_rows
        inner = self.known.layout.inner_projector
        if inner is not None and inner in self.part_rows:
            rows = self.part_rows[inner]
            whole = self.part_rows.get(inner.rpartition(".")[0], 0)
            adds_some = whole > rows and whole != self.encoded_rows  # as CogVLM: one before and after each image
            return whole if adds_some else rows
        return None if self.last_part is None else self._rows_out_of(self.last_part)

    def _rows_out_of(self, path: str) -> int | None:
        pieces = next((runs.rows for part, runs in self.piece_runs.items() if part.path == path), None)
        return self.part_rows.get(path, 0) + (pieces or 0) or None

    @property
    def rows_encoded(self) -> int | None:
        """Rows out of every encoder, called as a whole or piece by piece."""
        pieces = sum(runs.rows or 0 for part, runs in self.piece_runs.items() if part.encodes)
        return (self.encoded_rows or 0) + pieces or None

    def _unexpanded(self, rows: int) -> int:
        """Rows a prompt was given with: beams repeat what is encoded inside forward."""
        return rows // self.expansion if self.forward_depth and rows % self.expansion == 0 else rows

    def forward_starts(self, given_rows: int | None, images: int | None, ids_shape: tuple[int, int] | None) -> None:
        """The model, or the part of it that holds the language model, is called from outside itself."""
        self.forward_depth += 1
        if self.first_forward_ns is None:
            self.first_forward_ns = monotonic_ns()
            if self.stream is not None and not self.prefilled:
                self.stream.record("forward_start")
        if self.first_logits_ns is not None:
            return
        self.prefill_goes_on()
        if ids_shape is not None:
            if self.prompts and ids_shape[0] % self.prompts == 0:
                self.expansion = max(1, ids_shape[0] // self.prompts)
            self.ids_length = (self.ids_length or self.prefilled) + ids_shape[1]
        if given_rows is not None:
            self.given_rows = (self.given_rows or 0) + given_rows // self.expansion
            self.given_images = None if images is None else (self.given_images or 0) + images // self.expansion

    def forward_ends(self) -> None:
        self.forward_depth -= 1
        self.forwards += 1
        now_ns = monotonic_ns()
        if self.first_forward_ended_ns is None:
            self.first_forward_ended_ns = now_ns
        if not self.ticks_expected and not self.is_bare:
            self.step_ends(now_ns)

    def language_starts(self, length: int) -> None:
        """The language model's first block is about to run on so many positions."""
        if self.aside:
            return
        if self.language_started_ns is None:
            self.waits = False
            self.announce()
            self.language_started_ns = monotonic_ns()
            self.mark_prefill()
        elif self.first_forward_ns is None and not self.ticks_expected:
            self.block_steps += 1  # nothing of transformers drives this model: each run of its blocks is a step
            self.step_ends(monotonic_ns())
        if self.first_logits_ns is None:
            self.first_lengths.append(length)

    def language_ends(self, length: int) -> None:
        """So many positions are left at its last block or come out of it."""
        if self.first_logits_ns is None and not self.aside:
            self.last_lengths.append(length)

    def ticked(self) -> bool:
        """generate has its next logits. Gives whether the call has just been found to be a long one."""
        if self.aside:
            return False
        self.ticks += 1
        return self.step_ends(monotonic_ns())

    def step_ends(self, now_ns: int) -> bool:
        if self.first_logits_ns is None:
            self.first_logits(now_ns)
        elif now_ns - self.progress_ns > PROGRESS_PERIOD_NS:
            self.progress_ns = now_ns
            self.count(now_ns, "decode_steps", self.decode_steps, _STEPS_SO_FAR)
            return not self.prompt_counted
        return False

    @property
    def decode_steps(self) -> int:
        """Forward passes after the prefill."""
        return max(self.block_steps, (self.ticks or self.forwards) - 1, 0)

    def decode_starts(self, first_logits_ns: int) -> None:
        """A loop written by hand goes on after its first forward pass, which was its prefill."""
        self.first_logits_ns = first_logits_ns
        self.mark("first_token", first_logits_ns)
        self.mark("phase_start", first_logits_ns, DECODE)

    def mark_prefill(self) -> None:
        """Prefill begins with the forward that gives the first logits, or where the vision work in it ends."""
        if self.prefill_ns is not None:
            return
        known_ns = [each for each in (self.first_forward_ns, self.vision_ended_ns) if each is not None]
        self.prefill_ns = max(known_ns) if known_ns else self.language_started_ns or monotonic_ns()
        with self.in_one_piece():
            self.close_vision()
            self.mark("phase_start", self.prefill_ns, PREFILL)

    def pause_prefill(self, now_ns: int) -> None:
        """A piece of the prompt is done, and another may follow."""
        self.mark("phase_end", now_ns, PREFILL)
        self.prefill_pauses = True

    def prefill_goes_on(self) -> None:
        """Another piece of the prompt begins, if one was done; its device's part that is told already stays told."""
        if not self.prefill_pauses:
            return
        self.prefill_pauses = False
        self.mark("phase_start", monotonic_ns(), PREFILL)
        if self.stream is not None and PREFILL in self.device_phases_marked:
            self.device_phases_marked -= {PREFILL}
            self.stream.record("forward_start")

    def close_vision(self) -> None:
        if self.vision_is_open and self.vision_ended_ns is not None:
            self.vision_is_open = False
            self.mark("phase_end", self.vision_ended_ns, VISION_ENCODE)

    def first_logits(self, now_ns: int) -> None:
        """Prefill ends and decode begins; the modules need not be watched any longer."""
        self.first_logits_ns = now_ns
        self.is_stepping = self.ticks_expected
        if self.stream is not None:
            self.stream.record("first_token")
        if not self.block_steps:
            self.unhook()
        with self.in_one_piece():
            self.mark_prefill()
            self.prefill_goes_on()
            self.mark("phase_end", now_ns, PREFILL)
            self.mark("first_token", now_ns)
            self.mark("phase_start", now_ns, DECODE)

    def end(self, text: str, now_ns: int) -> None:
        """The call is over: close what is open, and mark how it ended."""
        if self.stream is not None:
            self.stream.record("end")
        self.unhook()
        if self.first_logits_ns is None and self.first_forward_ended_ns is not None and not self.is_bare:
            self.first_logits(self.first_forward_ended_ns)
        if self.first_logits_ns is None and self.first_forward_ns is not None and not self.known.layout.encoder_only:
            self.mark_prefill()
        if self.first_logits_ns is not None:
            self.mark("phase_end", now_ns, DECODE)
        elif self.prefill_ns is not None and not self.text_came_first:
            self.mark("phase_end", now_ns, PREFILL)
        else:
            self.close_vision()
        self.mark("call_end", now_ns, RUNTIME_NAME, text=text)

    def unhook(self) -> None:
        while self.hooks:
            self.hooks.pop().remove()

    def release(self) -> None:
        """Let go of the user's model and tensors."""
        self.model = None
        self.given = {}
        self.ids = None
        self.outcomes = []
        self.embedded = []
        self.prompt = None
        self.first_mask, self.first_row, self.masks = None, None, ()


_STEPS_SO_FAR = "forward passes after the prefill, so far"
STEPS = "forward passes after the prefill"
