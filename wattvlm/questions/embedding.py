"""Study: joules of an embedding of a picture and of a text, and of an index of a thousand pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from wattvlm.answers import Answer, AnswerTable, Finding, Heading, Picture, Series, Value
from wattvlm.bench import Cell, Design
from wattvlm.bench.subjects import TransformersSubject, config_of
from wattvlm.comparison import Expected
from wattvlm.questions._figures import row_name, run_joules, times
from wattvlm.questions.asked import HOW_IT_RUNS, Asked, Run, by_model, design_lines
from wattvlm.studies.expected import expected_of
from wattvlm.studies.quotients import quotient, saving, scaled

NAME = "embedding"
QUESTION = "How many joules does an embedding of a picture take, and of a text, and how much does a batch save?"

BATCHES = (1, 4, 16)
INDEX = 1000
TWO_TOWERS = ("siglip", "siglip2", "clip")
"""Families with an encoder for pictures and one for texts, which share nothing."""

TEXT_TOKENS = 16


def design(asked: Asked) -> Design:
    """A text alone as the query, and a picture to be indexed, in batches; nothing is generated."""
    return asked.design(images=(0, 1), batch_sizes=BATCHES, output_tokens=(1,))


def subject(asked: Asked) -> EmbeddingSubject:
    """Models by transformers, asked for one forward pass."""
    return EmbeddingSubject(asked.random_weights)


class EmbeddingSubject:
    """One forward pass: the state of the last token (VLM2Vec), or one tower's output (SigLIP, CLIP)."""

    def __init__(self, random_weights: bool) -> None:
        self._random_weights = random_weights
        self._models = TransformersSubject(random_weights=random_weights)
        self._towers: tuple[tuple[str, str, str], Any] | None = None

    def call_of(self, cell: Cell, seed: int) -> Callable[[], Any]:
        """The call that makes the embeddings of a batch."""
        torch: Any = import_module("torch")
        if self._random_weights and config_of(cell.model)["model_type"] in TWO_TOWERS:
            tower, inputs = self._tower_of(torch, cell, seed)

            def encode() -> Any:
                with torch.inference_mode():
                    return tower(**inputs).pooler_output

            return encode
        model, _ = self._models.loaded(cell, seed)
        prompt = self._models.inputs_of(cell, seed)

        def embed() -> Any:
            with torch.inference_mode():
                return last_state(model, prompt())

        return embed

    def _tower_of(self, torch: Any, cell: Cell, seed: int) -> tuple[Any, dict[str, Any]]:
        """The tower that a cell needs, and noise for it."""
        if self._towers is None or self._towers[0] != cell.loading:
            hf: Any = import_module("transformers")
            torch.manual_seed(seed)
            config = hf.AutoConfig.for_model(**config_of(cell.model))
            dtype = getattr(torch, cell.dtype) if cell.dtype else torch.float32
            made = hf.AutoModel.from_config(config, dtype=dtype).eval().to(cell.device or "cpu")
            self._towers = cell.loading, made
        model = self._towers[1]
        chance = torch.Generator().manual_seed(seed)
        if cell.images:
            vision = model.config.vision_config
            shape = (cell.batch_size * cell.images, vision.num_channels, vision.image_size, vision.image_size)
            pixels = torch.rand(shape, generator=chance).to(model.device, model.dtype)
            return model.vision_model, {"pixel_values": pixels}
        text = model.config.text_config
        length = min(TEXT_TOKENS, text.max_position_embeddings)
        ids = torch.randint(0, text.vocab_size, (cell.batch_size, length), generator=chance).to(model.device)
        return model.text_model, {"input_ids": ids}


def last_state(model: Any, inputs: Mapping[str, Any]) -> Any:
    """The state of each prompt's last token after the last layer, which VLM2Vec takes for its embedding."""
    return model(**inputs, output_hidden_states=True, logits_to_keep=1).hidden_states[-1][:, -1]


