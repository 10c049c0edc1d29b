"""Sensors: one file is one sensor, found by itself; each has a module-level `PROBE` (see `wattvlm.sensing`)."""
