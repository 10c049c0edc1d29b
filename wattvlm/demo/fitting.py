"""The training loop: one image, one question and one answer a row; the validation images choose the checkpoint."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from wattvlm.demo.architecture import IMAGE_SIDE_PX, answer_text
from wattvlm.demo.questions import QUESTIONS, HeldOutImages, prompt
from wattvlm.demo.splitting import Split

# A label that the loss of every transformers model leaves out.
_NOT_LEARNED = -100
_LARGEST_SHIFT_PX = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """How to train: `steps` of `batch_size` rows, checked on the validation images each `check_every` steps.

    The usual values were chosen on the validation images too; rates of 0.001 and 0.002 were tried.
    """

    steps: int = 2500
    batch_size: int = 48
    learning_rate: float = 1e-3
    seed: int = 0
    check_every: int = 100


@dataclass(frozen=True, slots=True)
class Fit:
    """The weights that answered the validation images best, the step they are from, and that fraction of answers."""

    weights: dict[str, Any]
    step: int
    validation_fraction: float


@dataclass(frozen=True, slots=True)
class _Rows:
    """Token ids, mask and labels of each (question, digit), shape (questions, 10, longest row), padded on the right."""

    ids: Any
    mask: Any
    labels: Any


def _rows(processor: Any) -> _Rows:
    torch: Any = import_module("torch")
    pairs = [(question, digit) for question in QUESTIONS for digit in range(10)]
    tokenizer = processor.tokenizer
    # One blank picture a row: the processor writes as many image tokens as the model will see.
    blank = [[[0] * 3] * IMAGE_SIDE_PX] * IMAGE_SIDE_PX
    rows: list[tuple[list[int], int]] = []
    for question, digit in pairs:
        prompt_ids = processor(images=torch.tensor(blank).byte().numpy(), text=prompt(question))["input_ids"][0]
        answer = tokenizer.encode(answer_text(question.sentence(digit)), add_special_tokens=False)
        rows.append(([*prompt_ids, *answer, tokenizer.eos_token_id], len(prompt_ids)))
    longest = max(len(ids) for ids, _ in rows)
    shape = (len(QUESTIONS), 10, longest)
    padded = [ids + [tokenizer.pad_token_id] * (longest - len(ids)) for ids, _ in rows]
    mask = [[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in rows]
    hidden = _NOT_LEARNED
    labels = [[hidden] * asked + ids[asked:] + [hidden] * (longest - len(ids)) for ids, asked in rows]
    return _Rows(*(torch.tensor(column).reshape(shape) for column in (padded, mask, labels)))


def _shifted(pixels: Any) -> Any:
    """The images, each moved by up to `_LARGEST_SHIFT_PX` in both directions; what enters at the edge is black."""
    torch: Any = import_module("torch")
    side, margin = IMAGE_SIDE_PX, _LARGEST_SHIFT_PX
    # Black is -1 after the processor's normalisation.
    roomy = torch.nn.functional.pad(pixels, (margin,) * 4, value=-1.0)
    corners = torch.randint(0, 2 * margin + 1, (len(pixels), 2)).tolist()
    return torch.stack([one[:, y : y + side, x : x + side] for one, (y, x) in zip(roomy, corners, strict=True)])


def _right_fraction(model: Any, pixels: Any, digits: Any, rows: _Rows) -> float:
    """The fraction of answers that greedy decoding would write word for word, without decoding them.

    Given the right beginning, each next token must be the most probable one; by induction greedy decoding then
    writes the whole answer.
    """
    torch: Any = import_module("torch")
    right = 0
    with torch.inference_mode():
        for question in range(len(QUESTIONS)):
            labels = rows.labels[question, digits]
            logits = model(
                input_ids=rows.ids[question, digits], attention_mask=rows.mask[question, digits], pixel_values=pixels
            ).logits
            wanted = labels[:, 1:]
            right += int(((logits[:, :-1].argmax(-1) == wanted) | (wanted == _NOT_LEARNED)).all(-1).sum())
    return right / (len(digits) * len(QUESTIONS))


def _tensors(processor: Any, images: HeldOutImages) -> tuple[Any, Any]:
    torch: Any = import_module("torch")
    pixels = processor.image_processor(images.pictures(), return_tensors="pt")["pixel_values"]
    return pixels, torch.tensor(images.digits)


def fit(model: Any, processor: Any, split: Split, plan: Plan, progress: Callable[[int, float], None]) -> Fit:
    """Trains `model` in place on `split.train` and gives the weights that did best on `split.validation`.

    `progress` is called after each step with the steps done and the best validation fraction so far (0.0 before
    the first check). `split.test` is not looked at.
    """
    torch: Any = import_module("torch")
    torch.manual_seed(plan.seed)
    rows = _rows(processor)
    pixels, digits = _tensors(processor, split.train)
    validation = _tensors(processor, split.validation)
    optimiser = torch.optim.AdamW(model.parameters(), lr=plan.learning_rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=plan.learning_rate, total_steps=plan.steps, pct_start=0.1
    )
    best = Fit({}, 0, 0.0)
    for step in range(1, plan.steps + 1):
        model.train()
        some = torch.randint(len(digits), (plan.batch_size,))
        question = torch.randint(len(QUESTIONS), (plan.batch_size,))
        shown = digits[some]
        loss = model(
            input_ids=rows.ids[question, shown],
            attention_mask=rows.mask[question, shown],
            labels=rows.labels[question, shown],
            pixel_values=_shifted(pixels[some]),
        ).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % plan.check_every == 0 or step == plan.steps:
            model.eval()
            fraction = _right_fraction(model, *validation, rows)
            if fraction >= best.validation_fraction:
                weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
                best = Fit(weights, step, fraction)
        progress(step, best.validation_fraction)
    return best
