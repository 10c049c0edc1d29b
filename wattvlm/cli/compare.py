"""`wattvlm compare`: two runs held against each other, or several side by side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wattvlm.cli import COULD_NOT_MEASURE, REGRESSION
from wattvlm.cli._options import seconds_under

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wattvlm.comparison import Comparison, Score, Standings
    from wattvlm.regression.bounds import Check
    from wattvlm.regression.thresholds import Threshold
    from wattvlm.report import Report
    from wattvlm.sweep import Sweep

    Noun = Comparison | Standings | Sweep

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
@click.option(
    "--ttft-under", metavar="TIME", help="Of a folder of power limits or clocks: the best one under this TTFT."
)
@click.option("--tpot-under", metavar="TIME", help="The same for the time per output token, such as 30ms.")
def command(
    runs: tuple[Path, ...], output_format: str | None, output: Path | None, allow: tuple[str, ...],
    fail_on: tuple[str, ...], scores: tuple[str, ...], chance: str | None,
    ttft_under: str | None, tpot_under: str | None,
) -> None:  # fmt: skip
    """Compare saved runs: two, or many.

    Of two reports, each metric with its change, the 95 % interval of that, and whether it is better, worse, or cannot
    be told. Of more (or with --scores), one row a run. Of one folder that was measured at several power limits or
    clocks, joules and times at each, and the best of them. RUNS are reports, recordings, or folders of wattvlm bench.

    Exit codes: 0 fine, 1 a regression that --fail-on names, 2 usage or runs that may not be compared, 3 what --fail-on
    names could not be checked.
    """
    from wattvlm.errors import WattvlmError
    from wattvlm.regression.thresholds import thresholds_of
    from wattvlm.studies import compare

    try:
        thresholds = [each for text in fail_on for each in thresholds_of(text, "--fail-on")]
        if chance is not None and not scores:
            raise ValueError("--chance says what guessing gets of --scores, and there are none")
        pairs = [] if scores else _pairs(runs)
        if thresholds and not pairs:
            raise ValueError("--fail-on holds a run against one earlier run: give two reports, and no --scores")
        compared = [
            replace(compare(earlier, later, allow=allow), before=before, after=after)
            for (before, earlier), (after, later) in pairs
        ]
        under = seconds_under("--ttft-under", ttft_under), seconds_under("--tpot-under", tpot_under)
        swept = () if compared or scores else _sweeps(runs, under)
        nouns: list[Noun] = [*compared] or [*swept] or [_standings(runs, scores, chance, allow)]
        checks = [check for each in compared for check in _checks(each, thresholds)]
        rendered = _rendered(nouns, output_format or "console")
    except (WattvlmError, ValueError) as error:
        raise click.UsageError(_with_option(error)) from error
    if output is not None:
        output.write_text(rendered, encoding="utf-8")
    else:
        click.echo(rendered.removesuffix("\n"))
    _end(checks)


def _rendered(nouns: Sequence[Noun], output_format: str) -> str:
    """One after the other; as JSON one list of several. ValueError for several pages."""
    from wattvlm.renderers import render

    if len(nouns) > 1 and output_format == "html":
        raise ValueError(f"--html shows one comparison, and these are {len(nouns)}. Cure: give two reports")
    texts = [str(render(noun, output_format)) for noun in nouns]
    return f"[{', '.join(texts)}]" if output_format == "json" and len(texts) > 1 else "\n\n".join(texts)


Named = tuple[str, "Report"]
Under = tuple["float | None", "float | None"]


def _sweeps(runs: Sequence[Path], under: Under) -> tuple[Sweep, ...]:
    """The sweeps of one folder of wattvlm bench; nothing where it holds none. ValueError for bounds on nothing."""
    found: tuple[Sweep, ...] = ()
    if len(runs) == 1 and runs[0].is_dir():
        from wattvlm.bench import sweeps

        found = sweeps(runs[0], ttft_under_s=under[0], tpot_under_s=under[1])
    if not found and under != (None, None):
        raise ValueError("--ttft-under and --tpot-under choose among the settings of one folder of limits or clocks")
    return found


def _pairs(runs: Sequence[Path]) -> list[tuple[Named, Named]]:
    """Two reports, or the cells that two folders of wattvlm bench have in common; of anything else nothing."""
    if len(runs) == 2 and all(path.is_dir() for path in runs):
        from wattvlm.bench import reports

        earlier, later = (reports(path) for path in runs)
        common = [name for name in earlier if name in later]
        if not common:
            raise ValueError(f"{runs[0]} and {runs[1]} have no cell in common, so there is nothing to compare")
        return [((f"{runs[0]} {name}", earlier[name]), (str(runs[1]), later[name])) for name in common]
    if len(runs) != 2 or any(path.is_dir() for path in runs):
        return []
    before, after = _loaded(runs).items()
    return [(before, after)]


def _standings(runs: Sequence[Path], scores: Sequence[str], chance: str | None, allow: Sequence[str]) -> Standings:
    from wattvlm.studies import standings

    reports = _loaded(runs)
    found, notes = _scores(list(reports), scores, chance)
    noun = standings(reports, scores=found, allow=allow)
    return replace(noun, notes=(*noun.notes, *notes))


def _loaded(paths: Sequence[Path]) -> dict[str, Report]:
    """The reports by name: the label or model where these differ, else the file's name, else its path."""
    from wattvlm.cli.report import load_report

    opened = [(file, load_report(file)) for path in paths for file in _files(path)]
    if len(opened) < 2:
        raise ValueError("one run alone has nothing to be compared with. Cure: give two reports, or more")
    reports = [report for _, report in opened]
    short = _shortened([report.label for report in reports]) if all(path.is_dir() for path in paths) else []
    for names in (
        short,
        [report.label or report.model.name for report in reports],
        [file.name.removesuffix(".gz").removesuffix(".json") for file, _ in opened],
        [str(file) for file, _ in opened],
    ):
        if names and all(names) and len(set(names)) == len(names):
            return dict(zip(names, reports))
    raise ValueError("a run is given twice: it cannot be compared with itself")


def _shortened(names: Sequence[str]) -> list[str]:
    from wattvlm.bench.keeping import shortened

    return shortened(names)


def _files(path: Path) -> list[Path]:
    """The file itself, or those of all finished cells of a bench's folder."""
    if not path.is_dir():
        return [path]
    from wattvlm.bench import keeping

    return [path / each.file for each in sorted(keeping.load(path).finished, key=lambda each: each.name) if each.file]


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


def _checks(noun: Comparison, thresholds: Sequence[Threshold]) -> list[Check]:
    from wattvlm.regression.bounds import Check, kind_of
    from wattvlm.regression.thresholds import check_change

    checks: list[Check] = []
    for threshold in thresholds:
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
