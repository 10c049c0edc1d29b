"""The engine's side: what each request did, as lines of JSON to the worker.

On the engine's own path there is nothing but an entry in a queue. A thread looks at it four times a second, and once a
second at the requests that are under way. What they did is told by vLLM's own RequestStateStats, which the front end
keeps for each request; which images a request has is seen where it enters the front end.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from wattvlm.runtimes.vllm.places import places_of
from wattvlm.serving.settings import Engine, Settings, settings_of
from wattvlm.units import NS_PER_MS, NS_PER_S

if TYPE_CHECKING:
    from subprocess import Popen

_LOOK_EVERY_S = 0.25
_REQUESTS_EVERY_NS = NS_PER_S
_MOST_WAITING = 100_000
_END_WITHIN_S = 20.0

_BOOT = (
    "import sys, json\n"
    "plan = json.loads(sys.argv[1])\n"
    "sys.path += [entry for entry in plan['path'] if entry not in sys.path]\n"
    "from wattvlm.serving.worker import run\n"
    "run(plan)\n"
)


class Pipes(Protocol):
    """A worker's two ends: a process, as a rule."""

    @property
    def stdin(self) -> IO[str] | None: ...

    @property
    def stdout(self) -> IO[str] | None: ...


class Following:
    """One engine followed. Made by `follow`; `iteration` and `came` are called by the engine's front end."""

    def __init__(self, settings: Settings, engine: Engine, start: Callable[[str], Pipes]) -> None:
        self.words = f"joules of each request go to {settings.folder}"
        if settings.port is not None:
            self.words += f", and are told at http://{settings.host}:{settings.port}/requests/ID"
        self._waiting: deque[tuple[int, Any, Any]] = deque(maxlen=_MOST_WAITING)  # what came, and what ended
        self._under_way: dict[str, _Followed] = {}
        self._looked_ns = 0
        self._is_told = False
        self._ended = threading.Event()
        path = [str(Path(__file__).absolute().parents[2]), *(each for each in sys.path if Path(each).is_absolute())]
        plan = {"settings": settings.to_dict(), "engine": asdict(engine), "path": path}
        self._worker = start(json.dumps(plan))
        self._threads = [
            threading.Thread(target=each, name=f"wattvlm-{name}", daemon=True)
            for name, each in (("requests", self._send), ("joules", self._receive))
        ]
        for thread in self._threads:
            thread.start()

    def iteration(self, scheduler: Any, iteration: Any) -> None:
        """An iteration has ended; on the engine's path."""
        self._waiting.append((time.monotonic_ns(), scheduler, iteration))

    def came(self, processor: Any, request: Any) -> None:
        """A request has entered the front end; on the path of that request."""
        try:
            states = processor.request_states
            self._waiting.append((time.monotonic_ns(), _Followed(states, states.get(request.request_id)), request))
        except Exception as error:  # another version's shapes; the request goes its way
            self._tell_once(error)

    def close(self) -> None:
        """Send what is left and let the worker finish; for the end of the engine."""
        self._ended.set()
        for thread in self._threads:
            thread.join(_END_WITHIN_S)

    def _send(self) -> None:
        pipe = self._worker.stdin
        try:
            while pipe is not None and not self._ended.wait(_LOOK_EVERY_S):
                self._write(pipe, self._lines())
            if pipe is not None:
                self._looked_ns = 0
                self._write(pipe, self._lines())
                pipe.close()
        except Exception as error:  # the worker is gone, or these are another version's shapes
            self._waiting = deque(maxlen=1)
            self._tell_once(error)

    def _tell_once(self, error: Exception) -> None:
        from wattvlm.serving.stat_logger import tell

        if not self._is_told:
            self._is_told = True
            tell(
                f"what requests do can no longer be followed ({type(error).__name__}: {error}); their joules end here, "
                "the server goes on. Cure: restart it, and report this line with vLLM's version"
            )

    def _write(self, pipe: IO[str], lines: Iterator[dict[str, Any]]) -> None:
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        if text:
            pipe.write(text)
            pipe.flush()

    def _lines(self) -> Iterator[dict[str, Any]]:
        """What has happened since the look before."""
        now_ns, was_preempted = time.monotonic_ns(), False
        wall_ahead_ns = time.time_ns() - now_ns
        for _ in range(len(self._waiting)):
            time_ns, first, second = self._waiting.popleft()
            if isinstance(first, _Followed):
                yield self._came(time_ns, first, second)
            else:
                line = _step(time_ns, first, second, wall_ahead_ns)
                was_preempted = was_preempted or bool(line["preempted"])
                yield line
        if was_preempted or now_ns - self._looked_ns >= _REQUESTS_EVERY_NS:
            self._looked_ns = now_ns
            yield from self._looked_at()

    def _came(self, time_ns: int, followed: _Followed, request: Any) -> dict[str, Any]:
        key = str(request.request_id)
        self._under_way[key] = followed
        places = places_of((each.modality, each.mm_position) for each in request.mm_features or ())
        ids = request.prompt_token_ids
        followed.prompt = None if ids is None else len(ids)
        return {
            "kind": "came", "id": key, "name": str(getattr(request, "external_req_id", None) or key),
            "time_ns": time_ns, "prompt": followed.prompt, "visual": places.visual, "images": places.images,
            "parent": str(dict(getattr(request, "trace_headers", None) or {}).get("traceparent", "")),
        }  # fmt: skip

    def _looked_at(self) -> Iterator[dict[str, Any]]:
        for key, followed in list(self._under_way.items()):
            line = followed.line(key)
            if line is not None:
                yield line
            if followed.is_over:
                del self._under_way[key]

    def _receive(self) -> None:
        """Joules come back: they go where vLLM's own metrics are."""
        pipe = self._worker.stdout
        observed = None
        for text in pipe or ():
            try:
                line = json.loads(text)
                if observed is None:
                    observed = _histograms()
                if line["kind"] == "request":
                    observed.request(line)
                elif line["kind"] == "window":
                    observed.window(line)
                else:
                    from wattvlm.serving.stat_logger import tell

                    tell(str(line["text"]))
            except Exception:  # the engine's process has no use for our troubles; the journal has the joules
                continue


