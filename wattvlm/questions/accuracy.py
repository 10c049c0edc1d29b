"""Study: accuracy per joule on a benchmark's own file, and whether models differ in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import inf, sqrt
from pathlib import Path

from wattvlm.answers import Answer, AnswerTable, Claim, Finding, Heading, Picture, Series, Value
from wattvlm.bench import Design
from wattvlm.bench.keeping import shortened
from wattvlm.bench.subjects import TransformersSubject
from wattvlm.comparison import Expected, Score
from wattvlm.questions._answers import UNTRAINED, BenchmarkSubject
from wattvlm.questions._asking import benchmark_of, digest, marks_of, questions_of
from wattvlm.questions._figures import run_joules, times
from wattvlm.questions.asked import HOW_IT_RUNS, Asked, Run, design_lines
from wattvlm.studies.expected import expected_of
from wattvlm.studies.quotients import quotient, scaled, verdict
from wattvlm.studies.significance import SIGNIFICANT, holm, least_differing, mcnemar
from wattvlm.units import J_PER_KJ

NAME = "accuracy"
QUESTION = "How many questions of a benchmark does a model answer right, and for how many joules?"

LONGEST_ANSWER = 32
FRAMES = 8
"""Frames of a clip that a model is shown where the user asks for no other number."""


def design(asked: Asked) -> Design:
    """One cell a model; each call is another question, once each, as many as the calls that are allowed."""
    benchmark = benchmark_of(asked)
    questions = questions_of(asked, benchmark)
    is_clips = any(each.is_clip for each in questions)
    passes = "CircularEval" if asked.is_circular else "one pass"
    limited = replace(asked, fewest_calls=len(questions), most_calls=len(questions))
    return limited.design(
        {"benchmark": f"{benchmark.name} ({benchmark.format}, {passes})", "questions": digest(questions)},
        images=(FRAMES if is_clips else 1,), output_tokens=(LONGEST_ANSWER,),
    )  # fmt: skip


def subject(asked: Asked) -> BenchmarkSubject:
    """The benchmark's questions put to models by transformers."""
    benchmark = benchmark_of(asked)
    models = TransformersSubject(random_weights=asked.random_weights)
    return BenchmarkSubject(benchmark, questions_of(asked, benchmark), Path(asked.folder), models)


