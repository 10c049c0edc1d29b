"""Study: what a prefix cache saves where a picture is asked about again, by the order of picture and text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf

from wattvlm.answers import Answer, AnswerTable, Finding, Heading, Picture, Series, Value
from wattvlm.bench import Design
from wattvlm.bench.subjects import TransformersSubject
from wattvlm.comparison import Expected
from wattvlm.questions._figures import part_joules, run_joules, series_of, times
from wattvlm.questions._prefixes import AGAIN, BETWEEN, COLD, FIRST, LAST, ORDERS, PrefixSubject, named
from wattvlm.questions.asked import Asked, Run, design_lines
from wattvlm.studies.compare import per_request
from wattvlm.studies.expected import expected_of
from wattvlm.studies.quotients import difference, quotient, saving, scaled, verdict
from wattvlm.trace import PREFILL, VISION_ENCODE

NAME = "prefix-cache"
QUESTION = "What does a prefix cache save, and how much does the order of picture and text decide?"

OUTPUT_TOKENS = 8


def design(asked: Asked) -> Design:
    """Each model with nothing kept, and with what a cache keeps by the order of picture and question."""
    models = tuple(f"{model}{BETWEEN}{order}" for model in asked.models for order in ORDERS)
    return replace(asked, models=models).design(output_tokens=(OUTPUT_TOKENS,))


def subject(asked: Asked) -> PrefixSubject:
    """Models by transformers that go on from kept keys and values."""
    return PrefixSubject(TransformersSubject(random_weights=asked.random_weights))


def answer(runs: Sequence[Run], design: Design) -> Answer:
    """What each order saves against nothing kept, and what one visual token in the cache is worth."""
    groups = _groups(runs)
    findings = [finding for name, by_order in groups.items() for finding in _findings(name, by_order)]
    orders = tuple(order for order in ORDERS if any(order in by_order for by_order in groups.values()))
    return Answer(
        NAME, QUESTION,
        (*design_lines(design, runs, "the prompt's tokens but for their order, the picture, the answer's length"),
         "; ".join(f"{order}: {ORDERS[order]}" for order in orders)),
        tuple(findings), (_table(groups),),
        (Picture("Joules of a request by what is kept", "", "J a request", _series(groups, orders), orders),),
        (
            "the cache holds what is asked for in every call; where a part of requests hits, savings are that part of "
            "these. A served model's cached tokens are counted where its engine tells them (vLLM, llama.cpp)",
            "the request that fills the cache pays in full, as with nothing kept",
            "the copy of what is kept lies before a call and is not in its joules; an engine with paged memory makes "
            "none. What holding it in memory costs others is not asked",
            "pictures are preprocessed in each call; an engine that knows them again by a hash spares that too",
            "tokens are put in another order as they are: whether a model answers as well is not asked",
        ),
        any(run.is_modelled for run in runs), any(run.report.virtual for run in runs),
    )  # fmt: skip


def _groups(runs: Sequence[Run]) -> dict[str, dict[str, Run]]:
    """Runs of one model and one setting, by what is kept."""
    bare = [replace(run, cell=replace(run.cell, model=named(run.cell)[0])) for run in runs]
    orders = {id(each): named(run.cell)[1] for each, run in zip(bare, runs)}
    return {name: {orders[id(run)]: run for run in alike} for name, alike in series_of(bare).items()}


def _findings(name: str, by_order: Mapping[str, Run]) -> list[Finding]:
    cold = by_order.get(COLD)
    if cold is None:
        return [Finding(f"{name}: {COLD}", "was not measured, so that nothing can be held against it")]
    found = [each for order in (FIRST, LAST, AGAIN) if order in by_order for each in _of(name, order, by_order, cold)]
    if FIRST in by_order and LAST in by_order:
        found += _order(name, by_order[FIRST], by_order[LAST])
    return found


def _of(name: str, order: str, by_order: Mapping[str, Run], cold: Run) -> list[Finding]:
    run = by_order[order]
    modelled = cold.is_modelled or run.is_modelled
    words = f"of a request's joules; {_hits(run)}"
    return [
        Finding(f"{name}: joules saved by {order}", words, _saved(cold, run), "%", is_modelled=modelled),
        Finding(f"{name}: TTFT by {order}", "times as fast a first token", _faster(cold, run)),
    ]


def _order(name: str, first: Run, last: Run) -> list[Finding]:
    """What the visual tokens alone are worth in the cache: all else is kept, or computed, in both orders."""
    modelled = first.is_modelled or last.is_modelled
    before, after = run_joules(first), run_joules(last)
    dearer = None if before is None or after is None else quotient(after, before)
    visual = per_request(last.report, "visual_input")
    spared_j, spared_s = (
        None if a is None or b is None or not visual else _a_token(difference(a, b), visual)
        for a, b in ((after, before), (_to_first(last), _to_first(first)))
    )
    count = "their number is not known" if not visual else f"{visual:g} of them"
    return [
        Finding(
            f"{name}: picture after the question", "times the joules of the picture before it", dearer, "",
            "a picture after the question costs more", verdict(dearer, 1.0, inf, is_modelled=modelled),
            is_modelled=modelled,
        ),
        Finding(f"{name}: one cached visual token", f"saved of encoder and prefill; {count}", spared_j, "J",
                is_modelled=modelled),
        Finding(f"{name}: one cached visual token sooner", f"of the time to the first token; {count}", spared_s, "s"),
    ]  # fmt: skip


def _hits(run: Run) -> str:
    cached, prompt = per_request(run.report, "cached_input"), _prompt(run)
    if cached is None:
        return "how many tokens came from the cache was not counted"
    if not cached:
        return "no token of the prompt came from the cache"
    return f"{cached:g} of the prompt's {prompt:g} tokens came from the cache" if prompt else f"{cached:g} tokens hit"


def _prompt(run: Run) -> float | None:
    prompt = run.report.tokens.prompt
    return None if prompt is None or not run.report.requests else prompt / run.report.requests


def _a_token(found: Expected | None, count: float) -> Expected | None:
    return None if found is None else scaled(found, 1.0 / count)


def _to_first(run: Run) -> Expected | None:
    return expected_of(times(run.report, "ttft"))


def _faster(cold: Run, run: Run) -> Expected | None:
    before, after = _to_first(cold), _to_first(run)
    return None if before is None or after is None else quotient(before, after)


def _saved(cold: Run, run: Run) -> Expected | None:
    before, after = run_joules(cold), run_joules(run)
    return None if before is None or after is None else saving(before, after)


def _series(groups: Mapping[str, Mapping[str, Run]], orders: Sequence[str]) -> tuple[Series, ...]:
    return tuple(
        Series(name, tuple(
            (float(orders.index(order)), found)
            for order, run in by_order.items() if (found := run_joules(run)) is not None
        ))
        for name, by_order in groups.items()
    )  # fmt: skip


def _table(groups: Mapping[str, Mapping[str, Run]]) -> AnswerTable:
    headings = (
        Heading("cached"), Heading("of prompt", "%"), Heading("a request", "J"), Heading("encode", "J"),
        Heading("prefill", "J"), Heading("saved", "%"), Heading("TTFT", "s"),
    )  # fmt: skip
    alone = len(groups) == 1
    rows = [
        (order if alone else f"{name} {order}", *_row(by_order[order], by_order.get(COLD)))
        for name, by_order in groups.items() for order in ORDERS if order in by_order
    ]  # fmt: skip
    return AnswerTable("What is kept, and what it saves", "order" if alone else "model and order", headings,
                       tuple(rows))  # fmt: skip


def _row(run: Run, cold: Run | None) -> tuple[Value, ...]:
    report, prompt = run.report, _prompt(run)
    cached = 0.0 if run is cold else per_request(report, "cached_input")  # uncounted is not 0 where something is kept
    part = None if cached is None or not prompt else cached / prompt
    is_other = cold is not None and cold is not run
    return (
        cached, part, run_joules(run), part_joules(report, VISION_ENCODE),
        part_joules(report, PREFILL), _saved(cold, run) if is_other and cold else None, _to_first(run),
    )  # fmt: skip
