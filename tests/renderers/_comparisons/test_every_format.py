"""Comparisons in every format: what two runs show, what several show, and what no width and no name may break."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from rich.cells import cell_len

from tests.renderers.sample_reports import SAMPLES, no_sensor, one_unresolved_call, twenty_calls
from wattvlm import render, studies
from wattvlm.comparison import Comparison, Score, Standings
from wattvlm.report import Report

FORMATS = ("console", "markdown", "latex", "json", "html")
ALL_KINDS = ("provenance", "device", "driver", "power_limit", "virtual")


def dearer(report: Report, factor: float = 1.05) -> Report:
    """The same run with all joules of its calls times a factor, and half of its visual tokens."""

    def scaled(part):
        energies = {name: replace(found, energy=found.energy.scaled(factor)) for name, found in part.energies.items()}
        return replace(part, energies=energies)

    return replace(
        report, total=scaled(report.total), between=scaled(report.between), phases=tuple(map(scaled, report.phases)),
        tokens=replace(report.tokens, visual_input=(report.tokens.visual_input or 0) // 2),
    )  # fmt: skip


def pair() -> Comparison:
    return replace(studies.compare(twenty_calls(), dearer(twenty_calls())), before="main", after="change")


def several() -> Standings:
    runs = {
        "MobileVLM-1.7B": twenty_calls(),
        "Qwen2.5-VL-3B": dearer(twenty_calls()),
        "one call": one_unresolved_call(),
    }
    scores = {name: Score("MMBench", right, 1000, 0.25) for name, right in zip(runs, (577, 776, 250))}
    return studies.standings(runs, scores=scores)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_of_a_comparison_is_wider_than_the_terminal(width: int):
    for noun in (pair(), several()):
        assert max(cell_len(line) for line in str(render(noun, width=width)).splitlines()) <= width


def test_a_change_is_shown_with_its_interval_and_its_verdict():
    (line,) = (line for line in str(render(pair(), width=120)).splitlines() if line.startswith("per request"))
    assert line.split() == [
        "per", "request", "503.5", "±4.8", "J", "528.7", "±5.1", "J", "+5.0", "%", "+3.6", "to", "+6.4", "%", "worse"
    ]  # fmt: skip


def test_a_narrow_terminal_shows_the_change_with_half_of_its_interval():
    (line,) = (line for line in str(render(pair(), width=80)).splitlines() if line.startswith("per request"))
    assert line.split() == ["per", "request", "528.7", "±5.1", "J", "+5.0", "±1.5", "%", "worse"]


def test_runs_with_other_visual_tokens_are_said_to_mislead_per_visual_token():
    shown = " ".join(str(render(pair(), width=80)).split())
    assert "judge by joules_per_image and joules_per_request" in shown
    assert "visual input tokens" in shown
    assert "changed" in shown


def test_equal_counts_are_one_sentence_and_no_rows():
    shown = " ".join(str(render(pair(), width=120)).split())
    assert "The same in both, a call: 1,564 visual encoded tokens" in shown


def test_modelled_joules_have_a_tilde_and_never_a_verdict():
    found = studies.compare(no_sensor(), dearer(no_sensor(), 2.0))
    shown = str(render(found, width=120))
    assert "~543" in shown
    assert "No power sensor" in shown
    assert {each.verdict for each in found.differences if each.kind == "energy"} == {"cannot tell"}


def test_a_phase_that_is_not_resolved_says_why_once_for_all_that_it_holds_up():
    shown = " ".join(str(render(studies.compare(one_unresolved_call(), one_unresolved_call()), width=80)).split())
    assert shown.count("prefill is not resolved on the gpu") == 1
    assert "note per image, per visual token, per prompt token, prefill: prefill is not resolved" in shown


def test_several_runs_show_accuracy_above_chance_a_kilojoule_and_guessing_below():
    shown = str(render(several(), width=80))
    (row,) = (line for line in shown.splitlines() if line.startswith("Qwen2.5"))
    assert row.split()[-3:] == ["77.6", "±2.7", "1.3"]  # (0.776 - 0.25) / 0.75 / 0.5287 kJ
    (guessing,) = (line for line in shown.splitlines() if line.startswith("guessing"))
    assert guessing.split() == ["guessing", "25.0", "0"]
    assert "493 to 502" in shown


def test_a_wide_terminal_shows_times_and_joules_a_visual_token_too():
    heading = next(line for line in str(render(several(), width=120)).splitlines() if line.startswith("run "))
    assert [word for word in ("params", "visual", "TTFT ms", "TPOT ms", "J/image", "mJ/visual", "J/request", "right/kJ")
            if word not in heading] == []  # fmt: skip


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("format", FORMATS)
def test_every_report_can_be_compared_with_any_other_in_every_format(sample: str, format: str):
    other = SAMPLES[sample]()
    assert render(studies.compare(twenty_calls(), other, allow=ALL_KINDS), format)
    assert render(studies.standings({"one": twenty_calls(), "other": other}, allow=ALL_KINDS), format)


def test_names_of_runs_are_text_in_markdown_and_latex():
    attacked = replace(pair(), before="a|b <img src=x> @all", after=r"\input{x} $y_1$ 50%")
    markdown, latex = str(render(attacked, "markdown")), str(render(attacked, "latex"))
    assert r"a\|b \<img src=x\> \@all" in markdown
    assert r"\textbackslash{}input\{x\} \$y\_1\$ 50\%" in latex


def test_a_latex_table_has_as_many_cells_in_each_row():
    rows = [line for line in str(render(pair(), "latex")).splitlines() if line.endswith(r"\\")]
    assert {line.count(" & ") for line in rows} == {5}
    assert len(rows) > 10


def test_json_holds_the_verdicts_and_no_number_that_is_none():
    found = json.loads(str(render(studies.compare(one_unresolved_call(), one_unresolved_call()), "json")))
    assert found["kind"] == "wattvlm comparison"
    latency = next(each for each in found["differences"] if each["metric"] == "latency_s")
    assert latency["before"]["high"] is None


def test_an_unknown_format_names_the_known():
    with pytest.raises(ValueError, match="console, html, json, latex, markdown"):
        render(pair(), "papyrus")
