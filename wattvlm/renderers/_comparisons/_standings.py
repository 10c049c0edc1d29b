"""The table of several runs: parameters, visual tokens, times, joules, and accuracy above chance per kilojoule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wattvlm.comparison import Expected, Standing, Standings
from wattvlm.renderers._comparisons._page import NOT_KNOWN, Page, expected_cells, machine_words, warnings
from wattvlm.renderers._numbers import Amount, Parts, write_column, write_count
from wattvlm.renderers._table import Cell, Column, Row, Table
from wattvlm.renderers._text import Line, Span, glue
from wattvlm.units import BILLION, MILLION, energy_scale, format_significant

_JOULES = (("joules_per_image", "image"), ("joules_per_visual_token", "visual"), ("joules_per_request", "request"))
_TIMES = (("ttft_s", "TTFT ms"), ("tpot_s", "TPOT ms"))
_LEAVES = {
    "right": 1, "joules_per_visual_token": 2, "tpot_s": 3, "ttft_s": 4, "output": 5, "parameters": 6,
    "visual": 7, "joules_per_image": 8,
}  # fmt: skip
"""Too narrow, columns go in this order; joules a request, accuracy, and accuracy per kilojoule never do."""


def page(standings: Standings) -> Page:
    """The page of several runs."""
    runs = standings.runs
    has_scores = any(run.score is not None for run in runs)
    columns = {**_model_columns(runs), **_time_columns(runs), **_joule_columns(runs)}
    if has_scores:
        columns |= _score_columns(runs)
    shown = [(key, title, cells) for (key, title), cells in columns.items() if any(map(bool, cells))]
    rows = [
        Row((Span(run.name),), {key: cells[index] or NOT_KNOWN for key, _, cells in shown})
        for index, run in enumerate(runs)
    ]
    if has_scores:
        rows.append(_guessing(runs))
    return Page(
        (Span("wattvlm compare", "strong"), Span(glue(f"  {len(runs)} runs{_lengths(runs)}"))),
        (Span(machine_words(run.identity for run in runs)),),
        warnings([run.identity for run in runs], any(run.is_modelled for run in runs)),
        Table("run", tuple(Column(key, title, _LEAVES.get(key, 0)) for key, title, _ in shown), tuple(rows)),
        (),
        tuple((Span("note  ", "dim"), Span(words)) for words in _notes(standings)),
        (Span(_footer(runs, has_scores), "dim"),),
    )


Columns = dict[tuple[str, str], list[Cell]]


def _lengths(runs: Sequence[Standing]) -> str:
    lengths = {run.output_tokens for run in runs}
    only = lengths.pop() if len(lengths) == 1 else None
    return "" if only is None else f", {write_count(only).whole} output tokens each"


def _model_columns(runs: Sequence[Standing]) -> Columns:
    lengths = {run.output_tokens for run in runs}
    found: Columns = {
        ("parameters", "params"): [() if run.parameters is None else _parameters(run) for run in runs],
        ("visual", "visual"): [() if run.visual_tokens is None else write_count(run.visual_tokens) for run in runs],
    }
    if len(lengths) > 1:
        counts = [run.output_tokens for run in runs]
        found["output", "output"] = [() if count is None else write_count(count) for count in counts]
    return found


def _parameters(run: Standing) -> Line:
    """'7.1 B', or '16.0 B, 2.8 B active'."""
    counts = [run.parameters, run.active_parameters if run.active_parameters != run.parameters else None]
    words = [_size(count) for count in counts if count]
    return (Span(glue(words[0] if len(words) == 1 else f"{words[0]}, {words[1]} active")),)


def _size(count: int) -> str:
    billions = count / BILLION
    return f"{billions:.1f} B" if billions >= 1 else f"{format_significant(count / MILLION, 3)} M"


def _time_columns(runs: Sequence[Standing]) -> Columns:
    return {(metric, title): [_milliseconds(run.metrics.get(metric)) for run in runs] for metric, title in _TIMES}


def _milliseconds(expected: Expected | None) -> Cell:
    if expected is None:
        return ()
    whole, point, decimals = format_significant(expected.value * 1e3, 3).partition(".")
    return Parts(whole, point + decimals)


def _joule_columns(runs: Sequence[Standing]) -> Columns:
    found: Columns = {}
    for metric, label in _JOULES:
        values = [run.metrics.get(metric) for run in runs]
        middles = sorted(each.value for each in values if each is not None)
        if not middles:
            continue
        factor, unit = energy_scale(middles[len(middles) // 2])
        cells = [
            expected_cells([each], factor, "", run.is_modelled)[0] if each is not None else ()
            for each, run in zip(values, runs)
        ]
        found[metric, f"{unit}/{label}"] = cells
    return found


def _score_columns(runs: Sequence[Standing]) -> Columns:
    benchmark = next(run.score.benchmark for run in runs if run.score is not None)
    accuracies = [None if run.score is None else _accuracy(run) for run in runs]
    right = [run.per_kilojoule(run.score.fraction) if run.score is not None else None for run in runs]
    above = [run.per_kilojoule(run.score.above_chance_fraction) if run.score is not None else None for run in runs]
    written = [write_column(each) for each in (accuracies, _amounts(runs, right), _amounts(runs, above))]
    titles = ("accuracy", f"{benchmark} %"), ("right", "right/kJ"), ("above", "above/kJ")
    return {title: [() if each is None else each for each in column] for title, column in zip(titles, written)}


def _accuracy(run: Standing) -> Amount:
    assert run.score is not None
    low, high = run.score.interval_fraction
    return Amount(run.score.fraction * 1e2, max(high - run.score.fraction, run.score.fraction - low) * 1e2)


def _amounts(runs: Sequence[Standing], values: Sequence[float | None]) -> list[Amount | None]:
    return [None if value is None else Amount(value, None, run.is_modelled) for value, run in zip(values, runs)]


def _guessing(runs: Sequence[Standing]) -> Row:
    chances = {run.score.chance_fraction for run in runs if run.score is not None} - {None}
    only = chances.pop() if len(chances) == 1 else None
    cells: dict[str, Cell] = {"above": Parts("0")}
    if only is not None:
        cells["accuracy"] = Parts(f"{only * 100:.1f}".partition(".")[0], f".{f'{only * 100:.1f}'.partition('.')[2]}")
    return Row((Span("guessing", "dim"),), cells, apart=True)


def _notes(standings: Standings) -> Iterator[str]:
    for obstacle in standings.obstacles:
        yield f"allowed, although {obstacle.what}: {obstacle.effect}"
    yield from standings.notes


def _footer(runs: Sequence[Standing], has_scores: bool) -> str:
    said = ["± is 95 % of the expected call; – is not known or not resolved."]
    if any(run.is_modelled for run in runs):
        said.append("~ is a model.")
    if has_scores:
        said.append("above: accuracy above chance, (a - c) / (1 - c), per kJ of a request; right: accuracy per kJ.")
    return " ".join(said)
