"""Whether the joules of two runs are of one kind: same provenance, devices, driver and power limit."""

from __future__ import annotations

from wattvlm.comparison import Identity, Obstacle
from wattvlm.report import Report
from wattvlm.sensing import Channel


def obstacles(before: Report, after: Report) -> tuple[Obstacle, ...]:
    """Why joules of two runs are not of one kind; empty where they are."""
    return obstacles_between(identity_of(before), identity_of(after))


def identity_of(report: Report) -> Identity:
    """What the joules of a run's accelerator are of."""
    channels = _accelerator_channels(report)
    return Identity(
        provenance=_provenance_of(report),
        devices=tuple(sorted({channel.device for channel in channels})),
        sensors=tuple(sorted({channel.sensor for channel in channels})),
        driver=report.host.facts.get("driver", ""),
        power_limits=tuple(sorted(report.host.facts.get(f"{channel.board} limit_w", "") for channel in channels)),
        virtual=report.virtual,
    )


def obstacles_between(before: Identity, after: Identity) -> tuple[Obstacle, ...]:
    """The same of two runs of which only this is known."""
    found = [
        _provenance(before, after), _virtual(before, after), _device(before, after), _driver(before, after),
        _power_limit(before, after),
    ]  # fmt: skip
    return tuple(each for each in found if each is not None)


def _accelerator_channels(report: Report) -> tuple[Channel, ...]:
    return tuple(use.channel for use in report.channels if use.in_totals and use.channel.domain == report.accelerator)


def _provenance_of(report: Report) -> str:
    domain = report.accelerator
    if domain is None:
        return "absent"
    return f"{'modelled' if report.is_modelled(domain) else 'measured'} of the {domain}"


def _provenance(before: Identity, after: Identity) -> Obstacle | None:
    if before.provenance == after.provenance:
        return None
    return Obstacle(
        "provenance",
        f"the joules before are {before.provenance}, those after {after.provenance}",
        "a difference would say how the model differs from the sensor",
        "repeat both runs where the same sensor can be read; with this allowed, only times and counts are compared",
    )


def _virtual(before: Identity, after: Identity) -> Obstacle | None:
    if before.virtual == after.virtual:
        return None
    return Obstacle(
        "virtual", "one run is of virtual hardware, the other is not", "the virtual one's joules are a script's",
        "repeat the virtual run on the real device",
    )  # fmt: skip


def _device(before: Identity, after: Identity) -> Obstacle | None:
    pairs = ("device", before.devices, after.devices), ("sensor", before.sensors, after.sensors)
    for words, earlier, later in pairs:
        if earlier != later:
            return Obstacle(
                "device",
                f"the {words} before is {' and '.join(earlier) or 'none'}, after {' and '.join(later) or 'none'}",
                "a difference is that of the machines, their sensors' gains included, and not of the models alone",
                "repeat both runs on one machine, or allow it to compare machines",
            )
    return None


def _driver(before: Identity, after: Identity) -> Obstacle | None:
    if before.driver == after.driver:
        return None
    return Obstacle(
        "driver",
        f"the driver before is {before.driver or 'not known'}, after {after.driver or 'not known'}",
        "drivers differ in what their power readings average over",
        "repeat the earlier run with this driver",
    )


def _power_limit(before: Identity, after: Identity) -> Obstacle | None:
    if before.power_limits == after.power_limits:
        return None
    limits = before.power_limits, after.power_limits
    words = ["/".join(f"{each} W" if each else "not known" for each in own) or "not known" for own in limits]
    return Obstacle(
        "power_limit", f"the power limit before is {words[0]}, after {words[1]}",
        "a cap changes joules and times of the same model", "set the limit of the earlier run, or allow it",
    )  # fmt: skip
