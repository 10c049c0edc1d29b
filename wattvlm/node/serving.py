"""Joules of served models: what the servers of this machine did in each look, and the joules of that time.

    joules of models + joules of no model = joules of the sensors

Joules of a time in which one model had work are that model's, those of the boards' idle power included: it is what
serving it took. Of a time in which several had work they are shared by tokens, which is a model and labelled so.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from wattvlm.node.families import Family, method_of, shortened
from wattvlm.node.sensors import NodeSensors
from wattvlm.node.tallies import Tally, in_totals
from wattvlm.units import NS_PER_S
from wattvlm.watching.metrics import OUTPUT_TOKENS, PROMPT_TOKENS, REQUESTS, RUNNING, Kind, Metric, find, number
from wattvlm.watching.server import MetricsPage, NotAnswering

MOST_MODELS = 64
"""Of one server; further ones are told as one, "others", so that no server makes series without end."""

OTHERS = "others"
_CLOSING_S = 6.0

_COUNTED: Mapping[str, Sequence[Kind]] = {
    "requests": REQUESTS,
    "prompt_tokens": PROMPT_TOKENS,
    "output_tokens": OUTPUT_TOKENS,
}
_WORDS = {
    "requests": "Requests that ended.",
    "prompt_tokens": "Tokens of prompts.",
    "output_tokens": "Tokens generated.",
}

Model = tuple[str, str]
"""Server's address and model's name ("" where the server does not tell)."""


@dataclass(slots=True)
class Work:
    """What one model did since this began. running: requests under way at the last look; None where not told.

    tokens: those of the last step, by which joules are shared. had_work: in the last step.
    """

    counts: dict[str, float] = field(default_factory=dict[str, float])
    running: float | None = None
    tokens: float = 0.0
    had_work: bool = False
    _seen: dict[str, float] = field(default_factory=dict[str, float])

    def look(self, counts: Mapping[str, float], running: float | None) -> None:
        """The server's own counts now; one that is lower than before began anew."""
        grown: dict[str, float] = {}
        for name, count in counts.items():
            before = self._seen.get(name)
            grown[name] = 0.0 if before is None else count - before if count >= before else count
            self.counts[name] = self.counts.get(name, 0.0) + grown[name]
        self._seen |= counts
        self.tokens = grown.get("prompt_tokens", 0.0) + grown.get("output_tokens", 0.0)
        self.had_work = any(grown.values()) or bool(running) or bool(self.running)
        self.running = running

    def miss(self) -> None:
        """The server did not answer: nothing is known of this step."""
        self.tokens, self.had_work, self.running = 0.0, False, None


def models_of(page: Mapping[str, Mapping[str, Metric]]) -> Iterator[tuple[str, dict[str, float], float | None]]:
    """(model, counts, requests running) of each model on a page; page: metrics by name, by model.

    What a server counts without its model's name belongs to its only model, else to "".
    """
    named = sorted(set(page) - {""})
    whole: dict[str, Metric] = {}
    for metrics in page.values():
        whole |= metrics
    found = {name: match for name, kinds in _COUNTED.items() if (match := find(whole, kinds)) is not None}
    running = find(whole, RUNNING)
    groups = [(named[0], (named[0], ""))] if len(named) == 1 else [(name, (name,)) for name in (*named, "")]
    for model, keys in groups:
        own: dict[str, Metric] = {}
        for key in reversed(keys):
            own |= page.get(key, {})
        counts = {name: number(own[metric.name], of) for name, (metric, of) in found.items() if metric.name in own}
        under_way = None if running is None or running[0].name not in own else number(own[running[0].name], running[1])
        if counts or under_way is not None:
            yield model, counts, under_way


