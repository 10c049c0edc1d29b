"""Fits and comparisons over several reports. Pure: reports in, numbers with intervals out."""

from wattvlm.studies.compare import compare as compare
from wattvlm.studies.marginal import Marginal as Marginal
from wattvlm.studies.marginal import marginal as marginal
from wattvlm.studies.standings import standings as standings
from wattvlm.studies.sweep import sweep as sweep
