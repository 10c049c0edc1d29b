"""A node exporter: joules and watts of this machine for as long as it runs, in constant memory: `wattvlm export`.

What is counted: tallies. Who reads it: sensors, and serving for what models did meanwhile. What is told: families.
Where it goes: endpoint (Prometheus scrapes it), pushing (an OpenTelemetry collector gets it). One run: session.
"""
