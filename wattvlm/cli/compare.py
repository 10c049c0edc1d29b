"""`wattvlm compare`: two runs held against each other, or several side by side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wattvlm.cli import COULD_NOT_MEASURE, REGRESSION

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wattvlm.comparison import Comparison, Score, Standings
    from wattvlm.regression.bounds import Check
    from wattvlm.regression.thresholds import Threshold
    from wattvlm.report import Report

FORMATS = {
    "json": "The comparison as JSON.",
    "markdown": "Markdown, for a comment on a pull request.",
    "latex": "A LaTeX table (booktabs).",
    "html": "A page for the browser, whole in itself (needs wattvlm[html]).",
}
CURE = "find what costs it, or compare later runs with the new one"
OBSTACLES = ("provenance", "device", "driver", "power_limit", "virtual")


def _formats(decorated: Callable[..., None]) -> Callable[..., None]:
    for name, words in reversed(FORMATS.items()):
        decorated = click.option(f"--{name}", "output_format", flag_value=name, default=None, help=words)(decorated)
    return decorated


@click.command("compare")
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@_formats
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file instead.")
@click.option("--allow", multiple=True, type=click.Choice(OBSTACLES), help="Compare although this differs.")
@click.option(
    "--fail-on", multiple=True, metavar="METRIC:5%", help="Exit with 1 where this is surely worse by more. Two runs."
)
@click.option(
    "--scores", multiple=True, metavar="[RUN=]FILE", help="Answers of each run, from VLMEvalKit or lmms-eval."
)
@click.option("--chance", metavar="25%", help="What guessing gets right, where the files of --scores do not tell.")
def command(
    runs: tuple[Path, ...], output_format: str | None, output: Path | None, allow: tuple[str, ...],
    fail_on: tuple[str, ...], scores: tuple[str, ...], chance: str | None,
) -> None:  # fmt: skip
    """Compare saved runs: two, or many.

    Of two reports, each metric with its change, the 95 % interval of that, and whether it is better, worse, or cannot
    be told. Of more (or with --scores), one row a run. RUNS are reports or recordings.

    Exit codes: 0 fine, 1 a regression that --fail-on names, 2 usage or runs that may not be compared, 3 what --fail-on
    names could not be checked.
    """
    from wattvlm.errors import WattvlmError
    from wattvlm.regression.thresholds import thresholds_of
    from wattvlm.renderers import render
    from wattvlm.studies import compare, standings

    try:
        thresholds = [each for text in fail_on for each in thresholds_of(text, "--fail-on")]
        reports = _loaded(runs)
        if len(reports) < 2:
            raise ValueError("one run alone has nothing to be compared with. Cure: give two reports, or more")
        if chance is not None and not scores:
            raise ValueError("--chance says what guessing gets of --scores, and there are none")
        is_pair = len(reports) == 2 and not scores
        if thresholds and not is_pair:
            raise ValueError("--fail-on holds a run against one earlier run: give two reports, and no --scores")
        if is_pair:
            (before, earlier), (after, later) = reports.items()
            noun: Comparison | Standings = replace(compare(earlier, later, allow=allow), before=before, after=after)
        else:
            found, notes = _scores(list(reports), scores, chance)
            noun = standings(reports, scores=found, allow=allow)
            noun = replace(noun, notes=(*noun.notes, *notes))
        checks = _checks(noun, thresholds)
        rendered = str(render(noun, output_format or "console"))
    except (WattvlmError, ValueError) as error:
        raise click.UsageError(_with_option(error)) from error
    if output is not None:
        output.write_text(rendered, encoding="utf-8")
    else:
        click.echo(rendered.removesuffix("\n"))
    _end(checks)


def _loaded(paths: Sequence[Path]) -> dict[str, Report]:
    """The reports by name: the label or model where these differ, else the file's name, else its path."""
    from wattvlm.cli.report import load_report

    reports = [load_report(path) for path in paths]
    for names in (
        [report.label or report.model.name for report in reports],
        [path.name.removesuffix(".gz").removesuffix(".json") for path in paths],
        [str(path) for path in paths],
    ):
        if all(names) and len(set(names)) == len(names):
            return dict(zip(names, reports))
    raise ValueError("a run is given twice: it cannot be compared with itself")


def _scores(names: Sequence[str], given: Sequence[str], chance: str | None) -> tuple[dict[str, Score], Sequence[str]]:
    """The scores by run; a file without a name goes to the run of its place."""
    from wattvlm.scores import joined, read_answers

    if not given:
        return {}, ()
    named: dict[str, Path] = {}
    for place, each in enumerate(given):
        name, _, path = each.rpartition("=")
        if name and name not in names:
            raise ValueError(f"--scores {each}: there is no run {name!r}; there are {', '.join(names)}")
        if not name and len(given) != len(names):
            raise ValueError(f"{len(given)} files of --scores for {len(names)} runs. Cure: one each, or RUN=FILE")
        named[name or names[place]] = Path(path)
    missing = [str(path) for path in named.values() if not path.is_file()]
    if missing:
        raise ValueError(f"--scores: no file {', '.join(missing)}")
    return joined({name: read_answers(path) for name, path in named.items()}, _fraction(chance))


def _fraction(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        fraction = float(text.removesuffix("%")) / (100.0 if text.endswith("%") else 1.0)
    except ValueError:
        fraction = -1.0
    if not 0.0 <= fraction < 1.0:
        raise ValueError(f"--chance={text}: it must be a percentage, 25%, or a fraction, 0.25")
    return fraction


def _checks(noun: Comparison | Standings, thresholds: Sequence[Threshold]) -> list[Check]:
    from wattvlm.comparison import Comparison
    from wattvlm.regression.bounds import Check, kind_of
    from wattvlm.regression.thresholds import check_change

    checks: list[Check] = []
    for threshold in thresholds:
        assert isinstance(noun, Comparison)
        try:
            found = noun.of(threshold.metric)
        except KeyError:
            why = "neither run has it, or they may not be compared"
            checks.append(Check(threshold.metric, kind_of(threshold.metric), "not checked", why))
            continue
        checks.append(check_change(found, threshold, CURE))
    return checks


def _end(checks: Sequence[Check]) -> None:
    """Says what failed or could not be checked, on standard error, and ends with the exit code for it."""
    failed = [check for check in checks if check.state == "failed"]
    missed = [check for check in checks if check.state == "not checked"]
    for check in failed:
        click.echo(f"regression: {check.words}", err=True)
    for check in missed:
        click.echo(f"not checked: {check.metric}: {check.words}", err=True)
    if failed:
        raise SystemExit(REGRESSION)
    if missed:
        raise SystemExit(COULD_NOT_MEASURE)


def _with_option(error: Exception) -> str:
    """The message, with the option that allows what was refused."""
    from wattvlm.errors import NotComparable

    if not isinstance(error, NotComparable):
        return str(error)
    return f"{error}\nTo compare all the same: {' '.join(f'--allow {kind}' for kind in dict.fromkeys(error.kinds))}"
