"""Study: the same requests on several devices, from saved runs, with the gain of each board as a systematic error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf, sqrt

from wattvlm.answers import Answer, AnswerTable, Finding, Heading, Picture, Series, Value
from wattvlm.bench import Cell, Design
from wattvlm.comparison import Expected
from wattvlm.questions._figures import joules, part_joules, times
from wattvlm.questions.asked import Asked, Run
from wattvlm.studies.comparable import obstacles
from wattvlm.studies.compare import notes_on_counts
from wattvlm.studies.expected import expected_of
from wattvlm.studies.quotients import quotient, verdict
from wattvlm.trace import DECODE, PREFILL, VISION_ENCODE

NAME = "devices"
QUESTION = (
    "Which device takes fewer joules for the same requests, and is that more than their sensors' gains may be off?"
)

OF_FILES = True
"""What stands in the place of models are files: reports, recordings, or folders of a bench. Nothing is measured."""

PUBLISHED = (
    "the same 500 pictures on GB10, Thor and AGX Orin: SmolVLM2-2.2B 60.9, 60.6 and 94 J a request "
    "(fmora22/Benchmarking_DataViz)"
)
EXPECTED = ("device", "driver", "power_limit", "virtual")
"""What differs between devices anyway."""

PHASES = (VISION_ENCODE, PREFILL, DECODE)

Metrics = Mapping[str, Expected | None]


def design(asked: Asked) -> Design:
    """Nothing is to be measured: the files are what is compared."""
    return asked.design()


def answer(runs: Sequence[Run], design: Design) -> Answer:
    """Each run against the first, the gains of both boards in the interval."""
    groups = _groups(runs)
    named = {name: run for group in groups for name, run in group.items()}
    metrics = {name: _metrics(run) for name, run in named.items()}
    modelled = any(run.is_modelled for run in runs)
    pairs = [(next(iter(group)), other) for group in groups for other in list(group)[1:]]
    findings = [finding for first, other in pairs for finding in _against(first, other, metrics, modelled)]
    if not pairs:
        findings = [Finding("devices", "there are no two runs of one kind to compare. Cure: give two files or more")]
    return Answer(
        NAME, QUESTION, _design_lines(named), tuple(findings),
        (_values_table(metrics, named), _quotients_table(pairs, metrics)), (_picture(metrics),),
        (*_notes(groups), *_LIMITS), modelled, any(run.report.virtual for run in runs),
    )  # fmt: skip


_LIMITS = (
    "the gain of a board is one unknown for all its runs: repeating does not narrow it, calibration does "
    "(wattvlm calibrate)",
    "boards of one kind may share a part of their gain error; that would make differences surer than is said here",
    "joules are those of the accelerator of each device; what the rest of the machine draws is not in them",
)


def _groups(runs: Sequence[Run]) -> list[dict[str, Run]]:
    """Runs that were asked alike, by the name of their device or file; a number makes equal names differ."""
    kinds: dict[Cell, dict[str, Run]] = {}
    alike = len({_kind(run) for run in runs}) == 1
    names: set[str] = set()
    for run in runs:
        name = run.cell.device or "default device"
        name = name if alike else f"{name} {_kind(run).name}"
        numbered, number = name, 2
        while numbered in names:
            numbered, number = f"{name} ({number})", number + 1
        names.add(numbered)
        kinds.setdefault(_kind(run), {})[numbered] = run
    return list(kinds.values())


def _kind(run: Run) -> Cell:
    """What was asked, whatever the device; number formats differ by device where nobody asks for one."""
    return replace(run.cell, device="", dtype="")


def _metrics(run: Run) -> dict[str, Expected | None]:
    """Joules and times of a run. A board's name says on which machine it is, for two may have boards of one name."""
    report = run.report
    found = {
        "a request": joules(report), "an image": joules(report, "image"),
        "an output token": joules(report, "output_token"), **{phase: part_joules(report, phase) for phase in PHASES},
    }  # fmt: skip
    host = report.host.name or run.cell.device
    boards = {metric: _on(host, each) for metric, each in found.items()}
    return boards | {"TTFT": expected_of(times(report, "ttft")), "time": expected_of(times(report, "call"))}


def _on(host: str, found: Expected | None) -> Expected | None:
    if found is None:
        return None
    return replace(found, gain_fractions=tuple((f"{host} {board}", gain) for board, gain in found.gain_fractions))


def _against(first: str, name: str, metrics: Mapping[str, Metrics], modelled: bool) -> list[Finding]:
    findings: list[Finding] = []
    for metric in ("a request", "an output token", "time"):
        before, after = metrics[first][metric], metrics[name][metric]
        found = None if before is None or after is None else quotient(after, before)
        of_model = modelled and metric != "time"
        words = (
            f"times that of {first}" if metric == "time" else f"times the joules of {first}{_gain_words(before, after)}"
        )
        findings.append(
            Finding(
                f"{name}: {'time of a request' if metric == 'time' else metric}", words, found, "",
                f"{name} takes less than {first}", verdict(found, 0.0, 1.0, is_modelled=of_model),
                PUBLISHED if metric == "a request" else "", of_model,
            )
        )  # fmt: skip
    return findings


