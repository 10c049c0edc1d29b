"""The wraps of HTTP clients: what is sent and what comes back passes through unchanged, and is looked at."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from wattvlm.runtimes._answers.asked import is_model_request
from wattvlm.runtimes._watching import Watching
from wattvlm.runtimes.openai_stream.exchange import Exchange, Traffic, under_way

Method = Callable[..., Any]


def watch_httpx(module: Any, watching: Watching) -> None:
    """httpx and what has its classes: send of both clients, raw iteration and closing of responses."""
    traffic = _traffic(watching)
    replace = watching.patches.replace
    if module.Client in traffic.watched:
        return
    traffic.watched.add(module.Client)
    replace(module.Client, "send", _httpx_send(module.Client.send, traffic))
    replace(module.AsyncClient, "send", _httpx_async_send(module.AsyncClient.send, traffic))
    response = module.Response
    replace(response, "iter_raw", _iteration(response.iter_raw, traffic))
    replace(response, "aiter_raw", _async_iteration(response.aiter_raw, traffic))
    replace(response, "close", _closing(response.close, traffic))
    replace(response, "aclose", _async_closing(response.aclose, traffic))


def watch_requests(module: Any, watching: Watching) -> None:
    """requests: send of a session, iteration over content (which `content` and `iter_lines` use) and closing."""
    traffic = _traffic(watching)
    replace = watching.patches.replace
    replace(module.Session, "send", _requests_send(module.Session.send, traffic))
    replace(module.Response, "iter_content", _requests_iteration(module.Response.iter_content, traffic))
    replace(module.Response, "close", _closing(module.Response.close, traffic))


def _traffic(watching: Watching) -> Traffic:
    if not isinstance(watching.shared, Traffic):
        watching.shared = Traffic(watching)
    return watching.shared


def _httpx_send(method: Method, traffic: Traffic) -> Method:
    @functools.wraps(method)
    def send(self_: Any, /, *args: Any, **kwargs: Any) -> Any:
        exchange = _begin(traffic, _httpx_request, args, kwargs)
        if exchange is None:
            return method(self_, *args, **kwargs)
        token = under_way.set(exchange)
        try:
            response = method(self_, *args, **kwargs)
        except BaseException as error:
            exchange.end(f"raised {type(error).__name__}")
            raise
        finally:
            under_way.reset(token)
        _returned(traffic, exchange, response, bool(kwargs.get("stream")))
        return response

    return send


def _httpx_async_send(method: Method, traffic: Traffic) -> Method:
    @functools.wraps(method)
    async def send(self_: Any, /, *args: Any, **kwargs: Any) -> Any:
        exchange = _begin(traffic, _httpx_request, args, kwargs)
        if exchange is None:
            return await method(self_, *args, **kwargs)
        token = under_way.set(exchange)
        try:
            response = await method(self_, *args, **kwargs)
        except BaseException as error:
            exchange.end(f"raised {type(error).__name__}")
            raise
        finally:
            under_way.reset(token)
        _returned(traffic, exchange, response, bool(kwargs.get("stream")))
        return response

    return send


def _requests_send(method: Method, traffic: Traffic) -> Method:
    @functools.wraps(method)
    def send(self_: Any, /, *args: Any, **kwargs: Any) -> Any:
        exchange = _begin(traffic, _requests_request, args, kwargs)
        if exchange is None:
            return method(self_, *args, **kwargs)
        is_streaming = bool(kwargs.get("stream", self_.stream))
        token = under_way.set(exchange)
        try:
            response = method(self_, *args, **kwargs)
        except BaseException as error:
            exchange.end(f"raised {type(error).__name__}")
            raise
        finally:
            under_way.reset(token)
        _returned(traffic, exchange, response, is_streaming)
        return response

    return send


def _iteration(method: Method, traffic: Traffic) -> Method:
    """A generator of bytes, looked at as they pass."""

    @functools.wraps(method)
    def iterate(self_: Any, /, *args: Any, **kwargs: Any) -> Iterator[bytes]:
        exchange = _expecting(traffic, self_)
        inner = method(self_, *args, **kwargs)
        if exchange is None:
            yield from inner
            return
        yield from _looked_at(inner, exchange)

    return iterate


def _async_iteration(method: Method, traffic: Traffic) -> Method:
    @functools.wraps(method)
    async def iterate(self_: Any, /, *args: Any, **kwargs: Any) -> AsyncIterator[bytes]:
        exchange = _expecting(traffic, self_)
        inner = method(self_, *args, **kwargs)
        if exchange is None:
            async for chunk in inner:
                yield chunk
            return
        try:
            exchange.is_awaited = True
            async for chunk in inner:
                exchange.arrived(chunk)
                yield chunk
                exchange.is_awaited = True
            exchange.end()
        except BaseException as error:
            exchange.broke_off(error)
            raise
        finally:
            await inner.aclose()

    return iterate


def _requests_iteration(method: Method, traffic: Traffic) -> Method:
    """iter_content is no generator itself: it may raise at once, and gives one."""

    @functools.wraps(method)
    def iter_content(self_: Any, /, *args: Any, **kwargs: Any) -> Any:
        inner = method(self_, *args, **kwargs)
        exchange = _answered_by(traffic, self_)
        return inner if exchange is None else _looked_at(inner, exchange)

    return iter_content


def _looked_at(inner: Any, exchange: Exchange) -> Iterator[Any]:
    """The same pieces, and how they ended: read to the end, given up by the reader, or broken off."""
    try:
        exchange.is_awaited = True
        for chunk in inner:
            exchange.arrived(chunk)
            yield chunk
            exchange.is_awaited = True
        exchange.end()
    except BaseException as error:
        exchange.broke_off(error)
        raise
    finally:
        inner.close()


def _closing(method: Method, traffic: Traffic) -> Method:
    @functools.wraps(method)
    def close(self_: Any, /, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self_, *args, **kwargs)
        finally:
            traffic.closed(self_)

    return close


def _async_closing(method: Method, traffic: Traffic) -> Method:
    @functools.wraps(method)
    async def aclose(self_: Any, /, *args: Any, **kwargs: Any) -> Any:
        try:
            return await method(self_, *args, **kwargs)
        finally:
            traffic.closed(self_)

    return aclose


def _begin(traffic: Traffic, look: Callable[[Any], Any], args: Any, kwargs: Any) -> Exchange | None:
    """An exchange for a request to a model; None for any other, and for one inside another."""
    if not traffic.watching.is_open or under_way.get() is not None:
        return None
    try:
        request = args[0] if args else kwargs.get("request")
        host, port, method, path, body = look(request)
        return traffic.begin((host, port), body) if host and is_model_request(method, path) else None
    except Exception as error:
        traffic.watching.fault("looking at a request", error)
        return None


def _httpx_request(request: Any) -> tuple[str, int, str, str, bytes | None]:
    url = request.url
    port = url.port or (443 if url.scheme == "https" else 80)
    return url.host, port, request.method, url.path, getattr(request, "_content", None)


def _requests_request(request: Any) -> tuple[str, int, str, str, bytes | str | None]:
    from urllib.parse import urlsplit

    url = urlsplit(request.url or "")
    body = request.body if isinstance(request.body, (bytes, str)) else None
    return url.hostname or "", url.port or (443 if url.scheme == "https" else 80), request.method or "", url.path, body


def _expecting(traffic: Traffic, response: Any) -> Exchange | None:
    """The exchange of a response whose bytes are about to come as the server packed them."""
    exchange = _answered_by(traffic, response)
    if exchange is not None:
        exchange.reader.expect(str(response.headers.get("content-encoding", "")).lower())
    return exchange


def _answered_by(traffic: Traffic, response: Any) -> Exchange | None:
    """The exchange of a response; None for a redirection on the way to it."""
    exchange = traffic.exchange_of(response)
    return None if exchange is None or exchange.is_over or response.status_code >= 300 else exchange


def _returned(traffic: Traffic, exchange: Exchange, response: Any, is_streaming: bool) -> None:
    """send has returned a response: read already, or yet to be read by its user."""
    try:
        if response.status_code >= 400:
            exchange.end(f"HTTP {response.status_code}")
        elif not is_streaming:
            if exchange.reader.is_opaque or exchange.reader.is_stream is None:
                exchange.reader.read_whole(response.content)
            exchange.end()
        else:
            traffic.bind(response, exchange)
    except Exception as error:
        exchange.end()
        traffic.watching.fault("following an answer", error)
