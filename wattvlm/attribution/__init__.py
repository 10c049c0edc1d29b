"""Joins what the sensors saw with what the model did: `analyze` makes a Report of a Recording.

Pure: no clock, no file, no sensor; the same Recording always gives the same Report. Joules of a phase are the bounds
that hold for any powers the sensors' readings allow (`stretch`), refused or joined with a neighbour where these are
too wide (`gates`). Phases, the time between them, and the time outside of calls add up to the block.
"""

from __future__ import annotations

from wattvlm.attribution.analysis import analyze

__all__ = ["analyze"]
