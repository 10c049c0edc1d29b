"""Study: joules of an action of a vision-language-action model, and what several actions a call save."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wattvlm.answers import Answer, AnswerTable, Finding, Heading, Picture, Series, Value
from wattvlm.bench import Design
from wattvlm.comparison import Expected
from wattvlm.questions._figures import row_name, run_joules, share_or_none, times
from wattvlm.questions.asked import Asked, Run, by_model, design_lines
from wattvlm.studies.expected import expected_of
from wattvlm.studies.quotients import quotient, saving, scaled
from wattvlm.trace import DECODE

NAME = "action"
QUESTION = "How many joules does an action of a robot's model take, how many actions a second, and do chunks help?"

TOKENS = 7
"""Of an action: six degrees of freedom and the gripper, each one token (OpenVLA, arXiv 2406.09246)."""

CHUNKS = (1, 2, 4, 8)
"""Actions a call, decided from one picture."""

SIDE_PX = 224
RATE_PUBLISHED = "about 6 actions a second for OpenVLA-7B on an RTX 4090 (arXiv 2406.09246)"


def design(asked: Asked) -> Design:
    """One picture and an answer of whole actions."""
    sizes: dict[str, Any] = {} if asked.models == ("shipped",) else {"resolutions": ((SIDE_PX, SIDE_PX),)}
    return asked.design(output_tokens=tuple(TOKENS * chunk for chunk in CHUNKS), **sizes)


def answer(runs: Sequence[Run], design: Design) -> Answer:
    """Joules an action, actions a second, and what the longest chunk saves."""
    findings: list[Finding] = []
    series: list[Series] = []
    for model, of_model in by_model(runs).items():
        ordered = sorted(of_model, key=lambda run: run.cell.output_tokens)
        findings += _findings(model, ordered)
        points = ((_actions(run), _an_action(run)) for run in ordered)
        series.append(Series(model, tuple((actions, found) for actions, found in points if found is not None)))
    return Answer(
        NAME, QUESTION,
        design_lines(design, runs, "the prompt and the picture; an answer is so many actions of seven tokens"),
        tuple(findings), (_table(runs),),
        (Picture("Joules of an action by actions a call", "actions a call", "J an action", tuple(series)),),
        (
            f"an action is {TOKENS} tokens; a model that gives its actions otherwise (a diffusion head, parallel "
            "decoding) takes other joules",
            "a chunk is carried out without looking again: what it saves is paid with a later reaction",
            "joules are of the accelerator while it computes; what a robot draws while it moves is not in them",
        ),
        any(run.is_modelled for run in runs), any(run.report.virtual for run in runs),
    )  # fmt: skip


def _actions(run: Run) -> float:
    return run.cell.output_tokens / TOKENS


def _an_action(run: Run) -> Expected | None:
    """Of a batch of robots each has its own request."""
    found = run_joules(run)
    return None if found is None else scaled(found, 1.0 / _actions(run))


def _rate(run: Run) -> Expected | None:
    took = expected_of(times(run.report, "call"))
    actions = _actions(run) * run.cell.batch_size
    one = Expected(actions, actions, actions)
    return None if took is None else quotient(one, took)


def _findings(model: str, runs: Sequence[Run]) -> list[Finding]:
    first, last = runs[0], runs[-1]
    modelled = any(run.is_modelled for run in runs)
    found = [
        Finding(f"{model}: joules an action", f"with {_actions(first):g} a call", _an_action(first), "J",
                is_modelled=modelled),
        Finding(f"{model}: actions a second", f"with {_actions(first):g} a call", _rate(first),
                published=RATE_PUBLISHED),
        Finding(f"{model}: decode's share", f"of the joules of a call with {_actions(first):g}",
                share_or_none(first.report, (DECODE,)), "%", is_modelled=modelled),
    ]  # fmt: skip
    before, after = _an_action(first), _an_action(last)
    if last is not first and before is not None and after is not None:
        words = f"of an action's joules, from {_actions(first):g} to {_actions(last):g} a call"
        found.append(Finding(f"{model}: saved by chunks", words, saving(before, after), "%", is_modelled=modelled))
    return found


def _table(runs: Sequence[Run]) -> AnswerTable:
    headings = (
        Heading("actions a call"), Heading("an action", "J"), Heading("a call", "J"), Heading("decode", "%"),
        Heading("a call", "s"), Heading("actions a second"),
    )  # fmt: skip
    ordered = sorted(runs, key=lambda run: (run.cell.model, run.cell.output_tokens))
    return AnswerTable("Joules and rate of actions", "model", headings, tuple(_row(run) for run in ordered))


def _row(run: Run) -> tuple[Value, ...]:
    return (
        row_name(run.cell), _actions(run), _an_action(run), run_joules(run), share_or_none(run.report, (DECODE,)),
        expected_of(times(run.report, "call")), _rate(run),
    )  # fmt: skip
