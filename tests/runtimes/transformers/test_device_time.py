"""Boundaries on a device's own clock, mapped to the host's by causality alone: never by waiting."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wattvlm.assembly import assemble
from wattvlm.runtimes.transformers.device_time import DeviceBoundary, StreamTimes
from wattvlm.runtimes.transformers.runtime import TransformersRuntime
from wattvlm.trace import DECODE, PREFILL, VISION_ENCODE, Mark

MS = 1_000_000


class Machine:
    """A host and a device whose clock is off by `skew_ns`; work ends on the device `lag_ns` after it was asked for."""

    def __init__(self, skew_ns: int = 0) -> None:
        self.now_ns = 1_000 * MS
        self.skew_ns = skew_ns
        self.busy_until_ns = 0
        self.asked = 0

    def monotonic_ns(self) -> int:
        self.now_ns += 100
        return self.now_ns

    def work(self, duration_ns: int) -> None:
        """Queue work; the host goes on at once."""
        self.busy_until_ns = max(self.busy_until_ns, self.now_ns) + duration_ns

    def new_event(self) -> Event:
        return Event(self)


class Event:
    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.passed_ns = 0

    def record(self) -> None:
        self.passed_ns = max(self.machine.busy_until_ns, self.machine.now_ns)

    def query(self) -> bool:
        self.machine.asked += 1
        self.machine.now_ns += 1_000
        return self.machine.now_ns >= self.passed_ns

    def elapsed_time(self, end: Event) -> float:
        skewed = (end.passed_ns + self.machine.skew_ns) - (self.passed_ns + self.machine.skew_ns)
        return skewed / MS


def run(machine: Machine, phases: list[tuple[str, int]]) -> tuple[StreamTimes, dict[str, int]]:
    times = StreamTimes("cuda:0", machine.new_event, machine.monotonic_ns)
    truth = {}
    for name, duration_ns in phases:
        times.record(name)
        truth[name] = max(machine.busy_until_ns, machine.now_ns)
        machine.work(duration_ns)
    return times, truth


def boundaries(times: StreamTimes) -> tuple[DeviceBoundary, ...]:
    found = times.resolve()
    assert found is not None
    return found


def test_nothing_is_resolved_and_nobody_waits_while_the_device_works():
    machine = Machine()
    times, _ = run(machine, [("start", 50 * MS), ("end", 0)])
    before_ns = machine.now_ns
    assert times.resolve() is None
    assert machine.now_ns - before_ns < MS


@given(
    st.integers(-(10**15), 10**15),
    st.lists(st.integers(0, 200 * MS), min_size=1, max_size=6),
    st.integers(0, 500 * MS),
)
def test_every_boundary_lies_within_its_stated_error(skew_ns, durations, late_ns):
    machine = Machine(skew_ns)
    times, truth = run(machine, [*((f"b{index}", each) for index, each in enumerate(durations)), ("end", 0)])
    machine.now_ns = max(machine.now_ns, machine.busy_until_ns) + late_ns
    found = {each.name: each for each in boundaries(times)}
    assert set(found) == set(truth)
    for name, time_ns in truth.items():
        reach_ns = found[name].std_ns * 12**0.5 / 2 + 10
        assert abs(found[name].time_ns - time_ns) <= reach_ns


def test_an_idle_device_asked_at_once_gives_sharp_boundaries():
    machine = Machine()
    times, truth = run(machine, [("start", 0), ("end", 0)])
    for each in boundaries(times):
        assert abs(each.time_ns - truth[each.name]) < 10_000
        assert each.std_ns < 10_000


def test_a_boundary_recorded_again_is_where_it_was_last():
    machine = Machine()
    times, truth = run(machine, [("vision_end", 3 * MS), ("vision_end", 2 * MS), ("end", 0)])
    machine.now_ns = machine.busy_until_ns
    found = {each.name: each.time_ns for each in boundaries(times)}
    assert list(found) == ["vision_end", "end"]
    assert abs(found["end"] - found["vision_end"] - 2 * MS) < 1_000
    assert truth["end"] - truth["vision_end"] == 2 * MS


class LateMachine(Machine):
    """A device that has done nothing until it is released."""

    released = False

    def new_event(self) -> Event:
        machine = self

        class Late(Event):
            def query(self) -> bool:
                return machine.released and super().query()

        return Late(self)


def watched_call(machine, tiny, generate):
    """Marks of one generate whose device boundaries are told by a machine of ours."""
    marks: list[Mark] = []

    def times(device: str) -> StreamTimes:
        return StreamTimes("cuda:0", machine.new_event, machine.monotonic_ns, lambda: 123)

    runtime = TransformersRuntime(times)
    runtime.install(lambda *given: marks.extend(given))
    generate(tiny("llava"))
    return runtime, marks


def test_a_call_on_a_device_has_spans_on_both_clocks(tiny, generate):
    runtime, marks = watched_call(Machine(), tiny, generate)
    runtime.uninstall()
    (call,) = assemble(marks).calls
    assert call.peak_memory_bytes == 123
    for name in (VISION_ENCODE, PREFILL, DECODE):
        phase = call.phase(name)
        assert phase is not None
        assert {span.device for span in phase.spans} == {"host", "cuda:0"}
        assert all(span.duration_ns >= 0 for span in phase.spans)
    assert (call.tokens.visual_input, call.tokens.text_input, call.tokens.output) == (16, 8, 5)


def test_work_that_ends_after_the_block_is_marked_when_it_has_ended(tiny, generate):
    machine = LateMachine()
    runtime, marks = watched_call(machine, tiny, generate)
    runtime.uninstall()
    assert {mark.device for mark in marks} == {"host"}
    machine.released = True
    runtime.settle()
    assert {mark.device for mark in marks} == {"host", "cuda:0"}
    (call,) = assemble(marks).calls
    assert (call.tokens.visual_input, call.tokens.output) == (16, 5)


def test_pieces_of_a_prompt_have_spans_on_the_device_that_do_not_overlap(tiny):
    model, machine = tiny("llama"), Machine()
    marks: list[Mark] = []
    runtime = TransformersRuntime(lambda device: StreamTimes("cuda:0", machine.new_event, machine.monotonic_ns))
    embeddings = model.model.get_input_embeddings()(model.inputs["input_ids"])
    runtime.install(lambda *given: marks.extend(given))
    cache = None
    for start in (0, 3, 6):
        out = model.model(inputs_embeds=embeddings[:, start : start + 3], past_key_values=cache, use_cache=True)
        cache = out.past_key_values
    runtime.settle()
    runtime.uninstall()
    (call,) = assemble(marks).calls
    phase = call.phase(PREFILL)
    assert phase is not None
    spans = [span for span in phase.spans if span.device == "cuda:0"]
    edges = [edge for span in spans for edge in (span.start_ns, span.end_ns)]
    assert len(spans) == 3
    assert edges == sorted(edges)
