"""Operations of a prefill, and which of them are the visual tokens': from the shapes of a language model's blocks.

Counted: products with weights, two operations for each weight and position, and attention's two products with every
position that is attended to. Not counted, for they are the same for each position and small: norms, activations,
softmax, the state of a linear attention; nor the output head, which works on one position of a prompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Run = tuple[int, int]
"""Positions from the first to before the second."""


@dataclass(frozen=True, slots=True)
class Attending:
    """The layers of one kind. flops_per_pair: of one position with one that it attends to, in all these layers.

    window: how many positions one attends to at most, itself included; None is all before it. chunked: the window does
    not move along but begins anew after so many positions.
    """

    flops_per_pair: int
    window: int | None = None
    chunked: bool = False

    def pairs_before(self, position: int) -> int:
        """Pairs of all positions before this one, each with itself and what it attends to before it."""
        window = self.window or position
        if self.chunked and window:
            chunks, rest = divmod(position, window)
            return chunks * _triangle(window) + _triangle(rest)
        return _triangle(min(position, window)) + max(0, position - window) * window


@dataclass(frozen=True, slots=True)
class BlockShape:
    """A language model's blocks. linear_flops: of a text token with all weights that it meets, of experts those used.

    visual_linear_flops: of a visual token, where that meets other weights than text does; None is the same.
    """

    linear_flops: int
    attending: tuple[Attending, ...] = ()
    visual_linear_flops: int | None = None

    def linear_flops_of(self, is_visual: bool) -> int:
        """Operations of one position with weights."""
        return self.visual_linear_flops if is_visual and self.visual_linear_flops is not None else self.linear_flops


def attention_flops(shape: BlockShape, run: Run, length: int, both_ways: bool = False) -> int:
    """Operations of a run of positions in a prompt with those that they attend to. both_ways: each attends to all.

    So a text token that attends to an image counts for the text, and an image costs more the later it stands.
    """
    start, end = run
    flops = 0
    for kind in shape.attending:
        pairs = (end - start) * length if both_ways else kind.pairs_before(end) - kind.pairs_before(start)
        flops += kind.flops_per_pair * pairs
    return flops


def runs_of(wanted: Iterable[bool]) -> list[Run]:
    """The unbroken runs of positions that are wanted."""
    runs: list[Run] = []
    for position, is_wanted in enumerate(wanted):
        if is_wanted and runs and runs[-1][1] == position:
            runs[-1] = runs[-1][0], position + 1
        elif is_wanted:
            runs.append((position, position + 1))
    return runs


def work_of(
    shape: BlockShape, prompts: Sequence[tuple[int, Sequence[Run]]], both_ways: bool = False
) -> tuple[int, int]:
    """(all operations, those of the visual tokens) of prompts, each given as its length and its visual runs."""
    whole = visual = 0
    for length, runs in prompts:
        positions = sum(end - start for start, end in runs)
        own = positions * shape.linear_flops_of(is_visual=True)
        own += sum(attention_flops(shape, run, length, both_ways) for run in runs)
        whole += sum(attention_flops(shape, (start, end), length, both_ways) for start, end in _others(runs, length))
        whole += own + (length - positions) * shape.linear_flops_of(is_visual=False)
        visual += own
    return whole, visual


def _others(runs: Sequence[Run], length: int) -> list[Run]:
    """The runs of positions between those given."""
    edges = [0, *(edge for run in runs for edge in run), length]
    return list(zip(edges[::2], edges[1::2]))


def _triangle(count: int) -> int:
    return count * (count + 1) // 2