def _gain_words(before: Expected | None, after: Expected | None) -> str:
    """What the gains alone may put the quotient off by."""
    gain = _gain_between(before, after)
    return f", of which the sensors' gains may be ±{gain * 100:.1f} %" if gain else ""


def _gain_between(before: Expected | None, after: Expected | None) -> float | None:
    """The part of a quotient that gains leave open, as a fraction: what is not common to both."""
    if before is None or after is None:
        return None
    one, other = dict(before.gain_fractions), dict(after.gain_fractions)
    return sqrt(sum((one.get(board, 0.0) - other.get(board, 0.0)) ** 2 for board in dict.fromkeys([*one, *other])))


def _absolute(found: Expected) -> Expected:
    """With the board's gain in its interval: what another device's number is held against."""
    gain = found.value * sqrt(sum(each**2 for _, each in found.gain_fractions))
    if found.is_bounds or found.high == inf:
        return replace(found, low=found.low - gain, high=found.high + gain)
    low, high = (sqrt(half**2 + gain**2) for half in (found.value - found.low, found.high - found.value))
    return replace(found, low=found.value - low, high=found.value + high)


def _values_table(metrics: Mapping[str, Metrics], named: Mapping[str, Run]) -> AnswerTable:
    joule_metrics = ("a request", "an image", "an output token", *PHASES)
    headings = (
        Heading("device"), Heading("calls"), *(Heading(each, "J") for each in joule_metrics), Heading("TTFT", "s"),
        Heading("a request", "s"), Heading("gain ±", "%"),
    )  # fmt: skip
    rows: list[tuple[Value, ...]] = []
    for name, found in metrics.items():
        whole = found["a request"]
        gain = None if whole is None else sqrt(sum(each**2 for _, each in whole.gain_fractions))
        rows.append((
            name, _device_words(named[name]), float(len(named[name].report.calls)),
            *(found[each] for each in (*joule_metrics, "TTFT", "time")), gain,
        ))  # fmt: skip
    return AnswerTable("Joules and times of each run (intervals of the sensor)", "run", headings, tuple(rows))


def _device_words(run: Run) -> str:
    domain = run.report.accelerator
    used = (use.channel for use in run.report.channels if use.in_totals and use.channel.domain == domain)
    return " and ".join(dict.fromkeys(channel.device or channel.name for channel in used)) or "no sensor"


def _quotients_table(pairs: Sequence[tuple[str, str]], metrics: Mapping[str, Metrics]) -> AnswerTable:
    titles = list(next(iter(metrics.values())))
    rows: list[tuple[Value, ...]] = []
    for first, other in pairs:
        both = [(metrics[first][title], metrics[other][title]) for title in titles]
        found = [None if before is None or after is None else quotient(after, before) for before, after in both]
        rows.append((f"{other} / {first}", *found, _gain_between(*both[0])))
    headings = (*(Heading(title) for title in titles), Heading("of it gains ±", "%"))
    return AnswerTable("Quotients, the gains of both boards in their intervals", "runs", headings, tuple(rows))


def _picture(metrics: Mapping[str, Metrics]) -> Picture:
    points = tuple(
        (float(place), _absolute(whole))
        for place, found in enumerate(metrics.values())
        if (whole := found["a request"]) is not None
    )
    series = (Series("a request, the board's gain in its interval", points),)
    return Picture("Joules of a request on each device", "", "J a request", series, tuple(metrics))


def _design_lines(named: Mapping[str, Run]) -> tuple[str, ...]:
    counts = [len(run.report.calls) for run in named.values()]
    return (
        f"{len(named)} saved runs of {min(counts)} calls and more; nothing was measured for this answer",
        "held equal: what the runs were asked; where counts of tokens differ a line below says so",
        "gains of boards on different machines are independent; on one board they cancel",
    )


def _notes(groups: Sequence[Mapping[str, Run]]) -> list[str]:
    """What differs between runs that are compared, beside the device, and what it does to the quotients."""
    found: dict[str, None] = {}
    for group in groups:
        first, *others = [run.report for run in group.values()]
        differing = [each for other in others for each in obstacles(first, other) if each.kind not in EXPECTED]
        found |= dict.fromkeys(f"{each.what}: {each.effect}" for each in differing)
        found |= dict.fromkeys(notes_on_counts([first, *others]))
        models = dict.fromkeys(each.model.name or each.model.class_name or "unknown" for each in (first, *others))
        if len(models) > 1:
            found[f"runs of several models ({', '.join(models)}): quotients are of these too"] = None
    return list(found)
