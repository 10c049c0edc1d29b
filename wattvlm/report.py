"""Report: the numbers of a recording and pure arithmetic on them. The only thing a renderer ever sees."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from wattvlm import filing
from wattvlm.clock import WallAnchor
from wattvlm.energy import Energy, normal_draws, total
from wattvlm.errors import NotResolved
from wattvlm.host import Host
from wattvlm.parts import CallReport as CallReport
from wattvlm.parts import ChannelUse as ChannelUse
from wattvlm.parts import Idle as Idle
from wattvlm.parts import Overhead as Overhead
from wattvlm.parts import Part as Part
from wattvlm.parts import PartEnergy as PartEnergy
from wattvlm.parts import PowerTrack as PowerTrack
from wattvlm.parts import Ratio as Ratio
from wattvlm.parts import Seen as Seen
from wattvlm.ratios import RATIOS, ratio_of
from wattvlm.repeating import CallScatter, calls_needed
from wattvlm.sensing import DOMAINS, Absence, Domain
from wattvlm.shares import process_share
from wattvlm.trace import COUNTED, ModelFacts, TokenCounts, sum_known
from wattvlm.units import J_PER_WH, NS_PER_S

SCHEMA_VERSION = 1
KIND = "wattvlm report"


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """The joules of a metered block: by phase, domain and token, each with interval and provenance.

    calls: one by one. phases, between, total: means a call over all calls, pooled. block: the whole metered block,
    calls or not. outside: the block's time outside all calls. own_phases: phases of the user's own making, and WAITING.
    tokens: sums over all calls. conditions: the state of the devices meanwhile. power: watts of each domain over the
    block. wall_anchor: one moment on the monotonic clock, which all times are on, and on the wall clock.
    All joules of a domain are measured, or all are modelled; never mixed.
    """

    schema_version: int
    host: Host
    channels: tuple[ChannelUse, ...]
    calls: tuple[CallReport, ...]
    phases: tuple[Part, ...]
    tokens: TokenCounts
    total: Part | None
    between: Part | None
    block: Part
    outside: Part
    own_phases: tuple[Part, ...] = ()
    idle: Mapping[Domain, Idle] = field(default_factory=dict[Domain, Idle])
    absent: tuple[Absence, ...] = ()
    notes: tuple[str, ...] = ()
    overhead: Overhead = field(default_factory=Overhead)
    label: str = ""
    virtual: bool = False
    interrupted: str = ""
    conditions: tuple[Seen, ...] = ()
    power: tuple[PowerTrack, ...] = ()
    wall_anchor: WallAnchor | None = None

    @property
    def domains(self) -> tuple[Domain, ...]:
        """The domains that have joules, measured or modelled, in the order GPU, CPU, RAM, SoC, node."""
        return tuple(domain for domain in DOMAINS if domain in self.block.energies)

    @property
    def accelerator(self) -> Domain | None:
        """The domain that ratios are given for: the GPU (or SoC), else the CPU; None without any joules."""
        return next((domain for domain in ("gpu", "soc", "cpu") if domain in self.domains), None)

    def is_modelled(self, domain: Domain) -> bool:
        """True where the domain's joules are an estimate; KeyError where it has none."""
        return self.block.energies[domain].energy.is_modelled

    @property
    def model(self) -> ModelFacts:
        """Facts of the model that most calls ran (the first of equals); empty facts without calls."""
        facts = Counter(call.model for call in self.calls)
        return max(facts, key=facts.__getitem__) if facts else ModelFacts()

    @property
    def requests(self) -> int:
        """Prompts answered: the sum of batch sizes."""
        return sum(call.batch_size for call in self.calls)

    @property
    def images(self) -> int | None:
        """Images over all calls, or None where a call's are not known."""
        return sum_known(call.images for call in self.calls)

    def phase(self, name: str) -> Part:
        """The pooled phase of that name; KeyError names those there are."""
        for part in (*self.phases, *self.own_phases):
            if part.name == name:
                return part
        raise KeyError(f"no phase {name!r}; there are {[part.name for part in (*self.phases, *self.own_phases)]}")

    @property
    def latency_s(self) -> float | None:
        """Mean time of a call in seconds, the preprocess seen in the block included."""
        return None if self.total is None or self.total.duration_ns is None else self.total.duration_ns / NS_PER_S

    @property
    def ttft_s(self) -> float | None:
        """Mean time to the first token in seconds."""
        mean_ns = _mean(call.ttft_ns for call in self.calls)
        return None if mean_ns is None else mean_ns / NS_PER_S

    @property
    def tpot_s(self) -> float | None:
        """Mean time per output token after the first, in seconds: decode time over decode steps."""
        mean_ns = _mean(call.tpot_ns for call in self.calls)
        return None if mean_ns is None else mean_ns / NS_PER_S

    @property
    def output_tokens_per_s(self) -> float | None:
        """Mean tokens a second while decoding, the sequences of a batch together."""
        return _mean(call.output_tokens_per_s for call in self.calls)

    @property
    def peak_memory_bytes(self) -> int | None:
        """Largest device memory of any call, in bytes."""
        return max((call.peak_memory_bytes for call in self.calls if call.peak_memory_bytes is not None), default=None)

    def joules(self, part: str = "call", domains: Sequence[Domain] | None = None, above_idle: bool = False) -> Energy:
        """Mean joules a call of a phase, or of "call", "between phases", "block" or "outside calls".

        NotResolved where the readings cannot tell them apart.
        domains: whose joules are added (default: the accelerator). above_idle: less idle power over the same time.
        A sum of measured and modelled domains is modelled.
        """
        row = self._part(part)
        if row.unseen:
            raise NotResolved(f"{part} was not seen: {row.unseen}; it has no joules here")
        chosen = domains if domains is not None else (() if self.accelerator is None else (self.accelerator,))
        found = [self._joules_of(row, domain, above_idle) for domain in chosen]
        summed = total(found)
        if summed is None:
            raise NotResolved(f"no sensor and no model gave joules for {part}; `wattvlm doctor` says why and the cure")
        return summed

    def _part(self, name: str) -> Part:
        named = {"block": self.block, "outside calls": self.outside}
        if self.total is not None and self.between is not None:
            named |= {"call": self.total, "between phases": self.between}
        if name not in named and name == "call":
            raise NotResolved("no call of a model was seen in the block; report.block has the joules of the whole")
        return named.get(name) or self.phase(name)

    def _joules_of(self, row: Part, domain: Domain, above_idle: bool) -> Energy:
        if domain not in row.energies:
            raise NotResolved(f"{domain} has no joules here; `wattvlm doctor` says why and the cure")
        found = row.energies[domain]
        if not found.stands_alone:
            together = " + ".join(found.covers)
            raise NotResolved(
                f"{row.name} is not resolved on the {domain}: the readings give {together} as {found.energy}, and for "
                f"{row.name} alone only {found.bounds_j[0]:.3g} to {found.bounds_j[1]:.3g} J. "
                "Cure: more calls, a longer phase, or a faster sensor"
            )
        return found.energy - self.idle_energy(domain, _idle_ns(row)) if above_idle else found.energy

    def idle_energy(self, domain: Domain, duration_ns: float) -> Energy:
        """Joules that the domain would have drawn idle for a duration; NotResolved where idle was never seen.

        Its draws are the same for every row, since one idle power is taken from all of them.
        """
        if domain not in self.idle:
            raise NotResolved(f"idle power of the {domain} was not seen, so joules above idle are absent. "
                              "Cure: leave half a second of quiet inside or after the block")  # fmt: skip
        idle = self.idle[domain]
        seconds = duration_ns / NS_PER_S
        low_j, high_j = (power_w * seconds for power_w in idle.interval_w)
        return Energy(
            idle.power_w * seconds,
            (low_j, high_j),
            "modelled" if idle.modelled else "measured",
            {board: gain_w * seconds for board, gain_w in idle.gains_w.items()},
            normal_draws(idle.power_w, idle.interval_w, domain) * seconds,
        )

    def calls_needed(self, part: str = "call", relative: float = 0.02, domains: Sequence[Domain] | None = None) -> int:
        """How many calls like these, in all, bring the half-width of a part's 95 % interval to `relative` of its value.

        The interval is that of the *expected* call: what the readings leave unknown, and how much calls differ; it is
        wider than the table's, which is of the calls that ran. domains: as in `joules`. The gain of a board is apart.
        NotResolved where no number of calls does it: each kind of boundary may be off by 0.1 ms in all calls alike,
        sensors that are not pooled keep their bounds, and a model its error. ValueError for a `relative` that is not
        positive.
        """
        if not relative > 0:
            raise ValueError(f"a half-width of {relative} of the value has no meaning: it must be positive")
        return calls_needed(part, self.scatter(part, domains), relative, len(self.calls))

    def scatter(self, part: str = "call", domains: Sequence[Domain] | None = None) -> CallScatter:
        """How a part's joules scatter over calls, and what no repeating removes; NotResolved as in `calls_needed`."""
        row = self._part(part)
        chosen = domains if domains is not None else (() if self.accelerator is None else (self.accelerator,))
        added: CallScatter | None = None
        for domain in chosen:
            found = row.energies.get(domain)
            if found is None or found.scatter is None:
                raise NotResolved(
                    f"more calls do not narrow {part} on the {domain}, or it is not known how many would: it is "
                    "known of counters whose ticks are seen, and of what was pooled over five calls and more. Cure: "
                    "five calls that do not overlap, or a sensor with an energy counter"
                )
            added = found.scatter if added is None else added.plus(found.scatter)
        if added is None:
            raise NotResolved(f"no sensor and no model gave joules for {part}; `wattvlm doctor` says why and the cure")
        return added

    def process_share(self, domain: Domain = "cpu") -> Energy:
        """The part of the block's joules that falls to the measured program and all that it started, as a model.

        "cpu": its part of all processes' CPU time. "gpu": of all processes' SM utilisation. Never in a total. Its
        interval does not hold the model's own error. NotResolved where the share was not seen, or there is no sensor.
        """
        return process_share(domain, self.block.energies.get(domain), self.channels, self.conditions)

    def per(self, what: str, domains: Sequence[Domain] | None = None, above_idle: bool = False) -> Energy:
        """Joules per request, image, visual_token, ...: any of `wattvlm.ratios.RATIOS`.

        NotResolved says which count or which phase is missing. domains and above_idle as in `joules`.
        """
        ratio = self.ratio(what, domains, above_idle)
        if ratio.energy is None:
            raise NotResolved(f"joules per {ratio.label}: {ratio.why_not}")
        return ratio.energy

    def ratio(self, what: str, domains: Sequence[Domain] | None = None, above_idle: bool = False) -> Ratio:
        """The same as `per`, with the count, the words for what is divided, and the reason where there is no number."""
        return ratio_of(self, what, domains, above_idle)

    @property
    def joules_per_request(self) -> Energy:
        """Joules of the whole call over prompts in it (accelerator, gross)."""
        return self.per("request")

    @property
    def joules_per_image(self) -> Energy:
        """Joules of vision encode and the visual share of prefill, over images (accelerator, gross)."""
        return self.per("image")

    @property
    def joules_per_image_by_flops(self) -> Energy:
        """The same with prefill shared by operations, attention's quadratic part included (accelerator, gross)."""
        return self.per("image_by_flops")

    @property
    def joules_per_visual_token(self) -> Energy:
        """The joules of joules_per_image over visual tokens entering the language model: a unit price in one model."""
        return self.per("visual_token")

    @property
    def joules_per_visual_token_by_flops(self) -> Energy:
        """The joules of joules_per_image_by_flops over visual tokens entering the language model."""
        return self.per("visual_token_by_flops")

    @property
    def joules_per_prompt_token(self) -> Energy:
        """Joules of prefill over prompt tokens computed, cache hits left out (accelerator, gross)."""
        return self.per("prompt_token")

    @property
    def joules_per_output_token(self) -> Energy:
        """Joules of the whole call over output tokens: the figure of the field (accelerator, gross)."""
        return self.per("output_token")

    @property
    def joules_per_answer_token(self) -> Energy:
        """Joules of the whole call over output tokens that are no reasoning: what is read has paid for all."""
        return self.per("answer_token")

    @property
    def joules_per_reasoning_token(self) -> Energy:
        """Joules of reasoning's share of decode, by tokens, over reasoning tokens (accelerator, gross)."""
        return self.per("reasoning_token")

    @property
    def joules_per_total_token(self) -> Energy:
        """Joules of the whole call over prompt and output tokens (accelerator, gross)."""
        return self.per("total_token")

    @property
    def decode_joules_per_token(self) -> Energy:
        """Joules of decode over output tokens after the first (accelerator, gross)."""
        return self.per("decode_token")

    @property
    def wh_per_1000_requests(self) -> Energy:
        """Watt-hours per 1,000 requests, as an Energy whose numbers are Wh: joules per request / 3.6."""
        return self.joules_per_request.scaled(1000.0 / J_PER_WH)

    def ratios(self) -> tuple[Ratio, ...]:
        """Every ratio of the accelerator, with the reason where there is no number."""
        return tuple(self.ratio(name) for name in RATIOS)

    def metrics(self) -> dict[str, float | None]:
        """Plain numbers under their one name each; None where a number is not known or not resolved."""
        found: dict[str, float | None] = {
            ratio.name: None if ratio.energy is None else ratio.energy.middle_j for ratio in self.ratios()
        }
        per_request = found["joules_per_request"]
        found["wh_per_1000_requests"] = None if per_request is None else per_request * 1000.0 / J_PER_WH
        found |= {
            "ttft_s": self.ttft_s, "tpot_s": self.tpot_s, "latency_s": self.latency_s,
            "output_tokens_per_s": self.output_tokens_per_s, "peak_memory_bytes": self.peak_memory_bytes,
            "requests": self.requests, "images": self.images,
        }  # fmt: skip
        found |= {f"{name}_tokens": getattr(self.tokens, name) for name in COUNTED}
        return found

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data."""
        plain: dict[str, Any] = filing.to_plain(self)
        del plain["schema_version"]
        return plain

    @classmethod
    def from_dict(cls, plain: Any) -> Report:
        """The report in plain data; ReportFormatError where it does not fit."""
        if isinstance(plain, dict):
            plain = {**cast("dict[str, Any]", plain), "schema_version": SCHEMA_VERSION}
        return filing.from_plain(cls, plain, "report")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report to a JSON file; gzip where the name ends in .gz."""
        filing.save(path, KIND, SCHEMA_VERSION, self.to_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Report:
        """The report in a file that `save` wrote; ReportFormatError for anything else."""
        return filing.load(path, KIND, SCHEMA_VERSION, cls.from_dict)

    def __repr__(self) -> str:
        joules = {domain: str(self.block.energies[domain].energy) for domain in self.domains}
        return f"<wattvlm Report: {len(self.calls)} calls, block {joules or 'no joules'}>"

    def __str__(self) -> str:
        from wattvlm.renderers import render

        return str(render(self, "console"))

    def _repr_html_(self) -> str:
        from wattvlm.renderers import render

        return str(render(self, "notebook"))


def _idle_ns(row: Part) -> float:
    return (row.duration_ns or 0.0) if row.idle_ns is None else row.idle_ns


def _mean(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


WAITING = "waiting"
"""The own phase in which requests of a server waited and none was at work; its joules are no request's."""

PREPROCESS_UNSEEN = "before the block"
"""What a report says of a preprocess that happened where no meter was watching; it is not 0."""
