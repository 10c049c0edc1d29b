"""What a Report is made of: its rows, calls, sensors, idle powers and ratios. All nouns, no arithmetic over rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wattvlm.energy import Energy
from wattvlm.repeating import CallScatter
from wattvlm.sensing import Channel, Domain, Quantity
from wattvlm.trace import DECODE, ModelFacts, PrefillWork, TokenCounts
from wattvlm.units import NS_PER_S


@dataclass(frozen=True, slots=True, eq=False)
class PartEnergy:
    """Joules of one part of a run in one domain.

    energy: joules of all parts in `covers` together. covers: their names; more than one = the readings cannot tell
    them apart, and each of them shows the same sum. resolved: False where even this sum's interval is wider than
    half of its value. bounds_j: what the readings alone allow for this one part. ticks: sensor updates inside it.
    scatter: of a pooled row, what more calls would do for this one part; None where they would do nothing.
    """

    energy: Energy
    covers: tuple[str, ...]
    resolved: bool
    bounds_j: tuple[float, float]
    ticks: int | None = None
    scatter: CallScatter | None = None

    @property
    def stands_alone(self) -> bool:
        """True where these joules are this one part's own and are resolved."""
        return self.resolved and len(self.covers) == 1


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One row of a report: a phase, the whole call, what lies between phases, or a phase of the user's own.

    duration_ns, energies: time and, by domain, joules; of a pooled row their means over all calls, a call without
    this phase counting with nothing (a domain without a sensor and without a model is not in it). calls: how many
    calls had it. idle_ns: the part of its time whose idle power is its own, where calls shared it (else None: all of
    it). unseen: why there is nothing, e.g. "before the block"; then energies is empty and duration_ns None.
    spans_ns: when it was, monotonic (start, end) in order; of a pooled row, and of what lies between others, empty.
    """

    name: str
    calls: int
    duration_ns: float | None
    energies: Mapping[Domain, PartEnergy] = field(default_factory=dict[Domain, PartEnergy])
    unseen: str = ""
    idle_ns: float | None = None
    spans_ns: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class PowerTrack:
    """Power of one domain over the block, in steps: what its sensors say, at most 2,000 steps long.

    edge_ns: monotonic, one more than there are steps. power_w: mean watts of each step, so that they add up to the
    domain's joules. least_w, most_w: of the sensors' own steps that were thinned into it; equal to power_w where
    nothing was. tick_ns: when the sensors' values changed; empty where that is not seen, or more than 2,000.
    """

    domain: Domain
    edge_ns: NDArray[np.int64]
    power_w: NDArray[np.float64]
    least_w: NDArray[np.float64]
    most_w: NDArray[np.float64]
    tick_ns: NDArray[np.int64]
    modelled: bool = False

    def __post_init__(self) -> None:
        lengths = {len(self.edge_ns) - 1, len(self.power_w), len(self.least_w), len(self.most_w)}
        if len(lengths) > 1 or not len(self.power_w):
            raise ValueError(f"the power of the {self.domain} has columns of {sorted(lengths)} steps")


@dataclass(frozen=True, slots=True)
class Seen:
    """The range of one condition in the block: of a device, or (pid, process) of one process on it.

    least, mean, most: in the quantity's own unit. is_own: the process is the measured program or was started by it;
    None where that cannot be told, and for devices.
    """

    device: str
    quantity: Quantity
    looks: int
    least: float
    mean: float
    most: float
    pid: int = 0
    process: str = ""
    is_own: bool | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Idle:
    """Power of a domain while nothing ran: watts, its 95 % interval, and for how long it was seen.

    drift_w: how far its power was from the lowest to the highest of several quiet moments, where that is more than
    their own errors; the interval holds all of them. gains_w: board -> watts that the 95 % half-width of its unknown
    gain amounts to. clock_hz: the clock at which the device was seen idle, of one device and where it is known.
    """

    power_w: float
    interval_w: tuple[float, float]
    seen_ns: int
    modelled: bool = False
    drift_w: float = 0.0
    gains_w: Mapping[str, float] = field(default_factory=dict[str, float])
    clock_hz: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class CallReport:
    """One call: its parts, its tokens, its times. energies of parts are this call's own (bounds). lane: its thread.

    work: operations of its prefill, where they are known.
    """

    call_id: int
    label: str
    runtime: str
    ended: str
    start_ns: int
    duration_ns: int
    ttft_ns: int | None
    tpot_ns: float | None
    batch_size: int
    images: int | None
    decode_steps: int | None
    peak_memory_bytes: int | None
    tokens: TokenCounts
    model: ModelFacts
    total: Part
    between: Part
    phases: tuple[Part, ...] = ()
    lane: int = 0
    work: PrefillWork | None = None

    @property
    def output_tokens_per_s(self) -> float | None:
        """Tokens a second while decoding, all sequences of the batch together; None without a decode phase."""
        decode = next((part for part in self.phases if part.name == DECODE), None)
        if decode is None or not decode.duration_ns or self.tokens.output is None:
            return None
        later_tokens = self.tokens.output - self.batch_size
        return later_tokens / decode.duration_ns * NS_PER_S if later_tokens > 0 else None


@dataclass(frozen=True, slots=True, eq=False)
class ChannelUse:
    """How one sensor did in this run: readings, updates (ticks) seen, the period and smallest step as observed."""

    channel: Channel
    readings: int
    ticks: int | None = None
    observed_period_ns: float | None = None
    observed_step: float | None = None
    gaps: int = 0
    in_totals: bool = True


@dataclass(frozen=True, slots=True)
class Overhead:
    """What measuring took: the sampler's share of a core, and its CPU time."""

    sampler_core_fraction: float | None = None
    sampler_cpu_ns: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Ratio:
    """Joules per something: the metric's one name, how many of it a call has, what is divided, and why not."""

    name: str
    label: str
    count: float | None
    energy: Energy | None
    divided: str
    why_not: str = ""
