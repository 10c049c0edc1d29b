"""CSV rows, emissions.csv, Markdown and the methods paragraph: what other programs and papers take over."""

import csv
import io
from dataclasses import fields, replace

import pytest

from tests.renderers.sample_reports import HOSTILE, SAMPLES, hostile, no_sensor, one_unresolved_call, twenty_calls
from wattvlm.clock import WallAnchor
from wattvlm.renderers import render
from wattvlm.report import Report

MS = 1_000_000


def rows(report: Report, format: str = "csv", **options: object) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(str(render(report, format, **options)))))


def test_each_call_phase_and_domain_has_one_row_and_its_joules():
    report = twenty_calls()
    found = rows(report)
    keys = [(row["call"], row["phase"], row["domain"]) for row in found]
    assert len(set(keys)) == len(keys)
    decode = [row for row in found if row["phase"] == "decode" and row["domain"] == "gpu"]
    assert len(decode) == 20
    assert {float(row["energy_j"]) for row in decode} == {report.joules("decode").middle_j}
    assert {row["output_tokens"] for row in decode} == {"96"}


def test_pandas_reads_the_rows_with_numbers_as_numbers():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.read_csv(io.StringIO(str(render(twenty_calls(), "csv"))))
    whole = frame[(frame.phase == "call") & (frame.domain == "gpu")]
    assert whole.energy_j.sum() == pytest.approx(20 * 503.5, rel=0.01)
    assert set(frame.method.dropna()) == {"measured", "modelled"}


def test_phases_that_are_one_sum_have_bounds_and_no_joules_in_the_rows():
    found = {row["phase"]: row for row in rows(one_unresolved_call()) if row["domain"] == "gpu"}
    assert found["prefill"]["energy_j"] == ""
    assert found["prefill"]["one_sum_of"] == "vision_encode + prefill"
    assert float(found["prefill"]["high_j"]) == 48.5
    assert found["decode"]["energy_j"] != ""


def test_a_modelled_joule_says_so_in_its_row():
    assert {row["method"] for row in rows(no_sensor()) if row["domain"]} == {"modelled"}


def test_no_text_of_a_row_is_a_formula_or_a_terminal_command():
    report = hostile()
    calls = tuple(replace(call, label="=HYPERLINK(1)", runtime=HOSTILE) for call in report.calls)
    text = str(render(replace(report, calls=calls), "csv"))
    assert "\x1b" not in text
    assert all(row["label"] == "'=HYPERLINK(1)" for row in csv.DictReader(io.StringIO(text)))


def test_emissions_have_codecarbons_columns_in_its_order():
    emissions = pytest.importorskip("codecarbon.output_methods.emissions_data", reason="needs wattvlm[carbon]")
    wanted = [each.name for each in fields(emissions.EmissionsData)]
    assert list(rows(twenty_calls(), "emissions")[0]) == wanted


def test_emissions_are_the_blocks_joules_in_kwh_and_grams_only_with_a_factor_of_the_users():
    report = twenty_calls()
    (row,) = rows(report, "emissions", co2_g_per_kwh=400.0)
    kwh = {domain: report.block.energies[domain].energy.middle_j / 3.6e6 for domain in report.domains}
    for domain, expected in kwh.items():
        assert float(row[f"{domain}_energy"]) == pytest.approx(expected)
    assert float(row["energy_consumed"]) == pytest.approx(sum(kwh.values()))
    assert float(row["emissions"]) == pytest.approx(sum(kwh.values()) * 0.4)
    assert float(row["gpu_power"]) == pytest.approx(report.block.energies["gpu"].energy.middle_j / 51.9)
    assert rows(report, "emissions")[0]["emissions"] == ""


def test_what_was_not_measured_is_empty_in_emissions_and_not_zero():
    (row,) = rows(no_sensor(), "emissions")
    assert (row["gpu_energy"], row["gpu_power"], row["gpu_count"]) == ("", "", "")


def test_the_time_stamp_of_emissions_is_the_blocks_end_on_the_wall_clock():
    report = twenty_calls()
    block = replace(report.block, spans_ns=((5_000 * MS, 60_000 * MS),))
    anchored = replace(report, block=block, wall_anchor=WallAnchor(0, 1_700_000_000_000 * MS))
    assert rows(anchored, "emissions")[0]["timestamp"] == "2023-11-14T22:14:20"
    assert rows(report, "emissions")[0]["timestamp"] == ""


def test_markdown_has_a_heading_and_tables_of_equal_width():
    text = str(render(twenty_calls(), "markdown"))
    assert text.startswith("### wattvlm Qwen2.5-VL-3B-Instruct")
    assert "| decode |" in text
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 2
    for table in tables:
        assert len({line.replace("\\|", "").count("|") for line in table}) == 1


def test_a_hostile_name_is_text_in_markdown():
    text = str(render(hostile(), "markdown"))
    assert "<script" not in text.replace("\\<script", "")
    assert "\x1b" not in text


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_methods_paragraph_is_one_line_that_never_calls_a_model_measured(sample: str):
    report = SAMPLES[sample]()
    text = str(render(report, "methods"))
    assert "\n" not in text
    for domain in report.domains:
        if report.is_modelled(domain):
            assert "modelled, not measured" in text


def test_the_methods_paragraph_names_sensor_tick_calls_interval_idle_and_versions():
    text = str(render(twenty_calls(), "methods"))
    for words in ("20 calls of Qwen2.5-VL-3B-Instruct (bfloat16)", "NVML energy counter", "one each 100 ms",
                  "NVIDIA H100 PCIe", "95 % over the calls that ran", "GPU 68.0 W over 900 ms", "gain ±5 %",
                  "driver 570.86", "torch 2.13.0", "wattvlm 0.1.0"):  # fmt: skip
        assert words in text
    assert "cores" not in text
