"""Energy regressions: a function measured until its joules are known, and held against bounds and baselines."""
