"""The console summary: what it says of runs of every kind."""

import io
import re
import sys
from contextlib import redirect_stdout
from dataclasses import replace

import pytest

from tests.renderers.sample_reports import (
    SAMPLES,
    hostile,
    interrupted,
    no_sensor,
    one_unresolved_call,
    several_gpus,
    text_only,
    twenty_calls,
    virtual,
    without_calls,
    without_joules,
)
from wattvlm.renderers import render
from wattvlm.report import Report


def shown(report: Report, width: int = 80, unicode: bool = True) -> str:
    return str(render(report, "console", width=width, colour=False, unicode=unicode))


def line_of(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(start))


def words_of(text: str) -> str:
    return " ".join(text.split())


def test_phases_go_down_and_domains_across_with_value_and_interval_in_one_cell():
    table = shown(twenty_calls())
    assert words_of(line_of(table, "decode")) == "decode 2.41 s 458.0 ±4.6 270.1 ±2.9 ~33.7 ███████████████▌ 91.0 %"
    assert words_of(line_of(table, "call")) == "call 2.56 s 503.5 ±4.8 286.2 ±3.0 ~35.7"
    assert line_of(table, "above idle").split()[2:4] == ["329.6", "±5.0"]


def test_decimal_points_of_a_column_stand_below_each_other():
    rows = [line_of(shown(twenty_calls()), name) for name in ("preprocess", "vision encode", "prefill", "decode")]
    points = [[match.start() for match in re.finditer(r"\.\d ±", row)] for row in rows]
    assert points == [points[0]] * 4
    assert len(points[0]) == 2


def test_a_name_that_is_too_long_wraps_and_its_heading_stands_above_the_last_line():
    rows = shown(virtual(), 64).splitlines()
    heading = next(index for index, row in enumerate(rows) if row.startswith("VIRTUAL joules"))
    assert "what is divided" in rows[heading] or "what is divided" in rows[heading + 1]
    assert shown(virtual(), 64).count("what is divided") == 1


def test_the_headline_gives_the_ratios_of_the_accelerator():
    assert line_of(shown(twenty_calls()), "503.5 J per request") == (
        "503.5 J per request   97.5 mJ per visual token   5.24 J per output token  (GPU)"
    )


def test_a_wide_terminal_has_watts_ticks_versions_and_watt_hours_too():
    wide = shown(twenty_calls(), 120)
    assert "GPU W" in wide
    assert "ticks" in line_of(wide, "per call")
    assert "139.9 Wh per 1,000 requests" in wide
    assert "driver 570.86, transformers 5.23.0, torch 2.13.0" in wide
    assert "Intel Xeon Platinum 8480+, idle 41.0 ±0.9 W" in wide
    assert "1,564 encoded, 391 into the LLM, 391 kept" in wide


def test_columns_leave_in_the_stated_order_and_the_accelerators_joules_never():
    orders: list[list[str]] = []
    for width in range(200, 59, -1):
        titles = line_of(shown(twenty_calls(), width), "per call")
        present = [title for title in ("ticks", "GPU W", "RAM J", "CPU J") if title in titles]
        assert "GPU J" in titles
        if not orders or orders[-1] != present:
            orders.append(present)
    assert orders == [
        ["ticks", "GPU W", "RAM J", "CPU J"], ["GPU W", "RAM J", "CPU J"], ["RAM J", "CPU J"], ["CPU J"], [],
    ]  # fmt: skip


def test_parts_that_are_one_sum_stand_in_a_bracket_with_the_sum_once():
    table = shown(one_unresolved_call())
    assert "┐" in line_of(table, "vision encode")
    assert "not resolved apart" in line_of(table, "vision encode")
    assert "┘  40.6 ±7.9" in line_of(table, "prefill")
    assert table.count("40.6") == 1
    assert "GPU: vision encode + prefill are one sum" in table
    assert "Cure: more calls, a longer phase, or a faster sensor." in words_of(table)


