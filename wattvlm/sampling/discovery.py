"""Which probes this machine has, and what they see: `sensors()`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Sequence

from wattvlm.sensing import PROBE_GROUP, ProbeSource

_PACKAGE = "wattvlm.probes"


def own_sources() -> tuple[ProbeSource, ...]:
    """The probes of `wattvlm.probes` that need no arguments: modules with a PROBE, and those that fail to import.

    A module without PROBE (one that needs arguments, such as a replay) is opened only by who names it.
    """
    return tuple(_own())


def _own() -> Iterator[ProbeSource]:
    found = importlib.import_module(_PACKAGE)
    for entry in sorted(pkgutil.iter_modules(found.__path__), key=lambda entry: entry.name):
        if entry.name.startswith("_"):
            continue
        name = f"{_PACKAGE}.{entry.name}"
        try:
            is_automatic = getattr(importlib.import_module(name), "PROBE", None) is not None
        except Exception:  # it is kept: opening it fails in the same way, and that becomes an absence with its reason
            is_automatic = True
        if is_automatic:
            yield ProbeSource(f"{name}:PROBE")


def third_party_sources() -> tuple[ProbeSource, ...]:
    """The probes that other packages register in the entry-point group `wattvlm.probes`; none of them is loaded."""
    from importlib.metadata import entry_points

    return tuple(ProbeSource(entry.value) for entry in entry_points(group=PROBE_GROUP))


def machine_sources() -> Sequence[ProbeSource]:
    """All probes that a meter opens by itself. Takes some 40 ms for the entry points."""
    return (*own_sources(), *third_party_sources())
