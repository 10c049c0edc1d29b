"""Mark phases and tokens by hand, for a model that the library cannot see into."""

import time

import wattvlm


def work(seconds: float) -> None:
    """Keep one core busy, in place of a model of your own."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        sum(range(1000))


with wattvlm.meter(label="a model of my own") as m:
    for _ in range(3):
        with m.phase("vision_encode"):
            work(0.2)
        with m.phase("prefill"):
            work(0.1)
        with m.phase("decode"):
            work(0.4)
        m.tokens(visual_input=256, text_input=20, output=32, images=1)
    with m.phase("write the answers"):
        work(0.1)

print(m.report)
