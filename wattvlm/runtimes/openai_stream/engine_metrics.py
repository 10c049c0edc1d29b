"""What vLLM's own /metrics say of the requests between two looks: waiting, prefill, decode, and cached prompt tokens.

The page sums over all requests, whoever sent them, and a request enters these sums when it has finished. It is looked
at when a request to the server is first seen, by a thread of its own, and when the meter closes; only on this machine,
and only while a vLLM runs on it.
"""

from __future__ import annotations

import re
import threading
import time
import urllib.request
from dataclasses import dataclass, fields
from pathlib import Path

from wattvlm.runtimes.openai_stream.servers import any_runs, is_this_machine
from wattvlm.units import NS_PER_MS, S_PER_NS

Address = tuple[str, int]

_LONGEST_ANSWER_S = 2.0
_LARGEST_PAGE_BYTES = 16 * 2**20
_LATE_NS = 200 * NS_PER_MS
_AGAIN_NS = 20 * NS_PER_MS

_SUMS = {
    "finished": "vllm:e2e_request_latency_seconds_count",
    "queue_s": "vllm:request_queue_time_seconds_sum",
    "prefill_s": "vllm:request_prefill_time_seconds_sum",
    "decode_s": "vllm:request_decode_time_seconds_sum",
    "prompt_tokens": "vllm:request_prompt_tokens_sum",
    "computed_tokens": "vllm:request_prefill_kv_computed_tokens_sum",
}
_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{.*\})? (\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Look:
    """Sums over the requests that have finished so far; None where the page does not have them."""

    finished: float | None = None
    queue_s: float | None = None
    prefill_s: float | None = None
    decode_s: float | None = None
    prompt_tokens: float | None = None
    computed_tokens: float | None = None

    def since(self, before: Look) -> Look:
        """What came between; a sum that the page did not have yet was 0."""
        return Look(*(_less(getattr(self, each.name), getattr(before, each.name)) for each in fields(Look)))


def read_page(text: str) -> Look | None:
    """The sums in a page of Prometheus text, over all engines and models of the server; None where it has none."""
    found: dict[str, float] = {}
    for name, value in _SAMPLE.findall(text):
        if name in _SUMS.values():
            found[name] = found.get(name, 0.0) + float(value)
    if not found:
        return None
    return Look(**{field: found.get(name) for field, name in _SUMS.items()})


def line_of(between: Look, own: int) -> str | None:
    """What a reader of the report must know. own: this program's requests that were answered."""
    if not between.finished or between.finished < 0:  # nothing has finished, or the server began anew
        return None
    finished = round(between.finished)
    told = [
        f"{what} {value:.3f} s"
        for what, value in (
            ("queue", between.queue_s), ("prefill without the queue", between.prefill_s), ("decode", between.decode_s),
        )
        if value is not None
    ]  # fmt: skip
    if between.prompt_tokens is not None and between.computed_tokens is not None:
        cached = max(0, round(between.prompt_tokens - between.computed_tokens))
        told.append(f"{cached} of {round(between.prompt_tokens)} prompt tokens from its prefix cache")
    whose = "all of them this program's" if finished == own else f"{own} of them this program's: the sums are of all"
    requests = "1 request" if finished == 1 else f"{finished} requests"
    return f"by vLLM's own /metrics, sums over {requests} ({whose}): {', '.join(told)}" if told else None


class EngineMetrics:
    """The looks at vLLM servers. proc: where the kernel shows this machine's processes."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._before: dict[Address, Look] = {}
        self._looking: dict[Address, threading.Thread] = {}

    def first_seen(self, address: Address) -> None:
        """A request to this server begins: the first time, its page is looked at meanwhile."""
        if address not in self._looking:
            thread = threading.Thread(target=self._look_before, args=(address,), name="wattvlm-metrics", daemon=True)
            self._looking[address] = thread
            thread.start()

    def between(self, address: Address, own: int) -> str | None:
        """A line on what the server did since, where it is a vLLM that tells; waits for its last request's numbers."""
        thread = self._looking.pop(address, None)
        if thread is not None:
            thread.join(_LONGEST_ANSWER_S)
        before = self._before.pop(address, None)
        if before is None:
            return None
        until_ns = time.monotonic_ns() + _LATE_NS
        while True:
            after = _page(address)
            found = None if after is None else after.since(before)
            if found is None or (found.finished or 0) >= own or time.monotonic_ns() > until_ns:
                return None if found is None else line_of(found, own)
            time.sleep(_AGAIN_NS * S_PER_NS)

    def _look_before(self, address: Address) -> None:
        try:
            if any_runs("vllm", self._proc) and is_this_machine(address[0]):
                look = _page(address)
                if look is not None:
                    self._before[address] = look
        except Exception:  # a page that cannot be read tells nothing, and nothing else is lost
            return


def _page(address: Address) -> Look | None:
    try:
        with urllib.request.urlopen(f"http://{address[0]}:{address[1]}/metrics", timeout=_LONGEST_ANSWER_S) as answer:
            return read_page(answer.read(_LARGEST_PAGE_BYTES).decode(errors="replace"))
    except (OSError, ValueError):
        return None


def _less(after: float | None, before: float | None) -> float | None:
    return None if after is None else after - (before or 0.0)
