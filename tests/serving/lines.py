"""What vLLM's front end would tell of a simulated server's session: the lines that the worker gets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wattvlm.testing.serving import Served


def lines_of(served: Served, look_every_ns: int = 1_000_000_000) -> Iterator[tuple[int, dict[str, Any]]]:
    """(when, line): requests that come, iterations that end, and once a second how far requests are."""
    calls = served.recording.trace.calls
    first_ns = {number: call.first_token_ns or 0 for number, call in enumerate(calls)}
    scheduled_ns = {number: call.phases[0].spans[0].start_ns for number, call in enumerate(calls)}
    output, last_ns = dict.fromkeys(first_ns, 0), dict.fromkeys(first_ns, 0)
    lost = dict.fromkeys(first_ns, 0)
    coming = list(enumerate(calls))
    told: dict[int, tuple[int, int]] = {}
    looked_ns = 0

    def at(number: int, now_ns: int) -> dict[str, Any]:
        request, is_over = served.requests[number], output[number] == served.requests[number].output_tokens
        return {
            "kind": "at", "id": str(number), "output": output[number], "preemptions": lost[number],
            "scheduled_ns": scheduled_ns[number] if scheduled_ns[number] < now_ns else 0,
            "first_ns": first_ns[number] if first_ns[number] <= now_ns else 0, "last_ns": last_ns[number],
            "cached": request.cached_tokens, "prompt": request.prompt_tokens, "over": is_over, "ended": "",
        }  # fmt: skip

    for step in served.steps:
        while coming and coming[0][1].start_ns < step.end_ns:
            number, call = coming.pop(0)
            request = served.requests[number]
            yield call.start_ns, {
                "kind": "came", "id": str(number), "name": f"{request.name}-{number}", "time_ns": call.start_ns,
                "prompt": request.prompt_tokens, "visual": request.visual_tokens, "images": request.images,
                "parent": "",
            }  # fmt: skip
        for number in step.given:
            output[number], last_ns[number] = output[number] + 1, step.end_ns
        for number in step.lost:
            lost[number] += 1
        yield step.end_ns, {
            "kind": "step", "time_ns": step.end_ns, "again": step.computed_again, "tokens": len(step.given),
            "preempted": len(step.lost),
        }  # fmt: skip
        if step.lost or step.end_ns - looked_ns >= look_every_ns or step is served.steps[-1]:
            looked_ns = step.end_ns
            for number in range(len(calls) - len(coming)):
                if told.get(number) != (output[number], lost[number]):
                    told[number] = (output[number], lost[number])
                    yield step.end_ns, at(number, step.end_ns)