def test_a_part_that_is_not_resolved_shows_its_range_and_says_so():
    assert "0.0 to 3.4" in line_of(shown(one_unresolved_call()), "between phases")
    assert line_of(shown(one_unresolved_call()), "between phases").endswith("not resolved")


def test_a_phase_before_the_block_reads_so_and_is_no_zero():
    assert words_of(line_of(shown(one_unresolved_call()), "preprocess")) == "preprocess before the block"


def test_a_ratio_of_unresolved_phases_has_no_number_anywhere():
    text = shown(one_unresolved_call())
    assert "per visual token: not resolved" in text
    assert words_of(line_of(text, "visual token")) == "visual token 391 not resolved encode + its prefill"


def test_without_a_sensor_every_joule_is_marked_as_a_model_and_none_has_an_interval():
    text = shown(no_sensor())
    assert "No power sensor here: every joule below is a model, not a measurement." in text
    assert "16 visual, 29 prompt, 3 output tokens a call; TTFT 6.5 ms" in words_of(text)
    table = text[text.index("per call") : text.index("TTFT 6.5 ms   TPOT")]
    assert "±" not in table
    assert re.findall(r"(?<![~\d.,])[\d.]+ mJ", table) == []
    assert "of the time" in line_of(text, "per call")
    assert "measured" not in re.sub("not measured", "", text)


def test_without_any_joules_there_are_times_and_counts_and_that_is_said():
    text = shown(without_joules())
    assert "No joules here" in text
    assert "10.4 ms" in line_of(text, "decode")
    assert " J" not in text
    assert "joules per" not in text


def test_a_text_only_run_has_no_row_for_images():
    text = shown(text_only())
    assert "text only" in text
    assert "visual token" not in text
    assert "\nimage" not in text


def test_a_block_without_a_call_shows_the_joules_of_the_block_and_the_users_phases():
    text = shown(without_calls())
    assert "No model call was seen in the block" in text
    assert "10.310 ±0.005" in line_of(text, "whole block")
    assert "88.0 ±0.9" in line_of(text, "training step")
    assert "your phases" in text


def test_an_interrupted_run_says_so_above_its_numbers():
    text = shown(interrupted())
    assert text.index("interrupted: call 3 raised KeyboardInterrupt") < text.index("per request")


def test_several_boards_are_counted_and_said_to_be_together():
    text = shown(several_gpus())
    assert "2 x NVIDIA H100 PCIe, limit 350 W each, idle 68.0 ±0.2 W together" in text
    assert "2 x NVML energy counter, 1,036 ticks, one each 98 ms to 100 ms" in words_of(text)
    assert "2 gaps in the readings" in text
    assert "12 of 20 calls" in text


def test_virtual_stands_in_every_heading_and_nothing_is_called_measured():
    text = shown(virtual())
    for start in ("wattvlm VIRTUAL", "VIRTUAL: ", "VIRTUAL per call", "VIRTUAL joules per"):
        assert line_of(text, start)
    assert "measured" not in text


def test_sensors_say_what_they_are_and_absences_come_with_their_cure():
    text = shown(twenty_calls())
    assert "●  GPU  measured  NVML energy counter, 519 ticks, one each 100 ms; gain ±5 %" in text
    assert "◐  RAM  modelled  8 DIMMs x 5 W; ±50 %; never added to a total" in text
    assert "○  RAM  absent    DRAM counter: permission denied; RAM joules are modelled" in text
    assert "        cure      sudo chmod a+r /sys/class/powercap/intel-rapl:0:1/energy_uj" in text
    assert "already in cpu-0/package, not added" in words_of(text)


def test_a_modelled_domain_is_in_no_sum_of_domains():
    assert "GPU + CPU" in shown(twenty_calls(), 120)
    assert "GPU + CPU + RAM" not in shown(twenty_calls(), 120)
    assert "CPU + RAM" not in shown(no_sensor(), 120)


