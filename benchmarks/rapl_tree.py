"""A powercap tree of one package with DRAM, and the RAPL probe on it, for the sampler's benchmark."""

from __future__ import annotations

from pathlib import Path

from wattvlm.probes.rapl import RaplProbe
from wattvlm.testing import powercap_tree


def probe(folder: str) -> RaplProbe:
    """The RAPL probe on a tree written into `folder`."""
    root = Path(folder) / "powercap"
    powercap_tree(root)
    return RaplProbe(root=root)