class Servers:
    """The servers of one machine, looked at in turn. Written by one thread, read by whoever is asked."""

    def __init__(self, pages: Sequence[MetricsPage], sensors: NodeSensors) -> None:
        self._pages = tuple(pages)
        self._sensors = sensors
        self._lock = threading.Lock()
        self._work: dict[Model, Work] = {}
        self._answers: dict[str, bool] = {}
        self._why_not: dict[str, str] = {}
        self._joules: dict[str, float] = {}
        self._served: dict[tuple[str, str, str, str], float] = {}
        self._unserved: dict[tuple[str, str], float] = {}

    def look(self) -> None:
        """Ask every server, then give the joules since the last look to the models that had work meanwhile."""
        answers = {page.address: _answer(page) for page in self._pages}
        tallies = in_totals(self._sensors.seen().tallies)
        with self._lock:
            for address, (page, why_not) in answers.items():
                self._take(address, page, why_not)
            self._share(tallies)

    def _take(self, address: str, page: Mapping[str, Mapping[str, Metric]] | None, why_not: str) -> None:
        self._answers[address] = page is not None
        self._why_not[address] = why_not
        if page is None:
            for (server, _), work in self._work.items():
                if server == address:
                    work.miss()
            return
        known = {model for server, model in self._work if server == address}
        rest: dict[str, float] = {}
        rest_running: float | None = None
        for name_told, counts, running in models_of(page):
            model = shortened(name_told)
            if model in known or len(known) < MOST_MODELS:
                known.add(model)
                self._work.setdefault((address, model), Work()).look(counts, running)
                continue
            for name, count in counts.items():
                rest[name] = rest.get(name, 0.0) + count
            rest_running = rest_running if running is None else (rest_running or 0.0) + running
        if rest or rest_running is not None:
            self._work.setdefault((address, OTHERS), Work()).look(rest, rest_running)

    def _share(self, tallies: Sequence[Tally]) -> None:
        """The joules that each channel added since the last look, to models by their tokens."""
        busy = {model: work.tokens for model, work in self._work.items() if work.had_work}
        tokens = sum(busy.values())
        for tally in tallies:
            before_j = self._joules.get(tally.channel.name)
            self._joules[tally.channel.name] = tally.energy_j
            if before_j is None or tally.channel.domain == "node":
                continue
            domain, added_j = tally.channel.domain, tally.energy_j - before_j
            if not busy:
                key = (domain, method_of(tally))
                self._unserved[key] = self._unserved.get(key, 0.0) + added_j
            for (server, model), own in busy.items():
                share = own / tokens if tokens else 1.0 / len(busy)
                of = (server, model, domain, method_of(tally) if len(busy) == 1 else "modelled")
                self._served[of] = self._served.get(of, 0.0) + added_j * share

    def families(self) -> Iterator[Family]:
        """What is told of servers and models."""
        with self._lock:
            up = tuple(((address,), float(answers)) for address, answers in self._answers.items())
            yield Family("wattvlm_server_up", "gauge", "1", "1 while a server gives its metrics.", ("server",), up)
            for name, words in _WORDS.items():
                counts = tuple((of, work.counts[name]) for of, work in self._work.items() if name in work.counts)
                yield Family(f"wattvlm_served_{name}", "counter", "1", words, ("server", "model"), counts)
            running = tuple((of, work.running) for of, work in self._work.items() if work.running is not None)
            words = "Requests under way at the last look."
            yield Family("wattvlm_served_requests_running", "gauge", "1", words, ("server", "model"), running)
            labels = ("server", "model", "domain", "method")
            words = "Joules while a model had work, those of several at once shared by tokens (modelled)."
            yield Family("wattvlm_served_energy_joules", "counter", "J", words, labels, tuple(self._served.items()))
            words = "Joules while no watched server had work."
            unserved = tuple(self._unserved.items())
            yield Family("wattvlm_unserved_energy_joules", "counter", "J", words, labels[2:], unserved)

    @property
    def why_not(self) -> Mapping[str, str]:
        """Why a server gives nothing, by its address."""
        with self._lock:
            return {address: why_not for address, why_not in self._why_not.items() if why_not}


def _answer(page: MetricsPage) -> tuple[Mapping[str, Mapping[str, Metric]] | None, str]:
    try:
        metrics, why_not = page.read_by_model()
    except NotAnswering as error:
        return None, str(error)
    return (None, why_not) if why_not else (metrics, "")


class LookingAtServers:
    """Looks at servers in the background while it is open."""

    def __init__(self, pages: Sequence[MetricsPage], sensors: NodeSensors, interval_ns: int) -> None:
        self.servers = Servers(pages, sensors)
        self._interval_s = interval_ns / NS_PER_S
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="looking at servers", daemon=True)

    def __enter__(self) -> Servers:
        self._thread.start()
        return self.servers

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join(_CLOSING_S)

    def _run(self) -> None:
        while not self._ending.is_set():
            self.servers.look()
            self._ending.wait(self._interval_s)
