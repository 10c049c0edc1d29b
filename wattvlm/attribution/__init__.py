"""Joins what the sensors saw with what the model did: `analyze` makes a Report of a Recording.

Pure: no clock, no file, no sensor; the same Recording always gives the same Report. Joules of one call's phases are
the bounds that hold for any powers the sensors' readings allow (`stretch`). Means over five calls and more are joint
draws of a mixed model where a counter's ticks are seen (`timeline`, `clusters`, `mixed`, `pooling`, `pooled`). Both are
refused or joined with a neighbour where they are too wide (`gates`). Phases, the time between them, and the time
outside of calls add up to the block.
"""

from __future__ import annotations

from wattvlm.attribution.analysis import analyze

__all__ = ["analyze"]