def answer(runs: Sequence[Run], design: Design) -> Answer:
    """Joules of a query, of a picture, and of an index, and what the largest batch saves."""
    findings = [finding for model, of_model in by_model(runs).items() for finding in _findings(model, of_model)]
    return Answer(
        NAME, QUESTION,
        design_lines(
            design, runs, "the words and the size of the pictures; nothing is generated", ("resolution", *HOW_IT_RUNS)
        ),
        tuple(findings), (_table(runs),),
        (Picture("Joules of an embedding by the batch", "embeddings a call", "J an embedding", _series(runs)),),
        (
            "an index is made of pictures alone: reading them from a disk and searching among vectors is not in it",
            f"an index of {INDEX:,} pictures is {INDEX:,} times the mean of those that ran",
        ),
        any(run.is_modelled for run in runs), any(run.report.virtual for run in runs),
    )  # fmt: skip


def _findings(model: str, runs: Sequence[Run]) -> list[Finding]:
    modelled = any(run.is_modelled for run in runs)
    ordered = sorted(runs, key=lambda run: run.cell.batch_size)
    queries = [run for run in ordered if not run.cell.images]
    pictures = [run for run in ordered if run.cell.images]
    found: list[Finding] = []
    if queries:
        words = f"a text alone, {queries[0].cell.batch_size} a call"
        found.append(Finding(f"{model}: a query", words, _each(queries[0]), "J", is_modelled=modelled))
    if not pictures:
        return found
    first, last = pictures[0], pictures[-1]
    one, many = _each(first), _each(last)
    index = None if many is None else scaled(many, float(INDEX))
    found += [
        Finding(f"{model}: a picture", f"{first.cell.batch_size} a call", one, "J", is_modelled=modelled),
        Finding(f"{model}: an index of {INDEX:,} pictures", f"{last.cell.batch_size} a call", index, "J",
                is_modelled=modelled),
    ]  # fmt: skip
    if last is not first and one is not None and many is not None:
        words = f"of a picture's joules, from {first.cell.batch_size} to {last.cell.batch_size} a call"
        found.append(Finding(f"{model}: saved by a batch", words, saving(one, many), "%", is_modelled=modelled))
    return found


def _embeddings(run: Run) -> int:
    """Of a call: one a picture, or one a text."""
    return run.cell.batch_size * max(run.cell.images, 1)


def _each(run: Run) -> Expected | None:
    """Joules of one embedding."""
    found = run_joules(run)
    return None if found is None else scaled(found, run.cell.batch_size / _embeddings(run))


def _rate(run: Run) -> Expected | None:
    took, count = expected_of(times(run.report, "call")), float(_embeddings(run))
    return None if took is None else quotient(Expected(count, count, count), took)


def _what(run: Run) -> str:
    return "picture" if run.cell.images else "text"


def _series(runs: Sequence[Run]) -> tuple[Series, ...]:
    by_kind: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.cell.batch_size):
        by_kind.setdefault(f"{row_name(run.cell)}, {_what(run)}", []).append(run)
    return tuple(
        Series(kind, tuple((float(_embeddings(run)), each) for run in some if (each := _each(run)) is not None))
        for kind, some in by_kind.items()
    )


def _table(runs: Sequence[Run]) -> AnswerTable:
    headings = (
        Heading("of a"), Heading("a call"), Heading("an embedding", "J"), Heading("a thousand", "J"),
        Heading("a call", "s"), Heading("a second"),
    )  # fmt: skip
    ordered = sorted(runs, key=lambda run: (run.cell.model, run.cell.images, run.cell.batch_size))
    return AnswerTable("Joules of embeddings", "model", headings, tuple(_row(run) for run in ordered))


def _row(run: Run) -> tuple[Value, ...]:
    each = _each(run)
    return (
        row_name(run.cell), _what(run), float(_embeddings(run)), each,
        None if each is None else scaled(each, float(INDEX)), expected_of(times(run.report, "call")), _rate(run),
    )  # fmt: skip
