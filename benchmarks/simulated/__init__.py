"""Simulated sessions of known truth, their outcomes, and the tables made of them: the parts of `accuracy`."""
