"""Requests, tokens and times of servers of several kinds, from looks at their metrics."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.watching.pages import LLAMA_CPP, SGLANG, TGI, VLLM, page
from wattvlm.watching.metrics import parse, quantile
from wattvlm.watching.served import Look, served

pytest.importorskip("prometheus_client", reason="needs the extra wattvlm[prometheus]")


def looks(shape, *states):
    """A look a second at a server whose (requests, prompt, output, running) were these."""
    return [Look(n * 10**9, parse(page(shape, *state))) for n, state in enumerate(states)]


@pytest.mark.parametrize("shape", [VLLM, SGLANG, TGI])
def test_a_servers_counts_are_found_by_their_names_words_whoever_made_it(shape):
    found = served(
        looks(shape, (10, 100, 50, 0), (10, 100, 50, 2), (13, 160, 95, 1), (15, 200, 120, 0), (15, 200, 120, 0))
    )
    assert found is not None
    assert (found.requests, found.prompt_tokens, found.output_tokens) == (5, 100, 70)
    assert (found.start_ns, found.end_ns) == (0, 3 * 10**9)
    assert (found.at_once, found.most_at_once) == (0.75, 2)
    assert found.tpot_s[0.5] == (0.01, math.inf)
    assert found.lines == ()


@pytest.mark.parametrize("shape", [VLLM, SGLANG])
def test_quantiles_are_the_edges_of_the_servers_buckets(shape):
    found = served(looks(shape, (10, 0, 0, 0), (15, 1, 1, 0)))
    assert found is not None
    assert found.ttft_s == {0.5: (0.1, 0.25), 0.9: (0.1, 0.25), 0.99: (0.1, 0.25)}


def test_a_server_that_does_not_count_requests_has_none_and_not_zero():
    found = served(looks(LLAMA_CPP, (0, 100, 50, 0), (0, 160, 95, 1), (0, 160, 95, 0)))
    assert found is not None
    assert found.requests is None
    assert (found.prompt_tokens, found.output_tokens, found.ttft_s) == (60, 45, {})


def test_quiet_before_and_after_the_work_is_not_in_the_window():
    found = served(looks(VLLM, *[(1, 10, 10, 0)] * 3, (2, 20, 30, 0), *[(2, 20, 30, 0)] * 5))
    assert found is not None
    assert (found.start_ns, found.end_ns) == (2 * 10**9, 3 * 10**9)


def test_requests_under_way_at_an_edge_are_said():
    found = served(looks(VLLM, (1, 10, 10, 3), (2, 20, 30, 3)))
    assert found is not None
    assert [line.split(" were")[0] for line in found.lines] == ["3 requests"] * 2


def test_a_server_without_work_served_nothing():
    assert served(looks(VLLM, (5, 10, 10, 0), (5, 10, 10, 0))) is None
    assert served(looks("# TYPE up gauge\nup 1\n", (), ())) is None
    assert served([]) is None


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), min_size=1, max_size=20))
def test_no_request_is_lost_or_counted_twice_when_a_server_begins_anew(steps):
    """Each step answers some requests; where it says so the server was restarted just before, and counts from 0."""
    count, states, answered = 0, [(0, 0, 0, 0)], 0
    for requests, restarted in steps:
        count = requests if restarted else count + requests
        answered += requests
        states.append((count, 0, count, 0))
    found = served(looks(VLLM, *states))
    restarts_that_hide = any(after[0] >= before[0] and restarted for (_, restarted), before, after in
                             zip(steps, states, states[1:], strict=False))  # fmt: skip
    if found is not None and not restarts_that_hide:
        assert found.requests == answered


@given(st.lists(st.floats(0.001, 9.0), min_size=1, max_size=60), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_quantile_lies_between_the_edges_that_are_given_for_it(observed, fraction):
    edges = [0.01, 0.1, 0.5, 1.0, 5.0, math.inf]
    buckets = {edge: float(sum(value <= edge for value in observed)) for edge in edges}
    bracket = quantile(buckets, fraction)
    assert bracket is not None
    true = sorted(observed)[math.ceil(fraction * len(observed)) - 1]
    assert bracket[0] <= true <= bracket[1]


def test_nothing_observed_has_no_quantile():
    assert quantile({0.1: 0.0, math.inf: 0.0}, 0.5) is None
