"""One request and its answer while they pass, the marks they make, and all that are under way."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

from wattvlm.runtimes._answers.asked import Asked, asked_by
from wattvlm.runtimes._answers.call import AnsweredCall
from wattvlm.runtimes._answers.counts import ServerTimes
from wattvlm.runtimes._answers.image_tokens import ModelFiles, model_files
from wattvlm.runtimes._watching import Watching
from wattvlm.runtimes.openai_stream.engine_metrics import Address, EngineMetrics
from wattvlm.runtimes.openai_stream.servers import Server, server_at

under_way: ContextVar[Exchange | None] = ContextVar("wattvlm_openai_exchange", default=None)
"""The request that this thread or task is sending."""


class Exchange(AnsweredCall):
    """One request: begun when it is sent, ended once. Its methods never raise.

    is_awaited: whether the next piece of the answer is being waited for: a response that its own client closes then
    has ended, or broken off, and is not given up by its reader.
    """

    def __init__(self, traffic: Traffic, address: Address, body: bytes | str | None) -> None:
        self._traffic = traffic
        self.address = address
        self._body = body
        self.is_awaited = False
        super().__init__(traffic.watching)

    def arrived(self, chunk: bytes | str) -> None:
        super().arrived(chunk)
        self.is_awaited = False

    def broke_off(self, error: BaseException) -> None:
        """Iteration over the answer ended by an exception: the reader's own end of it, or a fault."""
        if isinstance(error, GeneratorExit):
            self.closed()
        else:
            self.end(f"raised {type(error).__name__}")

    def closed(self) -> None:
        """The reader has closed the response, which may be after all of it has come."""
        if not self.is_awaited:
            self.end("" if self.reader.is_whole else "was closed before its end")

    def end(self, how: str = "") -> None:
        """The answer has been read, given up, or did not come; the first time counts."""
        now_ns = time.monotonic_ns()
        if self.is_over:
            return
        self._traffic.ended(self)
        try:
            answer, times = self.close(how, now_ns)
            asked = asked_by(self._body)
            self._traffic.answered(self, times, answer)
            self.count(asked, answer, self._traffic.files(self.address, asked))
        except Exception as error:
            self._traffic.watching.fault("counting a request", error)
        finally:
            self._body = None


class Traffic:
    """All requests of one runtime while it is installed, by their responses; and the servers that answered.

    watched: classes that are wrapped already; one library may go by two names.
    """

    def __init__(self, watching: Watching) -> None:
        self.watching = watching
        self._of_response: WeakKeyDictionary[Any, Exchange] = WeakKeyDictionary()
        self._open: set[Exchange] = set()
        self._servers: dict[Address, Server] = {}
        self._latest_calls: dict[Address, int] = {}
        self._files: dict[tuple[Address, str], ModelFiles | None] = {}
        self._answered: Counter[Address] = Counter()
        self._engines = EngineMetrics()
        self.watched: set[Any] = set()
        watching.on_settle.append(self.tell_of_servers)
        watching.on_end.append(self.close)

    def begin(self, address: Address, body: bytes | str | None) -> Exchange:
        exchange = Exchange(self, address, body)
        self._open.add(exchange)
        self._engines.first_seen(address)
        return exchange

    def bind(self, response: Any, exchange: Exchange) -> None:
        """The answer comes through this response, which its user reads."""
        self._of_response[response] = exchange

    def exchange_of(self, response: Any) -> Exchange | None:
        """The exchange whose answer comes through a response, or that is being sent right now."""
        return self._of_response.get(response) or under_way.get()

    def closed(self, response: Any) -> None:
        """The user, or the client itself, has closed a response."""
        exchange = self._of_response.get(response)
        if exchange is not None:
            exchange.closed()

    def ended(self, exchange: Exchange) -> None:
        self._open.discard(exchange)

    def answered(self, exchange: Exchange, times: ServerTimes | None, answer: Mapping[str, Any]) -> None:
        """Remember the server, and say what an answer left unknown."""
        self._latest_calls[exchange.address] = exchange.call_id
        self._answered[exchange.address] += bool(answer)
        where = f"{exchange.address[0]}:{exchange.address[1]}"
        for line in _lines_of(exchange, times, answer):
            self.watching.note(f"{where}: {line}", exchange.call_id)

    def files(self, address: Address, asked: Asked | None) -> ModelFiles | None:
        """The model's files, where image tokens must be computed: named by the request or the server's command line."""
        if asked is None or not asked.sizes:
            return None
        key = (address, asked.model)
        if key not in self._files:
            server = self._server(address)
            own = [asked.model] if server.is_local and asked.model else []
            self._files[key] = model_files(own) or (
                model_files(server.words, server.folder) if server.is_local else None
            )
        return self._files[key]

    def _server(self, address: Address) -> Server:
        if address not in self._servers:
            self._servers[address] = server_at(*address)
        return self._servers[address]

    def tell_of_servers(self) -> None:
        """A line for each server that answered: what it is, and where its joules are."""
        for address, call_id in list(self._latest_calls.items()):
            self.watching.note(_line_of(self._server(address)), call_id)

    def close(self) -> None:
        """End what is under way: its end is not seen any more."""
        for exchange in list(self._open):
            exchange.end("was not over when the block ended")
        self.tell_of_servers()
        for address, call_id in self._latest_calls.items():
            line = self._engines.between(address, self._answered[address])
            if line is not None:
                self.watching.note(f"{address[0]}:{address[1]}: {line}", call_id)


def _lines_of(exchange: Exchange, times: ServerTimes | None, answer: Mapping[str, Any]) -> Iterator[str]:
    """What a reader of the report must know of an answer."""
    reader = exchange.reader
    if reader.is_opaque:
        yield (
            "answers came in a form that only their client reads; they are not split into phases and their tokens are "
            "not counted. Cure: ask for them without compression"
        )
    elif times is not None:
        yield f"prefill is by {times.source}; it holds the vision encoder"
    elif exchange.is_split:
        yield (
            "the server tells no times of its own: prefill begins when the request is sent and ends with the first "
            "text, so it holds the server's queue, its work on the image and the vision encoder"
        )
    elif answer:
        yield (
            "an answer came in one piece, without times of the server: it is not split into phases. Cure: stream=True"
        )
    if reader.is_stream and reader.is_whole and not answer.get("usage") and not answer.get("timings"):
        yield (
            "a streamed answer had no usage: its tokens are not counted (events are not tokens). "
            "Cure: stream_options={'include_usage': True} in the request"
        )


def _line_of(server: Server) -> str:
    if server.is_local is None:
        return f"{server.address} could not be found: whether its joules are in this report is not known"
    if not server.is_local:
        return (
            f"{server.address} is another machine: the joules that it took are not in this report; those given are of "
            "this machine, which waited. Cure: meter there"
        )
    if server.pid is None:
        return (
            f"the process that listens at {server.address} has ended or may not be looked at; GPU boards and CPU "
            "packages are metered as a whole, so its joules are in this report"
        )
    if server.pid == os.getpid():
        return f"{server.address} is this process itself"
    more = f" and {server.members - 1} more below it" if server.members > 1 else ""
    return (
        f"{server.address} is {server.title or 'a process'} (process {server.pid}{more}); GPU boards and CPU packages "
        "are metered as a whole, so its joules are in this report, with those of all else that ran on them"
    )
