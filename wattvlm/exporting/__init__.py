"""Joules for monitoring: a Prometheus endpoint of running counters, and OpenTelemetry spans and metrics of a report."""
