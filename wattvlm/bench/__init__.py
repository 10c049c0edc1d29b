"""Repeated, warmed-up and dithered measurement of models over a matrix of cells, which any interruption may cut short.

    from wattvlm import bench

    design = bench.Design(models=("shipped",), output_tokens=(8, 32))
    results = bench.run(design, "results")     # the same folder again goes on where it was cut off

Each finished cell is a Report file in the folder; `wattvlm compare results` shows them, and `bench.reports` loads them.
"""

from wattvlm.bench.design import Cell as Cell
from wattvlm.bench.design import Design as Design
from wattvlm.bench.keeping import Finished as Finished
from wattvlm.bench.keeping import Results as Results
from wattvlm.bench.keeping import reports as reports
from wattvlm.bench.running import run as run
from wattvlm.bench.swept import sweeps as sweeps
