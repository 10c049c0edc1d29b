"""Joules of each request of a server while it serves: told by the engine, found in a process of its own.

stat_logger  what vLLM loads: a stat logger that hands each iteration on
following    the engine's side: what each request did, as lines to the worker; nothing on the engine's own path
requests     the worker's side: what is known of each request, and windows of time made of it: pure
chunks       in which iterations a prompt was computed, by the scheduler's own rule: pure
worker       the worker: a meter of its own, an analysis a window, and where joules go
histograms   wattvlm_request_* for Prometheus
journal      the file of requests and the recordings of the latest windows
asked        joules of a request over HTTP, by its id
spans        a span a request for OpenTelemetry
settings     the environment variables
"""
