"""Scripted sessions of vision-language model calls on the virtual machine, with the exact joules of every part."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from wattvlm.host import Host
from wattvlm.probes._virtual_sensors import VirtualSensor
from wattvlm.recording import Recording
from wattvlm.testing.lateness import LateWork
from wattvlm.testing.machine import VirtualMachine
from wattvlm.testing.power import PowerCurve, Ramp, ramp_steps
from wattvlm.trace import COUNTED, PREFILL, PREPROCESS, Mark, MarkKind, ModelFacts, PrefillWork, TokenCounts
from wattvlm.units import NS_PER_MS, NS_PER_S

Powers = Mapping[str, float]
"""Watts by load: a sensor's name, a board or a domain, as VirtualMachine looks them up."""

DRIFT_STEPS = 16

CALL = "call"
BETWEEN = "between phases"
BLOCK = "block"


@dataclass(frozen=True, slots=True)
class ScriptedPhase:
    """A phase of a call: its name, how long it lasts, and the watts of each load in it.

    drift_fraction: these watts are a mean, and power rises by this part of them from start to end (in small steps).
    """

    name: str
    duration_ns: int
    power_w: Powers
    drift_fraction: float = 0.0


@dataclass(frozen=True, slots=True)
class Script:
    """A session: quiet, a metered block of calls with pauses between them, and quiet again.

    phases: of each call in order; a preprocess is marked before the call begins, as programs do. gap_ns: between
    phases, and before the first and after the last. pause_ns + up to dither_ns at random: before each call.
    quiet_ns: before and after the block. idle_w, between_w: watts of each load in quiet, and in gaps and pauses. A
    load that a phase or a gap does not name draws its idle power there. power_variation_fraction,
    duration_variation_fraction: one sigma from call to call. rise_ns, fall_ns: power does not step where work begins
    and ends, but follows it late, by a time constant ("first order") or in a line of this length ("linear").
    work: operations of each call's prefill.
    ended: how the last call ends ("returned", "raised ...", or "" for a process that was killed inside it).
    """

    phases: tuple[ScriptedPhase, ...]
    calls: int = 1
    idle_w: Powers = field(default_factory=lambda: {"gpu": 70.0})
    between_w: Powers = field(default_factory=lambda: {"gpu": 110.0})
    gap_ns: int = 2 * NS_PER_MS
    pause_ns: int = 50 * NS_PER_MS
    dither_ns: int = 100 * NS_PER_MS
    quiet_ns: int = NS_PER_S
    power_variation_fraction: float = 0.0
    duration_variation_fraction: float = 0.0
    rise_ns: int = 0
    fall_ns: int = 0
    ramp: Ramp = "first order"
    tokens: TokenCounts = field(default_factory=TokenCounts)
    images: int | None = None
    batch_size: int = 1
    decode_steps: int | None = None
    model: ModelFacts = field(default_factory=ModelFacts)
    peak_memory_bytes: int | None = None
    work: PrefillWork | None = None
    label: str = ""
    ended: str = "returned"


@dataclass(frozen=True, slots=True)
class Simulation:
    """A simulated Recording, and what really happened.

    truth_j[load][call][part]: joules of a phase, of "call" (with its preprocess) and of "between phases", each between
    its marks. caused_j: the same, each with the joules that its work causes. Where power has ramps, work draws its
    power from some time after its start (a time constant, or half of a line) until some time after its end: these
    joules are those of the ramps, and moved to whose they are. block_j[load]: joules of the whole block. curves: the
    power curves by load.
    """

    recording: Recording
    truth_j: Mapping[str, tuple[Mapping[str, float], ...]]
    caused_j: Mapping[str, tuple[Mapping[str, float], ...]]
    block_j: Mapping[str, float]
    curves: Mapping[str, PowerCurve]


def simulate(
    script: Script,
    sensors: Sequence[VirtualSensor],
    seed: int | None = 0,
    *,
    start_ns: int = 1_000 * NS_PER_S,
    poll_ns: int = 500_000,
    blind_ns: Sequence[tuple[int, int]] = (),
    host: Host | None = None,
) -> Simulation:
    """Play a script to sensors. The same seed gives the same session; None a new one each time.

    blind_ns: stretches after `start_ns` (from, to) in which nothing is read.
    """
    play = _Play(script, random.Random(seed), start_ns)
    play.run()
    blind = [(start_ns + from_ns, start_ns + to_ns) for from_ns, to_ns in blind_ns]
    machine = VirtualMachine(play.curves, sensors, poll_ns=poll_ns, blind_ns=blind)
    recording = machine.record(start_ns, play.now_ns, play.marks, host=host)
    truth_j = {load: tuple(play.truth_j(load)) for load in play.curves}
    caused_j = {load: tuple(play.caused_j(load)) for load in play.curves}
    block_j = {load: curve.energy_j(*play.block_ns) for load, curve in play.curves.items()}
    return Simulation(recording, truth_j, caused_j, block_j, play.curves)