def test_the_footer_says_what_the_signs_mean():
    assert "± is 95 %, gain apart; ~ is a model; projector (1.1 ms) is in vision encode" in shown(twenty_calls(), 120)
    assert "bounds the value" in shown(one_unresolved_call())
    assert "±" not in shown(no_sensor()).splitlines()[-1]


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_log_without_unicode_says_the_same_in_ascii(sample: str):
    text = shown(SAMPLES[sample](), 80, unicode=False)
    assert text.isascii()
    assert re.findall(r"\d[\d.,]*", shown(twenty_calls(), 80, unicode=False)) == re.findall(
        r"\d[\d.,]*", shown(twenty_calls(), 80)
    )


def test_ascii_spells_every_sign():
    text = shown(one_unresolved_call(), 100, unicode=False)
    assert "]  40.6 +-7.9" in text
    assert "*  GPU  measured" in text
    assert "~  RAM  modelled" in text
    assert "-  RAM  absent" in text
    assert "####" in line_of(text, "decode")
    assert "----" in text


def test_hostile_names_are_printed_and_never_obeyed():
    for colour in (False, True):
        text = str(render(hostile(), "console", width=100, colour=colour, unicode=True))
        assert "[red]x[/]" in text
        assert "<script>alert(1)</script>" in words_of(text)
        assert "\x1b[31mred" not in text
        assert "\u202e" not in text
        text.encode()


@pytest.mark.parametrize("sample", SAMPLES)
def test_colour_adds_colour_and_nothing_else(sample: str):
    coloured = str(render(SAMPLES[sample](), "console", width=80, colour=True, unicode=True))
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == shown(SAMPLES[sample]())


def test_only_the_sixteen_colours_that_a_reader_can_choose_are_used():
    coloured = str(render(twenty_calls(), "console", width=80, colour=True, unicode=True))
    codes = {code for codes in re.findall(r"\x1b\[([\d;]*)m", coloured) for code in codes.split(";")}
    assert codes <= {"0", "1", "2", "31", "32", "33", "36"}, "bold, dim, red, green, yellow, cyan; no white or black"


class Stream(io.TextIOWrapper):
    """A stream that says whether it is a terminal."""

    def __init__(self, encoding: str, terminal: bool) -> None:
        super().__init__(io.BytesIO(), encoding=encoding)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_stream_that_cannot_encode_the_signs_gets_ascii(encoding: str):
    with redirect_stdout(Stream(encoding, terminal=False)):
        text = str(render(twenty_calls(), "console", width=80))
    assert text.isascii()


def test_what_is_no_terminal_gets_no_colour_and_a_terminal_does(monkeypatch: pytest.MonkeyPatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with redirect_stdout(Stream("utf-8", terminal=False)):
        assert "\x1b" not in str(render(twenty_calls()))
    with redirect_stdout(Stream("utf-8", terminal=True)):
        assert "\x1b" in str(render(twenty_calls()))
    monkeypatch.setenv("NO_COLOR", "1")
    with redirect_stdout(Stream("utf-8", terminal=True)):
        assert "\x1b" not in str(render(twenty_calls()))


def test_the_width_is_that_of_the_terminal_and_eighty_where_there_is_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "72")
    assert max(map(len, str(render(twenty_calls(), colour=False)).splitlines())) <= 72
    monkeypatch.delenv("COLUMNS")
    with redirect_stdout(Stream("utf-8", terminal=False)):
        assert render(twenty_calls(), colour=False) == shown(twenty_calls(), 80) or sys.stdin.isatty()


def test_idle_power_is_shown_with_the_clock_at_which_it_was_seen_where_there_is_room():
    report = twenty_calls()
    clocked = replace(report, idle={**report.idle, "gpu": replace(report.idle["gpu"], clock_hz=0.345e9)})
    assert "idle 68.0 ±0.2 W at 345 MHz" in render(clocked, "console", width=120)
    assert "MHz" not in render(clocked, "console", width=80)
