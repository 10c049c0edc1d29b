"""Metering a program from outside, without a change to it: `wattvlm run`.

The program is a process of its own with its own standard streams, so whatever it does (end by a signal, replace its
process, crash) the meter is still there afterwards. A Python program marks its calls from inside (`child`).
"""
