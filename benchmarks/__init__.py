"""Speed and weight of wattvlm, each file a command that prints a table: `python -m benchmarks [NAME ...]`."""
