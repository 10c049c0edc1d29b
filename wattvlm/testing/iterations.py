"""What an iteration of a simulated server takes, and what each request in it adds to that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattvlm.units import NS_PER_S

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class IterationCost:
    """What an iteration takes: by default about a 7 B model on a data-centre GPU.

    Time: an overhead, the larger of memory time (weights, and each cached token that decode reads) and compute time
    (each token), and the vision encoder's. Joules: idle power all the time, and so much for each thing done.
    """

    idle_w: float = 70.0
    overhead_ns: float = 1.5e6
    weights_ns: float = 5.0e6
    context_ns: float = 50.0
    token_ns: float = 25e3
    visual_ns: float = 40e3
    weights_j: float = 1.1
    context_j: float = 10e-6
    token_j: float = 10e-3
    visual_j: float = 14e-3

    def time_ns(self, tokens: Floats, context: Floats, visual: Floats) -> Floats:
        """Time of iterations with so many tokens computed, tokens of context read, and visual tokens encoded."""
        memory_ns = (tokens > 0) * self.weights_ns + context * self.context_ns
        runs = (tokens > 0) | (visual > 0)
        beyond_ns = self.beyond_memory_ns(tokens, context)
        return np.asarray(runs * self.overhead_ns + memory_ns + beyond_ns + visual * self.visual_ns, np.float64)

    def beyond_memory_ns(self, tokens: Floats, context: Floats) -> Floats:
        """By how much computing takes longer than reading memory."""
        memory_ns = (tokens > 0) * self.weights_ns + context * self.context_ns
        return np.asarray(np.maximum(tokens * self.token_ns - memory_ns, 0.0), np.float64)

    def joules(self, tokens: Floats, context: Floats, visual: Floats) -> Floats:
        """Joules of the same iterations, idle power included."""
        idle_j = self.time_ns(tokens, context, visual) / NS_PER_S * self.idle_w
        work_j = (tokens > 0) * self.weights_j + tokens * self.token_j + context * self.context_j
        return np.asarray(idle_j + work_j + visual * self.visual_j, np.float64)

    def shapley_j(
        self, tokens: Floats, context: Floats, visual: Floats, orders: Sequence[NDArray[np.int64]]
    ) -> tuple[Floats, Floats]:
        """(language model, vision encoder): Shapley values of the requests of one iteration.

        Exact for what is each request's own, and for what is needed once, which all share alike. Only time beyond
        memory's, to which requests add more the later they join, is a mean over orders of joining.
        """
        each_w = self.idle_w / NS_PER_S
        vision_j = visual * (self.visual_j + self.visual_ns * each_w)
        own_j = tokens * self.token_j + context * (self.context_j + self.context_ns * each_w)
        once_j = self.weights_j + (self.weights_ns + self.overhead_ns) * each_w
        beyond_ns = np.zeros(len(tokens))
        if float(np.sum(tokens)) * self.token_ns > self.weights_ns:
            for order in orders:
                upto = (np.concatenate([[0.0], np.cumsum(column[order])]) for column in (tokens, context))
                beyond_ns[order] += np.diff(self.beyond_memory_ns(*upto))
        return own_j + once_j / len(tokens) + beyond_ns * each_w / len(orders), vision_j
