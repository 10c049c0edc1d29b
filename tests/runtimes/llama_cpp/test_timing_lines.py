"""Timing lines as llama-mtmd-cli and llama-server write them; a real server's are read in tests/running."""

import pytest

from wattvlm.assembly import assemble
from wattvlm.runtimes.llama_cpp.timing_lines import TimingLines, is_of_llama_cpp

END_NS = 10_000_000_000

FOR_ONE_ANSWER = """
encoding image slice...
image slice encoded in 709 ms
decoding image batch 1/1, n_tokens_batch = 256
image decoded (batch 1/1) in 11 ms
llama_perf_context_print:        load time =    1000.00 ms
llama_perf_context_print: prompt eval time =     900.00 ms /   280 tokens (    3.21 ms per token,   311.11 tokens per s)
llama_perf_context_print:        eval time =    2000.00 ms /    49 runs   (   40.82 ms per token,    24.50 tokens per s)
llama_perf_context_print:       total time =    3200.00 ms /   329 tokens
"""


def test_a_program_for_one_answer_is_a_call_whose_boundaries_are_as_unsure_as_its_lines():
    lines = TimingLines()
    for line in FOR_ONE_ANSWER.splitlines():
        lines.take(6_000_000_000 if "slice" in line else END_NS, line)
    (call,) = assemble(lines.marks).calls
    assert {phase.name: phase.duration_ns / 1e6 for phase in call.phases} == pytest.approx(
        {"vision_encode": 709.0, "prefill": 900.0, "decode": 2100.0}
    )
    decode = call.phase("decode")
    assert decode is not None
    assert decode.spans[0].boundary_std_ns == pytest.approx(200e6 / 12**0.5, rel=1e-6)
    assert (call.tokens.visual_input, call.tokens.text_input, call.tokens.output, call.decode_steps) == (
        256, 24, 50, 49,
    )  # fmt: skip
    assert call.end_ns == END_NS


def test_requests_of_a_server_are_told_apart_by_their_tasks():
    lines = TimingLines()
    for time_ns, task in ((END_NS, 3), (END_NS + 1000, 8)):
        lines.take(time_ns, f"slot print_timing: id 1 | task {task} | prompt eval time = 7.31 ms / 45 tokens (0.16 ms)")
    for time_ns, task in ((END_NS + 2000, 8), (END_NS + 3000, 3)):
        lines.take(time_ns, f"slot print_timing: id 1 | task {task} |        eval time = 0.81 ms / 6 tokens (0.16 ms)")
        lines.take(time_ns, f"slot print_timing: id 1 | task {task} |       total time = 8.12 ms / 51 tokens")
    calls = assemble(lines.marks).calls
    assert sorted(call.end_ns - END_NS for call in calls) == [0, 1000]
    assert [call.tokens.output for call in calls] == [6, 6]


def test_lines_of_other_kinds_make_no_call():
    lines = TimingLines()
    for line in ("", "eval time = ms", "total time = 3 ms", "\0", "prompt eval time = 1 ms / 2 tokens"):
        lines.take(END_NS, line)
    assert lines.marks == []


def test_only_llama_cpps_programs_are_read_along():
    assert is_of_llama_cpp(("/opt/llama.cpp/build/bin/llama-server", "-m", "model.gguf"))
    assert not is_of_llama_cpp(("vllm", "serve", "llama-3"))
