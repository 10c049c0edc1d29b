"""The rules by which joules that no request causes alone are split; see `shares`."""

from __future__ import annotations

from typing import Literal, get_args

Rule = Literal["time", "tokens", "shapley"]

RULES: tuple[Rule, ...] = get_args(Rule)

RULE_WORDS: dict[Rule, str] = {
    "time": "idle power and each decode step's fixed cost are split by time in the batch",
    "tokens": "idle power and each decode step's fixed cost are split by tokens computed",
    "shapley": "each decode step's fixed cost is split equally, idle power by the Shapley value of the time it adds",
}
"""For the line of a report."""


def rule_of(name: str) -> Rule:
    """The rule of that name; ValueError where there is none."""
    for rule in RULES:
        if rule == name:
            return rule
    raise ValueError(f"{name!r} is no rule to share joules by; there are {', '.join(RULES)}")