class _Followed:
    """One request under way: what the front end keeps of it, and what was last told of it."""

    def __init__(self, states: Any, state: Any) -> None:
        self._states = states
        self._state = state
        self._told: tuple[Any, ...] = ()
        self.prompt: int | None = None
        self.is_over = False

    def line(self, key: str) -> dict[str, Any] | None:
        """How far it is; None where nothing is new."""
        self.is_over = self._states.get(key) is not self._state
        stats = getattr(self._state, "stats", None)
        if stats is None:
            return None
        told = (
            int(stats.num_generation_tokens), int(stats.num_preemptions), round(stats.scheduled_ts * NS_PER_S),
            self.is_over,
        )  # fmt: skip
        if told == self._told:
            return None
        self._told = told
        return {
            "kind": "at", "id": key, "output": told[0], "preemptions": told[1], "scheduled_ns": told[2],
            "first_ns": round(stats.first_token_ts * NS_PER_S), "last_ns": round(stats.last_token_ts * NS_PER_S),
            "cached": int(getattr(self._state, "num_cached_tokens", 0) or 0), "prompt": self.prompt,
            "over": self.is_over, "ended": "",
        }  # fmt: skip


def _step(time_ns: int, scheduler: Any, iteration: Any, wall_ahead_ns: int) -> dict[str, Any]:
    """An iteration: by the time at which its outputs came to the front end."""
    if iteration is not None:
        came_ns = round(iteration.iteration_timestamp * NS_PER_S) - wall_ahead_ns
        time_ns = came_ns if abs(came_ns - time_ns) < 500 * NS_PER_MS else time_ns
    cache = getattr(scheduler, "prefix_cache_stats", None)
    again = 0 if cache is None else int(cache.preempted_queries) - int(cache.preempted_hits)
    return {
        "kind": "step", "time_ns": time_ns, "again": again,
        "tokens": 0 if iteration is None else int(iteration.num_generation_tokens),
        "preempted": 0 if iteration is None else int(iteration.num_preempted_reqs),
    }  # fmt: skip


def _histograms() -> Any:
    from wattvlm.serving.histograms import Histograms

    return Histograms()


def start_worker(plan: str) -> Popen[str]:
    """The worker's process: in a session of its own, and nicer than the engine."""
    from subprocess import PIPE, Popen

    return Popen(
        [sys.executable, "-I", "-c", _BOOT, plan], stdin=PIPE, stdout=PIPE, stderr=None, text=True, cwd="/",
        start_new_session=True,
    )  # fmt: skip


def follow(config: Any, engine_index: int, start: Callable[[str], Pipes] = start_worker) -> Following | None:
    """Follow an engine as the environment says; None, told in vLLM's log, where its requests cannot be told apart."""
    from wattvlm.serving.stat_logger import tell

    settings = settings_of(os.environ)
    if settings is None:
        return None
    parallel = config.parallel_config
    if getattr(parallel, "_api_process_count", 1) > 1 or parallel.data_parallel_size > 1:
        if engine_index == 0:
            tell(
                "several front ends or engines share the devices, and one sees only its own requests: joules of "
                "requests are not measured. Cure: --api-server-count 1 --data-parallel-size 1"
            )
        return None
    scheduler = config.scheduler_config
    engine = Engine(
        str(config.model_config.model),
        0 if scheduler.long_prefill_token_threshold else int(scheduler.max_num_batched_tokens),
        bool(getattr(scheduler, "async_scheduling", False)),
    )
    processor = import_module("vllm.v1.engine.output_processor").OutputProcessor
    following = Following(settings, engine, start)
    watch_arrivals(processor, following)
    import atexit

    atexit.register(following.close)
    return following


def watch_arrivals(processor: Any, following: Following) -> None:
    """See each request that enters the front end from now on."""
    add = processor.add_request

    @functools.wraps(add)
    def add_request(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = add(self, *args, **kwargs)
        request = args[0] if args else kwargs.get("request")
        if request is not None and getattr(request, "pooling_params", None) is None:
            following.came(self, request)
        return result

    processor.add_request = add_request