class _Play:
    """One run through a script: curves grow, marks are written, and the windows of all parts are kept."""

    def __init__(self, script: Script, chance: random.Random, start_ns: int) -> None:
        self.marks: list[Mark] = []
        self.now_ns = start_ns
        self.block_ns = (start_ns, start_ns)
        self._script = script
        self._chance = chance
        self._windows: list[dict[str, list[tuple[int, int]]]] = []
        loads = {*script.idle_w, *script.between_w, *(load for phase in script.phases for load in phase.power_w)}
        self.curves = {load: PowerCurve(before_w=script.idle_w.get(load, 0.0)) for load in sorted(loads)}
        self._works = {load: LateWork(curve.before_w) for load, curve in self.curves.items()}
        self._reached_w = {load: curve.before_w for load, curve in self.curves.items()}

    def run(self) -> None:
        """The whole session."""
        script = self._script
        self._spend(script.idle_w, script.quiet_ns)
        begin_ns = self.now_ns
        self._mark("block_start", 1, script.label)
        for number in range(script.calls):
            self._spend(script.between_w, script.pause_ns + self._chance.randrange(script.dither_ns + 1))
            self._call(number + 1, script.ended if number == script.calls - 1 else "returned")
        if script.ended:
            self._spend(script.between_w, script.pause_ns)
            self._mark("block_end", 1, script.label)
        self.block_ns = (begin_ns, self.now_ns)
        self._spend(script.idle_w, script.quiet_ns)

    def caused_j(self, load: str) -> list[dict[str, float]]:
        """Joules that the work of each part of each call causes for one load."""
        work = self._works[load]
        late_s = work.late_s()
        return [
            {name: sum(work.caused_j(*window, late_s) for window in windows) for name, windows in call.items()}
            for call in self._windows
        ]

    def truth_j(self, load: str) -> list[dict[str, float]]:
        """Joules of each part of each call for one load."""
        curve = self.curves[load]
        return [
            {name: sum(curve.energy_j(*window) for window in windows) for name, windows in call.items()}
            for call in self._windows
        ]

    def _call(self, call_id: int, ended: str) -> None:
        windows: dict[str, list[tuple[int, int]]] = {BETWEEN: []}
        self._windows.append(windows)
        prepared = [phase for phase in self._script.phases if phase.name == PREPROCESS]
        inside = [phase for phase in self._script.phases if phase.name != PREPROCESS]
        for phase in prepared:
            self._phase(phase, 0, windows)
        begin_ns = self.now_ns
        self._mark("call_start", call_id, "simulated", text=self._script.label)
        self._facts(call_id)
        for phase in inside:
            self._between(windows)
            if ended == "" and phase is inside[-1]:
                self._killed_in(phase, call_id)
                break
            self._phase(phase, call_id, windows)
            if phase.name == PREFILL:
                self._mark("first_token", call_id)
        else:
            self._between(windows)
            self._mark("call_end", call_id, text=ended)
        before = [window for phase in prepared for window in windows[phase.name]]
        windows[CALL] = [*before, (begin_ns, self.now_ns)]

    def _killed_in(self, phase: ScriptedPhase, call_id: int) -> None:
        """The process dies half way through a phase: no mark is ever written again."""
        self._mark("phase_start", call_id, phase.name)
        self._spend(phase.power_w, phase.duration_ns // 2)

    def _phase(self, phase: ScriptedPhase, call_id: int, windows: dict[str, list[tuple[int, int]]]) -> None:
        begin_ns = self.now_ns
        factor = max(self._chance.gauss(1.0, self._script.power_variation_fraction), 0.1)
        longer = max(self._chance.gauss(1.0, self._script.duration_variation_fraction), 0.1)
        self._mark("phase_start", call_id, phase.name)
        steps = DRIFT_STEPS if phase.drift_fraction else 1
        for step in range(steps):
            drifted = factor * (1.0 + phase.drift_fraction * ((step + 0.5) / steps - 0.5))
            powers_w = {load: drifted * power_w for load, power_w in phase.power_w.items()}
            self._spend(powers_w, round(longer * phase.duration_ns / steps))
        self._mark("phase_end", call_id, phase.name)
        windows.setdefault(phase.name, []).append((begin_ns, self.now_ns))

    def _between(self, windows: dict[str, list[tuple[int, int]]]) -> None:
        begin_ns = self.now_ns
        self._spend(self._script.between_w, self._script.gap_ns)
        windows[BETWEEN].append((begin_ns, self.now_ns))

    def _facts(self, call_id: int) -> None:
        script = self._script
        self._mark("facts", call_id, text=script.model.to_json())
        tokens = {name: getattr(script.tokens, name) for name in COUNTED}
        counts = {
            **tokens, "images": script.images, "batch_size": script.batch_size, "decode_steps": script.decode_steps,
            "peak_memory_bytes": script.peak_memory_bytes,
        }  # fmt: skip
        if script.work is not None:
            counts |= {"prefill_flops": script.work.flops, "visual_prefill_flops": script.work.visual_flops}
        for name, count in counts.items():
            if count is not None:
                self._mark("count", call_id, name, value=count, text=script.tokens.how.get(name, "scripted"))

    def _spend(self, power_w: Powers, duration_ns: int) -> None:
        script = self._script
        for load, curve in self.curves.items():
            asked_w = power_w.get(load, script.idle_w.get(load, 0.0))
            from_w = self._reached_w[load]
            ramp_ns = script.rise_ns if asked_w > from_w else script.fall_ns
            steps, self._reached_w[load] = ramp_steps(script.ramp, from_w, asked_w, ramp_ns, duration_ns)
            for after_ns, step_w in steps:
                curve.append(self.now_ns + after_ns, step_w)
            self._works[load].ask(self.now_ns, asked_w, steps, self._reached_w[load], self.now_ns + duration_ns)
        self.now_ns += duration_ns

    def _mark(self, kind: MarkKind, call_id: int, name: str = "", *, value: float = 0.0, text: str = "") -> None:
        self.marks.append(Mark(self.now_ns, kind, call_id, name, value=value, text=text))
