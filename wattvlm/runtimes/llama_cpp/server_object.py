"""xllamacpp.Server asked in this process: dictionaries or JSON in, answers out, whole or through a callback."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from wattvlm.runtimes._answers.asked import asked_of
from wattvlm.runtimes._answers.call import AnsweredCall
from wattvlm.runtimes._answers.image_tokens import vision_part_beside
from wattvlm.runtimes._watching import Watching

Method = Callable[..., Any]

CALLBACK_STD_NS = 100_000
"""What lies between an event in the engine's thread and its sight in a callback: one hand-over of the interpreter."""


def watch_server(server: Any, watching: Watching) -> None:
    """Wrap the methods that ask a model."""
    for name in ("handle_chat_completions", "handle_completions"):
        watching.patches.replace(server, name, _wrap(getattr(server, name), watching))


def _wrap(method: Method, watching: Watching) -> Method:
    @functools.wraps(method)
    def handle(self_: Any, /, *args: Any, **kwargs: Any) -> Any:
        if not watching.is_open:
            return method(self_, *args, **kwargs)
        followed = _Followed(watching, args, kwargs)
        try:
            result = method(self_, *followed.args, **followed.kwargs)
        except BaseException as error:
            followed.end(None, f"raised {type(error).__name__}")
            raise
        followed.end(result, "")
        return result

    return handle


class _Followed:
    """One call of the server. args, kwargs: those of the user, with the callback looked at on its way."""

    def __init__(self, watching: Watching, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._watching = watching
        self._request: object = args[0] if args else kwargs.get("prompt")
        self._is_stream = _parsed(self._request).get("stream") is True
        self._call = AnsweredCall(watching, CALLBACK_STD_NS)
        self.args = tuple(self._looked_at(each) if callable(each) else each for each in args)
        self.kwargs = {name: self._looked_at(each) if callable(each) else each for name, each in kwargs.items()}

    def _looked_at(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(callback)
        def called_back(*args: Any, **kwargs: Any) -> Any:
            if args:
                self._call.said(args[0], is_event=self._is_stream)
            return callback(*args, **kwargs)

        return called_back

    def end(self, result: object, how: str) -> None:
        now_ns = time.monotonic_ns()
        try:
            if result:
                self._call.said(result, is_event=False)
            answer, _ = self._call.close(how, now_ns)
            asked = asked_of(_parsed(self._request))
            model = answer.get("model")
            files = vision_part_beside(model) if asked.sizes and isinstance(model, str) else None
            self._call.count(asked, answer, files)
            self._watching.note(
                "prefill of llama.cpp is by its own timings; it holds the vision encoder", self._call.call_id
            )
        except Exception as error:
            self._watching.fault("counting a call", error)


def _parsed(request: object) -> Mapping[str, Any]:
    """A request given as a dictionary or as JSON."""
    if isinstance(request, (str, bytes)):
        try:
            request = json.loads(request)
        except ValueError:
            return {}
    parsed: Any = request
    return parsed if isinstance(request, Mapping) else {}
