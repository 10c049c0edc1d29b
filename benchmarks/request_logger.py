"""What vLLM's plugin takes of the engine's front end: time of `record` an iteration, and CPU time of its threads.

python -m benchmarks request_logger

A front end of our own goes through iterations with statistics like vLLM's: each request's state is updated and one
request in a hundred iterations ends and another comes. Beside it runs the plugin's thread, whose lines go to a process
that reads and forgets them. CPU time is that thread's own, which it may take from the front end's.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from statistics import median
from types import SimpleNamespace
from typing import Any

from benchmarks.tables import show
from wattvlm.serving.following import Following
from wattvlm.serving.settings import Engine, Settings

ITERATIONS = 2_000
ROUNDS = 3
RUNNING = (1, 32, 256)
EVERY = 100
WORK = 20_000
"""Additions that a loop of the front end does besides in each iteration: half a millisecond; an engine takes longer."""

NS_PER_US = 1_000
US_PER_S = 1_000_000
SETTLES_S = 1.5
_FORGET = "import sys\nfor line in sys.stdin: pass"


def reader(plan: str) -> subprocess.Popen[str]:
    """A process that reads what is sent and forgets it."""
    return subprocess.Popen(
        [sys.executable, "-c", _FORGET], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )  # fmt: skip


def state() -> Any:
    """What vLLM keeps of a request."""
    stats = SimpleNamespace(
        num_generation_tokens=0, num_preemptions=0, scheduled_ts=time.monotonic(), first_token_ts=0.0, last_token_ts=0.0
    )
    return SimpleNamespace(stats=stats, num_cached_tokens=0)


def loop(running: int, following: Following) -> tuple[float, list[int]]:
    """(CPU seconds of this thread, ns of each record) of all iterations."""
    processor = SimpleNamespace(request_states={str(number): state() for number in range(running)})
    coming = running
    took: list[int] = []
    scheduler = SimpleNamespace(prefix_cache_stats=SimpleNamespace(preempted_queries=0, preempted_hits=0))
    for number in range(running):
        following.came(processor, request(str(number)))
    started_s = time.thread_time()
    for index in range(ITERATIONS):
        now_s = time.monotonic()
        for each in processor.request_states.values():
            each.stats.num_generation_tokens += 1
            each.stats.last_token_ts = now_s
        sum(range(WORK))
        if index % EVERY == 0:
            del processor.request_states[next(iter(processor.request_states))]
            processor.request_states[str(coming)] = state()
            following.came(processor, request(str(coming)))
            coming += 1
        iteration = SimpleNamespace(
            iteration_timestamp=time.time(), num_generation_tokens=running, num_preempted_reqs=0
        )  # fmt: skip
        before_ns = time.perf_counter_ns()
        following.iteration(scheduler, iteration)
        took.append(time.perf_counter_ns() - before_ns)
    return time.thread_time() - started_s, took


def request(name: str) -> Any:
    """What enters the front end."""
    return SimpleNamespace(request_id=name, mm_features=(), prompt_token_ids=[1] * 500)


def thread_s() -> float:
    """CPU seconds of the plugin's threads so far."""
    own = [each.ident for each in threading.enumerate() if each.name.startswith("wattvlm-") and each.ident]
    return sum(time.clock_gettime(time.pthread_getcpuclockid(ident)) for ident in own)


def run(options: Sequence[str] = ()) -> None:
    """A row for each number of running requests."""
    rows: list[tuple[str, ...]] = []
    for running in RUNNING:
        beside_us: list[float] = []
        loops_us: list[float] = []
        took: list[int] = []
        for _ in range(ROUNDS):
            following = Following(Settings("nowhere"), Engine("none", 2048, ahead=False), reader)
            loop_s, own = loop(running, following)
            time.sleep(SETTLES_S)
            beside_us.append(thread_s() / ITERATIONS * US_PER_S)
            loops_us.append(loop_s / ITERATIONS * US_PER_S)
            following.close()
            took += own
        took.sort()
        record_us = median(took) / NS_PER_US
        whole_us = record_us + median(beside_us)
        rows.append((
            str(running), f"{record_us:.2f}", f"{took[round(0.999 * len(took))] / NS_PER_US:.1f}",
            f"{median(beside_us):.1f}", f"{median(loops_us):,.0f}", f"{1 + whole_us / median(loops_us):.3f}",
        ))  # fmt: skip
    header = (
        "requests at once", "record, µs (median)", "record, µs (99.9 %)", "thread beside it, µs an iteration",
        "this loop, µs an iteration", "with over without",
    )  # fmt: skip
    show("vLLM's plugin beside the engine's front end", header, rows, f"{ITERATIONS} iterations, {ROUNDS} rounds.")


if __name__ == "__main__":
    run()
