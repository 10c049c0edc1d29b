"""What the environment says: a server's plugin has no other place for options."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

from wattvlm.errors import WattvlmError
from wattvlm.units import NS_PER_S

FOLDER = "WATTVLM_VLLM"
LISTEN = "WATTVLM_VLLM_LISTEN"
OTLP = "WATTVLM_VLLM_OTLP"
WINDOW = "WATTVLM_VLLM_WINDOW"
SHARE_BY = "WATTVLM_VLLM_SHARE_BY"
PROBES = "WATTVLM_VLLM_PROBES"

_SHORTEST_WINDOW_S = 1.0
_LONGEST_WINDOW_S = 3_600.0
_HIGHEST_PORT = 65_535
_RULES = ("time", "tokens", "shapley")


class BadSetting(WattvlmError):
    """An environment variable that says nothing that can be done."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where joules of requests go. folder: of the journal and the recordings. host, port: of the answers by HTTP, port
    None for none. otlp: a collector's address, "" for none. probes: sensors as [target, arguments]; None: all."""

    folder: str
    host: str = "127.0.0.1"
    port: int | None = None
    otlp: str = ""
    window_ns: int = 30 * NS_PER_S
    share_by: str = "time"
    probes: list[list[Any]] | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Settings:
        """Of plain data that `to_dict` made."""
        return cls(**plain)


@dataclass(frozen=True, slots=True)
class Engine:
    """What the engine is set to: its model, tokens of a full iteration (0 where a prompt is cut before that), and
    ahead: whether its scheduler plans an iteration while the one before it runs."""

    model: str
    full_at: int
    ahead: bool


def settings_of(environment: Mapping[str, str]) -> Settings | None:
    """What the environment asks for; None where WATTVLM_VLLM is not set. BadSetting for what cannot be meant."""
    folder = environment.get(FOLDER, "")
    if not folder:
        return None
    host, port = _address(environment.get(LISTEN, ""))
    rule = environment.get(SHARE_BY, "time")
    if rule not in _RULES:
        raise BadSetting(f"{SHARE_BY}={rule} is no rule. Cure: one of {', '.join(_RULES)}")
    return Settings(
        folder, host, port, environment.get(OTLP, ""), _window_ns(environment.get(WINDOW, "30")), rule,
        _probes(environment.get(PROBES, "")),
    )  # fmt: skip


def _address(listen: str) -> tuple[str, int | None]:
    if not listen:
        return "127.0.0.1", None
    host, _, port = listen.rpartition(":")
    if not (port.isascii() and port.isdecimal()) or int(port) > _HIGHEST_PORT:
        raise BadSetting(f"{LISTEN}={listen} is no port. Cure: 9465, or 0.0.0.0:9465 for other machines")
    return host.strip("[]") or "127.0.0.1", int(port)


def _window_ns(text: str) -> int:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not _SHORTEST_WINDOW_S <= seconds <= _LONGEST_WINDOW_S:
        raise BadSetting(f"{WINDOW}={text} is no window. Cure: seconds from 1 to 3600; 30 is usual")
    return round(seconds * NS_PER_S)


def _probes(text: str) -> list[list[Any]] | None:
    if not text:
        return None
    try:
        found: object = json.loads(text)
    except ValueError as error:
        raise BadSetting(f"{PROBES} is no JSON ({error}). Cure: [['module:name', {{}}]]") from error
    entries = cast("list[object]", found) if isinstance(found, list) else []
    probes: list[list[Any]] = [each for each in entries if isinstance(each, list)]
    if not probes or any(
        len(each) != 2 or not isinstance(each[0], str) or not isinstance(each[1], dict) for each in probes
    ):
        raise BadSetting(f'{PROBES}={text} names no sensors. Cure: [["module:name", {{}}]]')
    return probes