def answer(runs: Sequence[Run], design: Design) -> Answer:
    """Accuracy and joules of each model on the questions that all of them answered."""
    marks = _marks(runs)
    findings = [finding for each in marks for finding in _findings(each)]
    equal = f"the questions of {design.versions.get('benchmark', 'the benchmark')}, each asked once in one order"
    lines = design_lines(design, runs, equal, HOW_IT_RUNS)
    return Answer(
        NAME, QUESTION, (*lines[:2], _how_many(marks)),
        (*findings, *_pairs(marks)), (_table(marks),),
        (Picture("Accuracy by the joules of a question", "J a question", "right answers", _series(marks)),),
        (*(UNTRAINED if design.random_weights else ()), *_limits(marks, design.random_weights)),
        any(run.is_modelled for run in runs), any(run.report.virtual for run in runs),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Marks:
    """One run's marks by question, of the questions that all runs have; of one pass where there are several.

    unmarked: answers that nobody has marked.
    """

    name: str
    run: Run
    right: Mapping[str, float]
    chance: Mapping[str, float]
    first_pass: Mapping[str, float]
    passes: float
    unmarked: int

    @property
    def score(self) -> Score | None:
        """Right answers of those that were asked; None where nothing is marked."""
        if not self.right:
            return None
        known = len(self.chance) == len(self.right)
        expected = sum(self.chance.values()) / len(self.chance) if known else None
        return Score("", sum(self.right.values()), len(self.right), expected)

    @property
    def question_j(self) -> Expected | None:
        """Joules of a question with all of its passes."""
        found = run_joules(self.run)
        return None if found is None else scaled(found, self.passes)


def _marks(runs: Sequence[Run]) -> list[_Marks]:
    ordered = sorted(runs, key=lambda run: run.cell.name)
    names = shortened([run.cell.name for run in ordered]) if len(ordered) > 1 else [ordered[0].cell.model]
    by_run = [marks_of(run) for run in ordered]
    common = set[str].intersection(*(set(right) for right, _, _ in by_run))
    found: list[_Marks] = []
    for name, run, (right, chance, first) in zip(names, ordered, by_run):
        groups = {each.group for each in run.answers}
        found.append(_Marks(
            name, run, _only(right, common), _only(chance, common), _only(first, common),
            len(run.answers) / len(groups) if groups else 1.0, sum(each.score is None for each in run.answers),
        ))  # fmt: skip
    return found


def _only(values: Mapping[str, float], names: set[str]) -> dict[str, float]:
    return {name: value for name, value in values.items() if name in names}


def _findings(marks: _Marks) -> list[Finding]:
    score, modelled = marks.score, marks.run.is_modelled
    if score is None:
        words = "no answer is marked. Cure: --scores MODEL=FILE with a judge's marks"
        return [Finding(f"{marks.name}: accuracy", words), _of_joules(marks, modelled)]
    found = [_accuracy(marks, score)]
    if marks.passes > 1:
        first = Score("", sum(marks.first_pass.values()), len(marks.first_pass))
        words = "right in the first pass alone; the accuracy above asks for all passes"
        found.append(Finding(f"{marks.name}: accuracy of one pass", words, _expected(first), "%"))
    found.append(_of_joules(marks, modelled))
    above = _above_per_kilojoule(marks, score)
    words = "of the accuracy above chance, (a - c) / (1 - c), for a kilojoule of questions"
    if above is None:
        words += "; nothing surely above chance, or no joules, to divide"
    found.append(Finding(f"{marks.name}: accuracy above chance per kJ", words, above, is_modelled=modelled))
    return found


def _accuracy(marks: _Marks, score: Score) -> Finding:
    found = _expected(score)
    chance = score.chance_fraction
    if chance is None:
        words = f"of {score.asked} questions{_from_to(found)}; chance is not known"
        return Finding(f"{marks.name}: accuracy", words, found, "%")
    claim: Claim = verdict(found, chance, inf)
    where = {"holds": "above", "does not hold": "below", "cannot tell": "at", "": ""}[claim]
    words = f"of {score.asked} questions{_from_to(found)}; {where} chance ({chance * 100:.3g} %)"
    return Finding(f"{marks.name}: accuracy", words, found, "%", "above chance", claim)


def _from_to(found: Expected) -> str:
    """Wilson's interval lies not evenly around the value, least of all near 0 and 100 %."""
    return f" (95 %: {found.low * 100:.1f} to {found.high * 100:.1f} %)"


def _of_joules(marks: _Marks, modelled: bool) -> Finding:
    passes = "" if marks.passes == 1 else f" in {marks.passes:.3g} passes"
    words = f"a question{passes}, as long as the answers are that the model gives"
    return Finding(f"{marks.name}: joules", words, marks.question_j, "J", is_modelled=modelled)


def _expected(score: Score) -> Expected:
    return Expected(score.fraction, *score.interval_fraction)


def _above_per_kilojoule(marks: _Marks, score: Score) -> Expected | None:
    chance, question = score.chance_fraction, marks.question_j
    if chance is None or chance >= 1 or question is None:
        return None
    value, low, high = ((each - chance) / (1 - chance) for each in (score.fraction, *score.interval_fraction))
    above = Expected(value, low, high)
    if above.low <= 0:
        return None
    found = quotient(above, question)
    return None if found is None else scaled(found, J_PER_KJ)


def _per_right(marks: _Marks) -> Expected | None:
    score, question = marks.score, marks.question_j
    return None if score is None or question is None or not score.right else quotient(question, _expected(score))


def _pairs(marks: Sequence[_Marks]) -> list[Finding]:
    """Each two models on the same questions: McNemar's exact test, all p values by Holm together."""
    pairs = [(a, b) for a, b in combinations(marks, 2) if a.right and b.right]
    raw = [mcnemar(a.right, b.right) for a, b in pairs]
    return [_pair(a, b, p) for (a, b), p in zip(pairs, holm(raw))]


def _pair(a: _Marks, b: _Marks, p: float) -> Finding:
    differences = [b.right[question] - a.right[question] for question in a.right]
    gained, lost = sum(each > 0 for each in differences), sum(each < 0 for each in differences)
    n = len(differences)
    mean = sum(differences) / n
    half = 1.96 * sqrt(max(sum(each**2 for each in differences) / n - mean**2, 0.0) / n)
    words = (
        f"more right; on {gained} questions {b.name} is better and on {lost} {a.name} is, of {n}; McNemar's exact "
        f"test, p = {p:.2g} (by Holm over all pairs)"
    )
    claim: Claim = "does not hold" if p < SIGNIFICANT else "cannot tell"
    return Finding(f"{b.name} against {a.name}", words, Expected(mean, mean - half, mean + half), "%",
                   "both are equally right", claim)  # fmt: skip


def _series(marks: Sequence[_Marks]) -> tuple[Series, ...]:
    points = ((each.name, each.question_j, each.score) for each in marks)
    return tuple(
        Series(name, ((question.value, _expected(score)),))
        for name, question, score in points
        if question is not None and score is not None
    )


def _table(marks: Sequence[_Marks]) -> AnswerTable:
    headings = (
        Heading("questions"), Heading("right", "%"), Heading("chance", "%"), Heading("a question", "J"),
        Heading("a right answer", "J"), Heading("answer tokens"), Heading("a call", "s"),
    )  # fmt: skip
    return AnswerTable("Accuracy and joules", "model", headings, tuple(_row(each) for each in marks))


def _row(marks: _Marks) -> tuple[Value, ...]:
    score, report = marks.score, marks.run.report
    output = report.tokens.output
    return (
        marks.name, None if score is None else float(score.asked), None if score is None else _expected(score),
        None if score is None else score.chance_fraction, marks.question_j, _per_right(marks),
        None if output is None else output / max(report.requests, 1), expected_of(times(report, "call")),
    )  # fmt: skip


def _how_many(marks: Sequence[_Marks]) -> str:
    n = len(marks[0].right)
    if not n:
        return "no answers are marked, so that joules alone are told"
    half = 1.96 * sqrt(0.25 / n)
    return (
        f"{n} questions that all models answered: accuracy is known to ±{half * 100:.1f} points at half right (Wilson, "
        f"95 %), and two models that differ on fewer than {least_differing()} questions are not told apart"
    )


def _limits(marks: Sequence[_Marks], is_untrained: bool) -> tuple[str, ...]:
    found = [
        "answers of random weights all have one length"
        if is_untrained
        else "answers have the length that the model gives them, so that a model that talks more takes more joules",
        "intervals take questions as independent; several questions on one picture make them somewhat wider",
        "an answer is marked by the benchmark's own rules without a judge: what names no option is wrong",
    ]
    unmarked = sum(each.unmarked for each in marks)
    if unmarked:
        found.append(f"{unmarked} answers are not marked and count nowhere")
    if any(each.run.answers and each.run.answers[0].chance is None for each in marks):
        found.append("marks come from a judge, whose own joules are not in these; measure it as another run")
    return tuple(found)
