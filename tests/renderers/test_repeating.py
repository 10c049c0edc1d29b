"""What the summary says of more calls: how many, for what, and nothing where they would not help."""

from dataclasses import replace

from tests.renderers.sample_reports import no_sensor, one_unresolved_call, twenty_calls
from wattvlm.renderers import render
from wattvlm.repeating import CallScatter
from wattvlm.report import Part, Report
from wattvlm.trace import PREFILL, VISION_ENCODE


def shown(report: Report, width: int = 80) -> str:
    return " ".join(str(render(report, "console", width=width, colour=False, unicode=True)).split())


def with_scatter(report: Report, scatters: dict[str, CallScatter]) -> Report:
    def one(part: Part) -> Part:
        if part.name not in scatters:
            return part
        return replace(
            part, energies={**part.energies, "gpu": replace(part.energies["gpu"], scatter=scatters[part.name])}
        )

    return replace(report, phases=tuple(map(one, report.phases)))


def test_a_pooled_report_says_how_many_more_calls_bring_the_least_sure_phase_to_the_next_precision():
    scatters = {PREFILL: CallScatter(23.4, 0.9, 0.0, 0.0, 5), VISION_ENCODE: CallScatter(16.8, 0.2, 0.0, 0.0, 5)}
    report = with_scatter(twenty_calls(), scatters)
    more = report.calls_needed(PREFILL, relative=0.01) - 20
    assert more == 37
    for width in (80, 120):
        assert shown(report, width).endswith(f"{more} more calls: prefill ±1 % for the expected call.")


def test_a_precision_that_boundaries_forbid_or_that_takes_too_long_is_not_offered():
    for scatter in (CallScatter(23.4, 0.9, 0.0, 0.3, 5), CallScatter(23.4, 0.0, 0.0, 0.2, 5)):
        assert "more call" not in shown(with_scatter(twenty_calls(), {PREFILL: scatter}))


def test_one_call_says_how_many_calls_tell_its_phases_apart():
    planned = {
        VISION_ENCODE: CallScatter(19.0, 0.6, 1.0, 0.05, 5, planned=True),
        PREFILL: CallScatter(21.6, 0.6, 1.1, 0.05, 5, planned=True),
    }
    report = with_scatter(one_unresolved_call(), planned)
    calls = max(report.calls_needed(name, relative=0.02) for name in planned)
    assert 5 < calls <= 50
    words = shown(report)
    assert "Cure" not in words.split("not resolved beyond the range")[-1].split("TTFT")[0]
    assert f"{calls} calls tell vision encode and prefill apart (to ±2 %)." in words


def test_without_a_counter_that_is_pooled_nothing_is_promised():
    assert "more call" not in shown(no_sensor())
    assert "Cure: more calls, a longer phase, or a faster sensor." in shown(one_unresolved_call())
