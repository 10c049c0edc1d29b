"""Study: joules against the length of the answer. What one more token costs, and what halving the limit saves."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from wattvlm.answers import Answer, AnswerTable, Finding, Heading, Picture, Series, Value
from wattvlm.bench import Design
from wattvlm.comparison import Expected
from wattvlm.errors import NotResolved
from wattvlm.questions._figures import joules, row_name, share_or_none, slope, times
from wattvlm.questions.asked import Asked, Run, by_model, design_lines
from wattvlm.studies.expected import expected_of, expected_ratio
from wattvlm.studies.quotients import quotient, saving, scaled, verdict
from wattvlm.trace import DECODE, PREFILL

NAME = "output-length"
QUESTION = "How do joules grow with the length of the answer, and what does halving the limit save?"

LENGTHS = (8, 16, 32, 64)

DECODE_SHARE = (0.86, 0.97)
DECODE_PUBLISHED = "86 to 97 % on edge GPUs, 46 % for Qwen2.5-VL-3B at 896 x 896 (arXiv 2607.09520)"
HALVING_PUBLISHED = "about 45 % from 256 to 128 tokens (arXiv 2607.09520)"
TIMES_PUBLISHED = "11 to 39 times (arXiv 2607.09520)"
FAR_TIMES = 137.0
MOST_OF_TIME_FRACTION = 0.99


def design(asked: Asked) -> Design:
    """Answers of several lengths to the same prompt and picture."""
    return asked.design(output_tokens=LENGTHS)


def answer(runs: Sequence[Run], design: Design) -> Answer:
    """Slope, shares, and savings of each model."""
    findings: list[Finding] = []
    series: list[Series] = []
    for model, of_model in by_model(runs).items():
        ordered = sorted(of_model, key=lambda run: run.cell.output_tokens)
        findings += _findings(model, ordered)
        series.append(_series(model, ordered))
    return Answer(
        NAME, QUESTION,
        design_lines(design, runs, "the prompt, the picture and the batch; every answer is forced to its length"),
        tuple(findings), (_table(runs),),
        (Picture("Joules of a request by the length of its answer", "output tokens", "J a request", tuple(series)),),
        (
            "a slope holds between the shortest and the longest answer that was measured; context grows with each "
            "token, so that longer answers cost more a token",
            "times are of one request alone (batch 1 unless asked otherwise); a batch shares the reading of weights",
        ),
        any(run.is_modelled for run in runs), any(run.report.virtual for run in runs),
    )  # fmt: skip


def _findings(model: str, runs: Sequence[Run]) -> list[Finding]:
    longest = runs[-1]
    modelled = any(run.is_modelled for run in runs)
    found = [_one_more(model, runs, modelled), _share(model, longest, modelled)]
    halves = [run for run in runs if 2 * run.cell.output_tokens == longest.cell.output_tokens]
    if halves:
        found.append(_halving(model, halves[0], longest, modelled))
    return [*found, *_steps(model, longest)]


def _one_more(model: str, runs: Sequence[Run], modelled: bool) -> Finding:
    what = f"{model}: one more output token"
    found, words = slope(runs, "output")
    return Finding(what, words, found, "J", is_modelled=modelled)


def _share(model: str, run: Run, modelled: bool) -> Finding:
    found = share_or_none(run.report, (DECODE,))
    return Finding(
        f"{model}: decode's share at {run.cell.output_tokens} tokens",
        "of a request's joules",
        found, "%", f"between {DECODE_SHARE[0] * 100:g} and {DECODE_SHARE[1] * 100:g} %",
        verdict(found, *DECODE_SHARE, is_modelled=modelled), DECODE_PUBLISHED, modelled,
    )  # fmt: skip


def _halving(model: str, half: Run, whole: Run, modelled: bool) -> Finding:
    before, after = joules(whole.report), joules(half.report)
    found = None if before is None or after is None else saving(before, after)
    return Finding(
        f"{model}: halving the answer",
        f"of a request's joules are saved from {whole.cell.output_tokens} to {half.cell.output_tokens} tokens",
        found, "%", published=HALVING_PUBLISHED, is_modelled=modelled,
    )  # fmt: skip


def _steps(model: str, run: Run) -> list[Finding]:
    """A decode step against a prompt token of prefill, in time: times are measured whatever the joules are."""
    prefill, decode = (_seconds(run, name) for name in (PREFILL, DECODE))
    prompt = run.report.tokens.prompt
    steps = [call.decode_steps for call in run.report.calls]
    if prefill is None or decode is None or not prompt or None in steps or not any(steps):
        return []
    steps_a_call = sum(step or 0 for step in steps) / len(steps)
    prompt_a_call = prompt / len(run.report.calls)
    ratio = quotient(decode, prefill)
    ratio = None if ratio is None else scaled(ratio, prompt_a_call / steps_a_call)
    part = expected_of([decoded / took for decoded, took in zip(times(run.report, DECODE), times(run.report, "call"))])
    return [
        Finding(f"{model}: time of a decode step", "times that of a prompt token in prefill", ratio, "",
                f"up to {FAR_TIMES:g} times", verdict(ratio, 0.0, FAR_TIMES), TIMES_PUBLISHED),
        Finding(f"{model}: decode's share of the time at {run.cell.output_tokens} tokens", "of a request's time",
                part, "%", f"over {MOST_OF_TIME_FRACTION * 100:g} %", verdict(part, MOST_OF_TIME_FRACTION, inf)),
    ]  # fmt: skip


def _seconds(run: Run, name: str) -> Expected | None:
    return expected_of(times(run.report, name))


def _series(model: str, runs: Sequence[Run]) -> Series:
    points = [(float(run.cell.output_tokens), found) for run in runs if (found := joules(run.report)) is not None]
    return Series(model, tuple(points))


def _table(runs: Sequence[Run]) -> AnswerTable:
    headings = (
        Heading("output"), Heading("a request", "J"), Heading("an output token", "J"), Heading("decode", "%"),
        Heading("TTFT", "s"), Heading("a request", "s"),
    )  # fmt: skip
    ordered = sorted(runs, key=lambda run: (run.cell.model, run.cell.output_tokens))
    return AnswerTable("Joules and time by length", "cell", headings, tuple(_row(run) for run in ordered))


def _row(run: Run) -> tuple[Value, ...]:
    report = run.report
    try:
        an_output = expected_ratio(report, "output_token")
    except NotResolved:
        an_output = None
    return (
        row_name(run.cell), float(run.cell.output_tokens), joules(report), an_output,
        share_or_none(report, (DECODE,)), expected_of(times(report, "ttft")), expected_of(times(report, "call")),
    )  # fmt: skip
