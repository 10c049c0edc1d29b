"""One row of an emissions.csv as CodeCarbon 3.3 writes it, for dashboards and scripts that read such files.

The columns are CodeCarbon's, in its order. What is not known is empty. The format has no intervals, and no place to
say that a figure is modelled; the other formats have.
"""

from __future__ import annotations

import csv
import io
import uuid
from datetime import datetime, timezone

from wattvlm.renderers._text import legible
from wattvlm.report import Report
from wattvlm.sensing import Domain
from wattvlm.units import J_PER_KWH, NS_PER_S

FORMAT = "emissions"
FILE_EXTENSION = ".csv"
IS_BINARY = False

COLUMNS = (
    "timestamp", "project_name", "run_id", "experiment_id", "duration", "emissions", "emissions_rate", "cpu_power",
    "gpu_power", "ram_power", "cpu_energy", "gpu_energy", "ram_energy", "energy_consumed", "water_consumed",
    "country_name", "country_iso_code", "region", "cloud_provider", "cloud_region", "os", "python_version",
    "codecarbon_version", "cpu_count", "cpu_model", "gpu_count", "gpu_model", "longitude", "latitude",
    "ram_total_size", "tracking_mode", "cpu_utilization_percent", "gpu_utilization_percent",
    "ram_utilization_percent", "ram_used_gb", "on_cloud", "pue", "wue",
)  # fmt: skip

_G_PER_KG = 1000.0
_BYTES_PER_GIB = 2**30
_SUMMED: tuple[Domain, ...] = ("cpu", "gpu", "ram")
"""What CodeCarbon adds up to energy_consumed; a system on a chip or a whole node stands in where there is none."""


def render(report: Report, co2_g_per_kwh: float | None = None) -> str:
    """A heading and one row of the whole block: kWh, watts, seconds, and kg of CO2 where a factor is given.

    co2_g_per_kwh: grams of CO2 a kWh, a figure of yours; without it emissions are empty.
    """
    row = {**_when(report), **_energies(report), **_machine(report)}
    consumed_kwh, seconds = row["energy_consumed"], row["duration"]
    if co2_g_per_kwh is not None and isinstance(consumed_kwh, float):
        emitted_kg = consumed_kwh * co2_g_per_kwh / _G_PER_KG
        row["emissions"] = emitted_kg
        row["emissions_rate"] = emitted_kg / seconds if isinstance(seconds, float) and seconds else None
    page = io.StringIO()
    writer = csv.writer(page, lineterminator="\n")
    writer.writerow(COLUMNS)
    cells = (row.get(column) for column in COLUMNS)
    writer.writerow([legible(cell) if isinstance(cell, str) else cell for cell in cells])
    return page.getvalue()


Cells = dict[str, str | float | int | None]


def _when(report: Report) -> Cells:
    """timestamp, names and duration; the run's id is the same for the same report."""
    duration_ns, spans_ns, anchor = report.block.duration_ns, report.block.spans_ns, report.wall_anchor
    ended = ""
    if spans_ns and anchor is not None:
        wall_ns = anchor.wall_ns + spans_ns[-1][1] - anchor.monotonic_ns
        ended = datetime.fromtimestamp(wall_ns // NS_PER_S, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    project = report.label or report.model.name or "wattvlm"
    run = f"{ended} {project!r} {duration_ns} {report.host.name!r} {len(report.calls)}"
    return {
        "timestamp": ended,
        "project_name": project,
        "run_id": str(uuid.uuid5(uuid.NAMESPACE_URL, run)),
        "duration": None if duration_ns is None else duration_ns / NS_PER_S,
    }


def _energies(report: Report) -> Cells:
    seconds = (report.block.duration_ns or 0.0) / NS_PER_S
    found_j = {domain: report.block.energies[domain].energy.middle_j for domain in report.domains}
    cells: Cells = {}
    for domain in _SUMMED:
        if domain in found_j:
            cells[f"{domain}_energy"] = found_j[domain] / J_PER_KWH
            cells[f"{domain}_power"] = found_j[domain] / seconds if seconds else None
    parts_j = [found_j[domain] for domain in _SUMMED if domain in found_j] or list(found_j.values())[:1]
    cells["energy_consumed"] = sum(parts_j) / J_PER_KWH if parts_j else None
    return cells


def _machine(report: Report) -> Cells:
    host = report.host
    gpus = {use.channel.board: use.channel.device for use in report.channels if use.channel.domain == "gpu"}
    return {
        "os": host.system,
        "python_version": host.python,
        "codecarbon_version": f"wattvlm {host.versions.get('wattvlm', '')}".strip(),
        "cpu_count": host.cpu_threads,
        "cpu_model": host.cpu,
        "gpu_count": len(gpus) or None,
        "gpu_model": ", ".join(dict.fromkeys(gpus.values())),
        "ram_total_size": None if host.memory_bytes is None else host.memory_bytes / _BYTES_PER_GIB,
        "tracking_mode": "machine",
        "on_cloud": "",
    }
