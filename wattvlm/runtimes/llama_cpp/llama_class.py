"""The Llama class of llama-cpp-python, which drives llama.cpp from Python: each step of it can be seen.

`create_chat_completion` and `create_completion` are the calls; inside them `eval` computes the prompt, a function of
`mtmd_cpp` encodes and computes each image, and `generate` gives the tokens one by one.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

from wattvlm.runtimes._watching import Watching
from wattvlm.runtimes.llama_cpp.llama_call import LlamaCall

Method = Callable[..., Any]

_current: ContextVar[LlamaCall | None] = ContextVar("wattvlm_llama_call", default=None)


def watch_llama(module: Any, watching: Watching) -> None:
    """Wrap the Llama class."""
    llama = module.Llama
    replace = watching.patches.replace
    replace(llama, "create_chat_completion", _asking(llama.create_chat_completion, watching))
    replace(llama, "create_completion", _asking(llama.create_completion, watching))
    replace(llama, "eval", _evaluating(llama.eval, watching))
    replace(llama, "generate", _generating(llama.generate, watching))


def watch_images(module: Any, watching: Watching) -> None:
    """Wrap the function that encodes one image and computes its tokens."""
    name = "mtmd_helper_eval_chunk_single"
    method = getattr(module, name)

    @functools.wraps(method)
    def evaluate(*args: Any, **kwargs: Any) -> Any:
        call = _current.get()
        if call is not None:
            _shielded(watching, _image_starts, call, module, args[2] if len(args) > 2 else kwargs.get("chunk"))
        return method(*args, **kwargs)

    watching.patches.replace(module, name, evaluate)


def _image_starts(call: LlamaCall, module: Any, chunk: Any) -> None:
    if module.mtmd_input_chunk_get_type(chunk) == module.MTMD_INPUT_CHUNK_TYPE_IMAGE:
        call.image_starts(int(module.mtmd_input_chunk_get_n_tokens(chunk)))
    else:
        call.audio_starts(int(module.mtmd_input_chunk_get_n_tokens(chunk)))


def _asking(method: Method, watching: Watching) -> Method:
    names = list(inspect.signature(method).parameters)

    @functools.wraps(method)
    def ask(*args: Any, **kwargs: Any) -> Any:
        if not watching.is_open or _current.get() is not None:
            return method(*args, **kwargs)
        given: Mapping[str, Any] = {**dict(zip(names, args)), **kwargs}
        call = LlamaCall(watching, given)
        token = _current.set(call)
        try:
            result = method(*args, **kwargs)
        except BaseException as error:
            call.end(f"raised {type(error).__name__}")
            raise
        finally:
            _current.reset(token)
        if inspect.isgenerator(result):
            return _streamed(result, call)
        call.end()
        return result

    return ask


def _streamed(inner: Generator[Any, Any, Any], call: LlamaCall) -> Iterator[Any]:
    """The same pieces; the model works while the next one is waited for."""
    try:
        while True:
            token = _current.set(call)
            try:
                chunk = next(inner)
            except StopIteration:
                break
            finally:
                _current.reset(token)
            yield chunk
        call.end()
    except GeneratorExit:
        call.end("was closed before its end")
        raise
    except BaseException as error:
        call.end(f"raised {type(error).__name__}")
        raise
    finally:
        inner.close()


def _evaluating(method: Method, watching: Watching) -> Method:
    @functools.wraps(method)
    def evaluate(self_: Any, /, *args: Any, **kwargs: Any) -> Any:
        call = _current.get()
        if call is not None:
            _shielded(watching, call.evaluation_starts, args[0] if args else kwargs.get("tokens", ()))
        return method(self_, *args, **kwargs)

    return evaluate


def _generating(method: Method, watching: Watching) -> Method:
    @functools.wraps(method)
    def generate(self_: Any, /, *args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        call = _current.get()
        if call is not None:
            _shielded(watching, call.generation_starts, args[0] if args else kwargs.get("tokens", ()))
        inner = method(self_, *args, **kwargs)
        try:
            token = next(inner, _NO_TOKEN)
            while token is not _NO_TOKEN:
                if call is not None:
                    call.token_came(time.monotonic_ns())
                answer = yield token
                try:
                    token = inner.send(answer)
                except StopIteration:
                    return
        finally:
            inner.close()

    return generate


_NO_TOKEN: Any = object()


def _shielded(watching: Watching, act: Callable[..., object], *args: Any) -> None:
    try:
        act(*args)
    except Exception as error:
        watching.fault("following a call", error)
