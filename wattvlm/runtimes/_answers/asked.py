"""What a request asks for: the model, and the images with their sizes where the request itself holds them."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from wattvlm.runtimes._answers.events import mapping, sequence

ENDPOINTS = ("/completions", "/responses", "/completion")
"""Ends of paths: "/chat/completions" too, and llama.cpp's own."""

_HEADER_CHARACTERS = 4096 * 4
"""Enough of a base64 image for its size: a JPEG's stands behind its camera data."""


@dataclass(frozen=True, slots=True)
class Asked:
    """model: its name in the request. sizes: (width, height) in pixels of each image, None where it is not known.

    prompts: how many prompts. has_video: whether there is other visual input than images.
    """

    model: str = ""
    sizes: tuple[tuple[int, int] | None, ...] = ()
    prompts: int = 1
    has_video: bool = False


def is_model_request(method: str, path: str) -> bool:
    """Whether a request asks a model for text."""
    return method.upper() == "POST" and path.rstrip("/").endswith(ENDPOINTS)


def asked_by(body: bytes | str | None) -> Asked | None:
    """What a request's JSON body asks for, or None where it is not such a body."""
    if not body:
        return None
    try:
        whole = mapping(json.loads(body))
    except (ValueError, RecursionError):
        return None
    return asked_of(whole)


def asked_of(whole: Mapping[str, Any]) -> Asked:
    """What a request asks for."""
    sizes = tuple(_size(address) for address in _images(whole))
    prompt = sequence(whole.get("prompt"))
    prompts = len(prompt) if prompt and isinstance(prompt[0], (str, list)) else 1  # one prompt may be a list of ids
    model = whole.get("model")
    return Asked(model if isinstance(model, str) else "", sizes, prompts, _has_video(whole))


def _parts(whole: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    messages = sequence(whole.get("messages")) or sequence(whole.get("input"))
    for message in messages:
        for part in sequence(mapping(message).get("content")):
            yield mapping(part)


def _images(whole: Mapping[str, Any]) -> Iterator[str]:
    for part in _parts(whole):
        if part.get("type") in ("image_url", "input_image"):
            address = part.get("image_url")
            url: object = mapping(address).get("url", address)
            yield url if isinstance(url, str) else ""


def _has_video(whole: Mapping[str, Any]) -> bool:
    return any("video" in str(part.get("type", "")) for part in _parts(whole))


def _size(url: str) -> tuple[int, int] | None:
    """Width and height of an image that stands in the request as a data URL."""
    head, comma, encoded = url.partition(",")
    if not comma or not head.startswith("data:") or "base64" not in head:
        return None
    for length in (128, _HEADER_CHARACTERS, len(encoded)):
        try:
            found = image_size(base64.b64decode(encoded[: length - length % 4]))
        except (binascii.Error, ValueError):
            return None
        if found is not None:
            return found
    return None


def image_size(content: bytes) -> tuple[int, int] | None:
    """(width, height) by the file's own header (PNG, GIF, WebP, JPEG, BMP); None for others and for a cut one."""
    if content.startswith(b"\x89PNG\r\n\x1a\n") and len(content) >= 24:
        return _pair(content, 16, 4, "big")
    if content.startswith((b"GIF87a", b"GIF89a")) and len(content) >= 10:
        return _pair(content, 6, 2, "little")
    if content.startswith(b"BM") and len(content) >= 26:
        return _pair(content, 18, 4, "little")
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP" and len(content) >= 30:
        return _webp_size(content)
    if content.startswith(b"\xff\xd8"):
        return _jpeg_size(content)
    return None


def _pair(content: bytes, at: int, width: int, order: Any) -> tuple[int, int]:
    first, second = content[at : at + width], content[at + width : at + 2 * width]
    return int.from_bytes(first, order), int.from_bytes(second, order)


def _webp_size(content: bytes) -> tuple[int, int] | None:
    """RFC 9649, sections 2.5 to 2.7: lossy, lossless and extended files keep their size in different places."""
    kind = content[12:16]
    if kind == b"VP8X":
        width, height = _pair(content, 24, 3, "little")
        return width + 1, height + 1
    if kind == b"VP8L":
        bits = int.from_bytes(content[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = _pair(content, 26, 2, "little")
        return width & 0x3FFF, height & 0x3FFF
    return None


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    """ITU T.81, B.2.2: the size stands in the frame header, which is any SOF marker but DHT, JPG and DAC."""
    at = 2
    while at + 9 <= len(content):
        if content[at] != 0xFF:
            return None
        marker = content[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = _pair(content, at + 5, 2, "big")
            return width, height
        at += 2 if marker == 0xFF or 0xD0 <= marker <= 0xD9 else 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return None
