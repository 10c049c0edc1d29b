"""Answers to a benchmark's questions: asked under the meter, kept beside the runs, and marked.

One file of JSON lines a cell, which `wattvlm compare --scores` reads too: question_id, prediction, score, chance.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from wattvlm.bench import Cell
from wattvlm.bench.measuring import WARM_UP_CALLS
from wattvlm.bench.subjects import SHIPPED, prompt_of
from wattvlm.bench.untrained import UntrainedProcessor
from wattvlm.benchmark_files import Benchmark, Question
from wattvlm.benchmark_files.marking import chance, commonest, score
from wattvlm.benchmark_files.mmvet import graded
from wattvlm.benchmark_files.question import LETTERS
from wattvlm.questions.asked import Answered, Run
from wattvlm.scores import joined, read_answers

ENDING = ".answers.jsonl"
NO_TOKEN = 2**31 - 1
"""As the token that ends an answer: one that no model writes."""

UNTRAINED = (
    "weights are random: what is right is right by chance, so that a model at chance is what is expected and checks "
    "questions and marks; joules and times are those of the architecture",
    "of random weights the offered answer (an option's letter, or one of the ten commonest answers) is taken whose "
    "first token is the likeliest; pictures are not cut into tiles, and words are tokens of up to four letters",
)
"""Limits of answers that were given by random weights."""


class Models(Protocol):
    """What loads models: TransformersSubject, or what changes them afterwards."""

    def loaded(self, cell: Cell, seed: int) -> tuple[Any, Any]:
        """A cell's model and its processor, None where it has none."""
        ...


class BenchmarkSubject:
    """Each call asks the next question of a benchmark, and its answer is kept in the folder.

    The calls to warm up ask the first question, and keep nothing. name: of a cell's model. change: what becomes of a
    model's inputs. is_held: answers are computed to the cell's length, and read up to where the model ended them.
    """

    def __init__(
        self, benchmark: Benchmark, questions: Sequence[Question], folder: Path, models: Models,
        name: Callable[[Cell], str] = lambda cell: cell.model,
        change: Callable[[Any, Any], Any] = lambda model, inputs: inputs, is_held: bool = False,
    ) -> None:  # fmt: skip
        self._benchmark = benchmark
        self._questions = tuple(questions)
        self._folder = folder
        self._models = models
        self._name = name
        self._change = change
        self._is_held = is_held
        self._chance = chance(questions, benchmark.marking)
        self._commonest = commonest(questions)

    def call_of(self, cell: Cell, seed: int) -> Callable[[], str]:
        """The call that asks and keeps. Of random weights the likeliest of the offered answers is kept."""
        model, processor = self._models.loaded(cell, seed)
        processor = processor or UntrainedProcessor(model)
        path = answers_path(self._folder, cell)
        path.write_text("", encoding="utf-8")
        turns = iter([(self._questions[0], False)] * WARM_UP_CALLS + [(each, True) for each in self._questions])

        def call() -> str:
            question, is_kept = next(turns)
            said = self._ask(model, processor, question, cell)
            if is_kept:
                self._keep(path, question, said)
            return said

        return call

    def _ask(self, model: Any, processor: Any, question: Question, cell: Cell) -> str:
        pictures = [picture.open() for picture in question.frames(cell.images)]
        # The shipped model knows three questions and no other word, so that it is shown the question alone.
        text = question.text if self._name(cell) == SHIPPED else question.prompt(self._benchmark.asks)
        asked = prompt_of(processor, len(pictures), text)
        inputs = processor(images=[pictures], text=[asked], return_tensors="pt").to(model.device)
        inputs = self._change(model, inputs)
        held: dict[str, Any] = {"eos_token_id": NO_TOKEN} if self._is_held else {}
        if isinstance(processor, UntrainedProcessor):
            held |= {"output_logits": True, "return_dict_in_generate": True}
        output = model.generate(**inputs, max_new_tokens=cell.output_tokens, do_sample=False, **held)
        if isinstance(processor, UntrainedProcessor):
            return processor.likeliest(output.logits[0][0], self._offered(question))
        written = output[:, inputs["input_ids"].shape[1] :]
        if self._is_held:
            written = [_up_to_end(written[0].tolist(), model.generation_config.eos_token_id)]
        return str(processor.batch_decode(written, skip_special_tokens=True)[0]).strip()

    def _offered(self, question: Question) -> Sequence[str]:
        """The letters of a question's options, or the commonest answers of all questions."""
        return LETTERS[: len(question.options)] or self._commonest

    def _keep(self, path: Path, question: Question, said: str) -> None:
        given = score(question, said, self._benchmark.marking)
        chance_of = self._chance.get(question.id)
        keep(path, question.id, said, given, chance_of, question.group, self._benchmark.most_score)


