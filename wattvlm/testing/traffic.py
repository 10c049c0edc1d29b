"""What a simulated server is asked: requests of several kinds, and when they arrive."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from wattvlm.units import NS_PER_S


@dataclass(frozen=True, slots=True)
class ServedRequest:
    """One request: a class name for tables, when it arrives, and its tokens.

    cached_tokens: of its prompt (text and visual), found in the prefix cache; they are not computed again.
    """

    name: str
    arrival_ns: int
    text_tokens: int
    output_tokens: int
    visual_tokens: int = 0
    cached_tokens: int = 0
    images: int = 0

    @property
    def prompt_tokens(self) -> int:
        return self.text_tokens + self.visual_tokens


@dataclass(frozen=True, slots=True)
class Traffic:
    """Arrivals of mixed requests: Poisson, or in bursts of several at once.

    rate_hz: requests a second. mix: (class, weight, text tokens, visual tokens, images, output tokens at most);
    lengths vary by a half to either side. cached_fraction: of requests, whose prompt is half in the prefix cache.
    """

    rate_hz: float
    requests: int
    burst: int = 1
    cached_fraction: float = 0.2
    mix: tuple[tuple[str, float, int, int, int, int], ...] = field(
        default=(("text", 0.4, 400, 0, 0, 200), ("image", 0.45, 60, 576, 1, 120), ("video", 0.15, 80, 2_304, 8, 160))
    )

    def drawn(self, seed: int) -> tuple[ServedRequest, ...]:
        """The requests of one session; the same seed gives the same."""
        chance = random.Random(seed)
        at_s = 0.0
        found: list[ServedRequest] = []
        while len(found) < self.requests:
            at_s += chance.expovariate(self.rate_hz / self.burst)
            found += [self._request(chance, at_s) for _ in range(min(self.burst, self.requests - len(found)))]
        return tuple(found)

    def _request(self, chance: random.Random, at_s: float) -> ServedRequest:
        name, _, text, visual, images, output = chance.choices(self.mix, [each[1] for each in self.mix])[0]
        text = round(text * chance.uniform(0.5, 1.5))
        cached = (text + visual) // 2 if chance.random() < self.cached_fraction else 0
        return ServedRequest(
            name, round(at_s * NS_PER_S), text, max(2, round(output * chance.uniform(0.5, 1.5))), visual, cached, images
        )
