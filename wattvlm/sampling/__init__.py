"""Sampling: a child process reads the sensors, the measured process only marks, and journals keep both.

schedule and comb decide when to read; records and journal are the files; child is the sampling process; sampler is
its owner in the measured process; readback makes the Recording; discovery and recovery are the two other ways in.
"""
