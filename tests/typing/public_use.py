"""Public use as a typed program writes it; never run, only checked by mypy (`make check`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from typing_extensions import assert_type

import wattvlm
from wattvlm.energy import Energy
from wattvlm.errors import NotResolved


def metered(question: str) -> str:
    with wattvlm.meter(label="LLaVA-1.5") as m:
        with m.phase("prefill"):
            answer = question.upper()
        m.tokens(output=len(answer), visual_input=576)
    report = m.report
    assert_type(report, wattvlm.Report)
    assert_type(report.joules_per_request, Energy)
    assert_type(report.per("image", domains=("gpu", "cpu"), above_idle=True), Energy)
    assert_type(report.ttft_s, float | None)
    assert_type(report.metrics(), dict[str, float | None])
    print(f"{report.joules_per_output_token} {float(report.joules_per_image):.1f}")
    return answer


@wattvlm.meter()
def decorated(count: int) -> list[int]:
    return list(range(count))


def kept(folder: Path) -> Mapping[str, float | None]:
    assert_type(decorated(3), list[int])
    recording = wattvlm.Recording.load(folder / "run.json.gz")
    report = wattvlm.analyze(recording)
    report.save(folder / "report.json")
    page = wattvlm.render(report, "html")
    assert_type(page, str | bytes)
    try:
        return {"prefill": float(wattvlm.Report.load(folder / "report.json").joules("prefill"))}
    except NotResolved:
        return report.metrics()
