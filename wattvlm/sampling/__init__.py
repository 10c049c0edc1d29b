"""Sampling: a child process reads the sensors, the measured process only marks, and journals keep both.

When to read: comb, pace, schedule. The files: records, marks, journal, sensor_log, needs. The sampling process: launch,
child. Its owner in the measured process: sampler, live. Reading back: columns, findings, readback. Two other ways in:
discovery (what can be measured here) and recovery (runs that were killed).
"""
