"""Whether the joules of two runs are of one kind: same provenance, devices, driver and power limit."""

from __future__ import annotations

from wattvlm.comparison import Obstacle
from wattvlm.report import Report
from wattvlm.sensing import Channel


def obstacles(before: Report, after: Report) -> tuple[Obstacle, ...]:
    """Why joules of two runs are not of one kind; empty where they are."""
    found = [
        _provenance(before, after),
        _virtual(before, after),
        _device(before, after),
        _fact(before, after, "driver", "driver", "drivers differ in what their power readings average over",
              "repeat the earlier run with this driver"),
        _power_limit(before, after),
    ]  # fmt: skip
    return tuple(each for each in found if each is not None)


def _accelerator_channels(report: Report) -> tuple[Channel, ...]:
    return tuple(use.channel for use in report.channels if use.in_totals and use.channel.domain == report.accelerator)


def _provenance(before: Report, after: Report) -> Obstacle | None:
    kinds = [_provenance_of(report) for report in (before, after)]
    if kinds[0] == kinds[1]:
        return None
    return Obstacle(
        "provenance",
        f"the joules before are {kinds[0]}, those after {kinds[1]}",
        "a difference would say how the model differs from the sensor",
        "repeat both runs where the same sensor can be read; with this allowed, only times and counts are compared",
    )


def _provenance_of(report: Report) -> str:
    domain = report.accelerator
    if domain is None:
        return "absent"
    return f"{'modelled' if report.is_modelled(domain) else 'measured'} of the {domain}"


def _virtual(before: Report, after: Report) -> Obstacle | None:
    if before.virtual == after.virtual:
        return None
    return Obstacle(
        "virtual", "one run is of virtual hardware, the other is not", "the virtual one's joules are a script's",
        "repeat the virtual run on the real device",
    )  # fmt: skip


def _device(before: Report, after: Report) -> Obstacle | None:
    names = [sorted({channel.device for channel in _accelerator_channels(report)}) for report in (before, after)]
    sensors = [sorted({channel.sensor for channel in _accelerator_channels(report)}) for report in (before, after)]
    for words, (earlier, later) in (("device", names), ("sensor", sensors)):
        if earlier != later:
            return Obstacle(
                "device",
                f"the {words} before is {' and '.join(earlier) or 'none'}, after {' and '.join(later) or 'none'}",
                "a difference is that of the machines, their sensors' gains included, and not of the models alone",
                "repeat both runs on one machine, or allow it to compare machines",
            )
    return None


def _fact(before: Report, after: Report, name: str, kind: str, effect: str, remedy: str) -> Obstacle | None:
    earlier, later = before.host.facts.get(name), after.host.facts.get(name)
    if earlier == later:
        return None
    return Obstacle(
        kind, f"the {name} before is {earlier or 'not known'}, after {later or 'not known'}", effect, remedy
    )


def _power_limit(before: Report, after: Report) -> Obstacle | None:
    limits = [
        sorted(report.host.facts.get(f"{channel.board} limit_w", "") for channel in _accelerator_channels(report))
        for report in (before, after)
    ]
    if limits[0] == limits[1]:
        return None
    words = ["/".join(each or "not known" for each in own) or "not known" for own in limits]
    return Obstacle(
        "power_limit", f"the power limit before is {words[0]} W, after {words[1]} W",
        "a cap changes joules and times of the same model", "set the limit of the earlier run, or allow it",
    )  # fmt: skip
