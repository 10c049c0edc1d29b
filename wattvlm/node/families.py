"""What a node tells of itself: families of samples, the same for Prometheus and for OpenTelemetry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from wattvlm import __version__
from wattvlm.host import Host
from wattvlm.node.sensors import Seen
from wattvlm.node.tallies import Tally, in_totals
from wattvlm.sensing import Absence
from wattvlm.units import S_PER_NS

LONGEST_TEXT = 160
"""Of an absence's words in a label; the whole of them is what `wattvlm doctor` prints."""

Labels = Mapping[str, str]
Kind = Literal["counter", "gauge"]


@dataclass(frozen=True, slots=True)
class Family:
    """Samples of one name. name: as Prometheus has it, without _total; unit: J, W, s, By, or 1 for a count.

    labels: of each sample, in this order; samples: the values of its labels and its number.
    """

    name: str
    kind: Kind
    unit: str
    words: str
    labels: tuple[str, ...]
    samples: tuple[tuple[tuple[str, ...], float], ...]


def node_families(host: Host, seen: Seen, now_ns: int) -> Iterator[Family]:
    """All that is told of a node's host and sensors."""
    yield Family(
        "wattvlm_build", "gauge", "1", "The version that counts; always 1.", ("version",), (((__version__,), 1.0),)
    )
    yield from _of_host(host, seen.facts)
    chosen = in_totals(seen.tallies)
    yield _energies(chosen)
    yield _powers([tally for tally in chosen if tally.is_fresh(now_ns)])
    yield _sensors(seen.tallies)
    yield from _health(seen.tallies, now_ns)
    yield _absences(seen.absent)


def _of_host(host: Host, facts: Labels) -> Iterator[Family]:
    labels = ("name", "system", "cpu", "driver", "python")
    values = (host.name, host.system, host.cpu, facts.get("driver", ""), host.python)
    yield Family("wattvlm_host_info", "gauge", "1", "What machine this is; always 1.", labels, ((values, 1.0),))
    if host.cpu_threads is not None:
        words = "Hardware threads of this machine."
        yield Family("wattvlm_host_cpu_threads", "gauge", "1", words, (), (((), float(host.cpu_threads)),))
    if host.memory_bytes is not None:
        words = "Memory of this machine."
        yield Family("wattvlm_host_memory_bytes", "gauge", "By", words, (), (((), float(host.memory_bytes)),))


def method_of(tally: Tally) -> str:
    """As reports have it: a model is an estimate, all else is measured."""
    return "modelled" if tally.channel.method == "model" else "measured"


def _energies(chosen: Sequence[Tally]) -> Family:
    found: dict[tuple[str, ...], float] = {}
    for tally in chosen:  # two rails of one device are one series
        labels = (tally.channel.domain, "all", tally.channel.board, method_of(tally))
        found[labels] = found.get(labels, 0.0) + tally.energy_j
    words = "Joules up to the sensor's newest reading, since this began."
    return Family(
        "wattvlm_energy_joules", "counter", "J", words, ("domain", "phase", "device", "method"), tuple(found.items())
    )


def _powers(chosen: Sequence[Tally]) -> Family:
    found: dict[tuple[str, ...], float] = {}
    unknown: set[tuple[str, ...]] = set()
    for tally in chosen:
        labels = (tally.channel.domain, tally.channel.board, method_of(tally))
        if tally.power_w is None:
            unknown.add(labels)
        else:
            found[labels] = found.get(labels, 0.0) + tally.power_w
    words = "Mean power over the last five seconds."
    known = tuple((labels, power_w) for labels, power_w in found.items() if labels not in unknown)
    return Family("wattvlm_power_watts", "gauge", "W", words, ("domain", "device", "method"), known)


def _sensors(tallies: Sequence[Tally]) -> Family:
    samples = tuple(
        ((each.name, each.board, each.domain, method_of(tally), each.sensor, each.device), 1.0)
        for tally in tallies
        for each in (tally.channel,)
    )
    labels = ("channel", "device", "domain", "method", "sensor", "product")
    return Family("wattvlm_sensor_info", "gauge", "1", "What reads each channel; always 1.", labels, samples)


def _health(tallies: Sequence[Tally], now_ns: int) -> Iterator[Family]:
    def of(name: str, kind: Kind, unit: str, words: str, values: Sequence[float]) -> Family:
        samples = tuple(((tally.channel.name,), value) for tally, value in zip(tallies, values, strict=True))
        return Family(name, kind, unit, words, ("channel",), samples)

    fresh = [float(tally.is_fresh(now_ns)) for tally in tallies]
    yield of("wattvlm_sensor_up", "gauge", "1", "1 while a channel gives readings, 0 once it does not.", fresh)
    reads = [float(tally.reads) for tally in tallies]
    yield of("wattvlm_sensor_reads", "counter", "1", "How often a channel was read.", reads)
    failures = [float(tally.failures) for tally in tallies]
    yield of("wattvlm_sensor_read_failures", "counter", "1", "How often a read was in vain.", failures)
    unread_s = [tally.unread_ns * S_PER_NS for tally in tallies]
    words = "Time whose joules are not in the counters, because the sensor was not read or began anew."
    yield of("wattvlm_sensor_unread_seconds", "counter", "s", words, unread_s)


def _absences(absent: Sequence[tuple[str, Absence]]) -> Family:
    samples = {
        (absence.domain, reason_of(absence), _probe_name(target), shortened(absence.what)): 1.0
        for target, absence in absent
    }
    words = "What cannot be measured here and why; always 1. Its joules are absent, not 0. Cures: wattvlm doctor."
    return Family(
        "wattvlm_sensor_absent", "gauge", "1", words, ("domain", "reason", "probe", "what"), tuple(samples.items())
    )


def _probe_name(target: str) -> str:
    """A module of ours in a word, that of another package in full."""
    return target.partition(":")[0].removeprefix("wattvlm.probes.")


def reason_of(absence: Absence) -> str:
    """In a word: denied, lost, failed (to open), or missing."""
    first = absence.what.partition(":")[0]
    if first in ("denied", "lost"):
        return first
    return "failed" if "failed to open" in absence.what else "missing"


def shortened(words: str) -> str:
    """Words as a label's value."""
    return words if len(words) <= LONGEST_TEXT else f"{words[: LONGEST_TEXT - 3]}..."
