"""A server's metrics page over HTTP, and where it is."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

from wattvlm.errors import WattvlmError
from wattvlm.watching.metrics import Metric, NoParser, parse, parse_by_model

Found = TypeVar("Found")

_LONGEST_ANSWER_S = 5.0
_LARGEST_PAGE_BYTES = 16 * 2**20
_SCHEMES = ("http", "https")

_HOW_TO_TURN_ON = (
    "Cure: vLLM has them by itself; llama-server --metrics; sglang --enable-metrics; for others give the whole address "
    "of the page, .../metrics"
)


class NotAnswering(WattvlmError):
    """Nothing answers at the address."""


class MetricsPage:
    """The metrics of one server. url: its address, with or without a path such as /v1.

    ValueError where it is no address.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in _SCHEMES or not parts.hostname:
            raise ValueError(f"{url!r} is no address of a server; it looks like http://127.0.0.1:8000")
        path = parts.path if parts.path.rstrip("/").endswith("/metrics") else "/metrics"
        self.host: str = parts.hostname
        self.port: int = parts.port or (443 if parts.scheme == "https" else 80)
        self.address = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], "", "", ""))
        self._url = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], path, "", ""))

    def read(self) -> tuple[dict[str, Metric], str]:
        """The metrics now, and why there are none; NotAnswering where there is no server."""
        return self._read(parse)

    def read_by_model(self) -> tuple[dict[str, dict[str, Metric]], str]:
        """The metrics now by model ("" for those of none), and why there are none; NotAnswering as above."""
        return self._read(parse_by_model)

    def _read(self, parser: Callable[[str], dict[str, Found]]) -> tuple[dict[str, Found], str]:
        try:
            with urllib.request.urlopen(self._url, timeout=_LONGEST_ANSWER_S) as answer:
                text = answer.read(_LARGEST_PAGE_BYTES).decode(errors="replace")
            found = parser(text)
        except urllib.error.HTTPError as error:
            with error:
                return {}, f"the server gives no metrics at {self._url} (HTTP {error.code}). {_HOW_TO_TURN_ON}"
        except NoParser as error:
            return {}, str(error)
        except ValueError as error:
            return {}, f"{self._url} is no page of metrics ({str(error)[:80]}). {_HOW_TO_TURN_ON}"
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise NotAnswering(f"nothing answers at {self._url} ({reason}). Cure: start the server first") from error
        if not found:
            return {}, f"{self._url} holds no metrics. {_HOW_TO_TURN_ON}"
        return found, ""
