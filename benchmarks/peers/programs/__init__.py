"""One program a meter, each run by the Python that has that meter: `python -m benchmarks.peers.programs.with_...`."""
