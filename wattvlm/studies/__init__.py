"""Fits and comparisons over several reports. Pure: reports in, numbers with intervals out."""

from wattvlm.studies.compare import compare as compare
