"""Joules of a request over HTTP by its id, and the histograms: a small server of the worker's own.

GET /requests/ID   the request's line, 404 while it is not known: joules come after the window that it ended in
GET /metrics       Prometheus' text
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

Answer = Callable[[str], Mapping[str, Any] | None]

_UNKNOWN = {
    "error": "no joules are known for this id: it is under way, its window is not over, or it is no id of a request"
}


class Asked(ThreadingHTTPServer):
    """Serves until `close`. page: the metrics' text. OSError where the port is taken."""

    daemon_threads = True

    def __init__(self, host: str, port: int, answer: Answer, page: Callable[[], bytes]) -> None:
        super().__init__((host, port), _Answering)
        self.answer, self.page = answer, page
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def taken_port(self) -> int:
        """The port that it listens at."""
        return int(self.server_address[1])

    def close(self) -> None:
        """No answers any more."""
        self.shutdown()
        self.server_close()
        self._thread.join()


class _Answering(BaseHTTPRequestHandler):
    server: Asked  # pyright: ignore[reportIncompatibleVariableOverride]  # the standard library's own way to say it

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._send(200, self.server.page(), "text/plain; version=0.0.4")
            return
        found = self.server.answer(unquote(path.removeprefix("/requests/"))) if path.startswith("/requests/") else None
        body = json.dumps(_UNKNOWN if found is None else found).encode()
        self._send(404 if found is None else 200, body, "application/json")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: the server's log is not ours."""
