"""The interpreter's own options on a command line, before the script or module."""

from __future__ import annotations

from collections.abc import Sequence

_PLAIN = frozenset({"-b", "-bb", "-B", "-E", "-O", "-OO", "-P", "-q", "-s", "-u"})
_WITH_VALUE = ("-W", "-X")


def after_flags(words: Sequence[str], start: int = 1) -> int:
    """Where the options that begin at `start` end; the number of all words where one of them is not known."""
    at = start
    while at < len(words) and words[at].startswith("-") and words[at] != "-m":
        if words[at] in _WITH_VALUE:
            at += 1
        elif words[at] not in _PLAIN and not words[at].startswith(_WITH_VALUE):
            return len(words)
        at += 1
    return min(at, len(words))
