"""Attributes replaced for a while and put back; methods wrapped in every class that defines them, now or later."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType
from typing import Any

WrapMethod = Callable[[Callable[..., Any]], Callable[..., Any]]

_ABSENT: Any = object()


class Patches:
    """Every attribute that was replaced, so that each can be put back. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._replaced: list[tuple[Any, str, Any, Any]] = []
        self._set_aside: list[tuple[Any, str, Any, Any]] = []

    def replace(self, owner: Any, name: str, value: Any) -> None:
        """Set `owner.name`; remembers what `owner` itself held, which is nothing for an inherited attribute."""
        with self._lock:
            before = _own(owner, name)
            setattr(owner, name, value)
            self._replaced.append((owner, name, before, _own(owner, name)))

    def restore(self) -> None:
        """Put back everything, newest first; what someone else replaced meanwhile stays theirs."""
        with self._lock:
            self._set_aside.clear()
            while self._replaced:
                _put_back(*self._replaced.pop())

    def set_aside(self, is_wanted: Callable[[Any], bool]) -> None:
        """Put back for a while what was replaced by a wanted value."""
        with self._lock:
            self._set_aside += [each for each in reversed(self._replaced) if is_wanted(each[3]) and _put_back(*each)]

    def replace_again(self) -> None:
        """Undo `set_aside`, but not where someone else replaced the attribute meanwhile."""
        with self._lock:
            while self._set_aside:
                owner, name, before, ours = self._set_aside.pop()
                if _own(owner, name) is before:
                    setattr(owner, name, ours)

    def wrap_methods(self, root: type, wraps: Mapping[str, WrapMethod]) -> None:
        """Wrap the named methods in `root` and each subclass that defines them itself, including classes to come."""
        self.for_each_class(root, lambda cls: self._wrap_own(cls, wraps))

    def for_each_class(self, root: type, act: Callable[[type], None]) -> None:
        """Call `act` with `root` and each of its subclasses now, and with each that is defined until `restore`."""
        for cls in _with_subclasses(root):
            act(cls)
        before = _own(root, "__init_subclass__")
        above: Any = super

        def init_subclass(cls: Any, /, **kwargs: Any) -> None:
            if before is _ABSENT:
                above(root, cls).__init_subclass__(**kwargs)
            else:
                before.__get__(None, cls)(**kwargs)
            act(cls)

        self.replace(root, "__init_subclass__", classmethod(init_subclass))

    def _wrap_own(self, cls: type, wraps: Mapping[str, WrapMethod]) -> None:
        own = vars(cls)
        for name, wrap in wraps.items():
            method = own.get(name)
            if isinstance(method, FunctionType):
                self.replace(cls, name, wrap(method))


def _put_back(owner: Any, name: str, before: Any, ours: Any) -> bool:
    """Whether the attribute is what it was again: what someone else replaced stays theirs."""
    if _own(owner, name) is not ours:
        return False
    if before is _ABSENT:
        delattr(owner, name)
    else:
        setattr(owner, name, before)
    return True


def _own(owner: Any, name: str) -> Any:
    """What the object itself holds under a name, not what it inherits."""
    held: Any = getattr(owner, "__dict__", {})
    return held.get(name, _ABSENT)


def _with_subclasses(root: type) -> Iterator[type]:
    seen: set[type] = set()
    waiting = [root]
    while waiting:
        cls = waiting.pop()
        if cls not in seen:
            seen.add(cls)
            yield cls
            waiting.extend(type.__subclasses__(cls))