def answers_path(folder: Path, cell: Cell) -> Path:
    """Where the answers of a cell are kept."""
    return folder / f"{cell.name}{ENDING}"


def keep(
    path: Path, question: str, said: str, score: float | None, chance: float | None, group: str = "",
    most_score: float = 1.0,
) -> None:  # fmt: skip
    """One more answer in a cell's file."""
    entry = {
        "question_id": question, "group": group or question, "prediction": said, "score": score, "chance": chance,
        "most_score": most_score,
    }  # fmt: skip
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry, ensure_ascii=False) + "\n")


def _up_to_end(written: list[int], ends: int | Sequence[int] | None) -> list[int]:
    """What a model wrote before the first token with which it would have ended."""
    known = [ends] if isinstance(ends, int) else list(ends or ())
    return written[: min((written.index(end) for end in known if end in written), default=len(written))]


def kept_answers(folder: Path, name: str) -> tuple[Answered, ...]:
    """The answers that were kept of a cell; none where the study keeps none."""
    path = folder / f"{name}{ENDING}"
    if not path.is_file():
        return ()
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return tuple(
        Answered(each["question_id"], each["group"], each["prediction"], each["score"], each["chance"],
                 each["most_score"])
        for each in entries
    )  # fmt: skip


def marked(runs: Sequence[Run], scores: Sequence[tuple[str, str]]) -> tuple[Run, ...]:
    """Runs with the marks of files in the place of their own, or rated by them where they keep no answers.

    scores: (model, file). ValueError where a model has no run, or a file none of its questions.
    """
    if scores and not any(run.answers for run in runs):
        return rated(runs, scores)
    models = {run.cell.model for run in runs if run.answers}
    unknown = [model for model, _ in scores if model not in models]
    if unknown:
        raise ValueError(f"--scores: no answers of {unknown[0]!r} are kept; there are {', '.join(sorted(models))}")
    files = dict(scores)
    return tuple(_marked(run, Path(files[run.cell.model])) if run.cell.model in files else run for run in runs)


def rated(runs: Sequence[Run], scores: Sequence[tuple[str, str]]) -> tuple[Run, ...]:
    """Runs with their model's score on the questions that all files have. scores: (model, file)."""
    models = {run.cell.model for run in runs}
    unknown = [model for model, _ in scores if model not in models]
    if unknown:
        raise ValueError(f"--scores: {unknown[0]!r} was not measured; there are {', '.join(sorted(models))}")
    found, _ = joined({model: read_answers(Path(file)) for model, file in scores})
    return tuple(replace(run, rated=found.get(run.cell.model)) for run in runs)


def _marked(run: Run, path: Path) -> Run:
    found = graded(path) or read_answers(path, run.answers[0].most_score).right
    if not any(each.question in found for each in run.answers):
        raise ValueError(f"--scores: {path} marks none of the questions that {run.cell.model} answered")
    answers = (replace(each, score=found.get(each.question)) for each in run.answers)
    return replace(run, answers=tuple(answers))
