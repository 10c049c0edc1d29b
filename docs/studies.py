"""`docs/studies/NAME.md`: what each study says of this project's own runs, measured anew on the machine it runs on.

python -m docs.studies FOLDER              # all of them; runs are kept in FOLDER, and the same command goes on there
python -m docs.studies FOLDER stages       # one
python -m docs.studies FOLDER --shown      # writes the pages from what FOLDER holds, and measures nothing

A page keeps its words; between two marks stand the commands and their output, and the picture lies beside the others.
The page of `devices` shows two virtual boards.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wattvlm import questions
from wattvlm.answers import Answer
from wattvlm.errors import WattvlmError
from wattvlm.questions import Asked
from wattvlm.renderers import render
from wattvlm.testing import CostModel, Request
from wattvlm.units import NS_PER_MS, NS_PER_S

PAGES = Path(__file__).with_name("studies")
PICTURES = Path(__file__).with_name("pictures") / "studies"
BEGIN, END = "<!-- made by python -m docs.studies -->", "<!-- end of what was made -->"
MADE = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
DPI = 80
SMALL = ("smolvlm-256m", "lfm2-vl-450m", "qwen3.5-0.8b")
"""Three architectures that two cores run in seconds a call."""

LARGER = "qwen2-vl-2b"
MANY = (
    "smolvlm-256m", "smolvlm-500m", "lfm2-vl-450m", "qwen3.5-0.8b", "internvl3-1b", LARGER, "mobilevlm-1.7b",
    "mini-internvl-2b", "imp-3b", "bunny-3b", "mini-internvl-4b",
)  # fmt: skip
WIDTH = 110
HERE = """\
On 2 shared virtual cores without a GPU, one thread (`OMP_NUM_THREADS=1`). Other work ran beside, so that times scatter
and their intervals are wide. Joules are a model's (`~`) and follow times and load; times are measured."""
VIRTUAL = "Two virtual boards, whose joules are a script's (`wattvlm.testing.CostModel`)."


@dataclass(frozen=True, slots=True)
class Shown:
    """One run that a page shows: its title, what is asked, and the same as a command. is_drawn: its picture too."""

    title: str
    asked: Asked
    command: str
    is_drawn: bool = False


def _shipped(options: str = "", **matrix: Any) -> Shown:
    asked = Asked(("shipped",), until_fraction=0.1, fewest_calls=20, most_calls=20, limit_ns=120 * NS_PER_S,
                  cool_down_ns=100 * NS_PER_MS, devices=("cpu",), **{"dtypes": ("float32",), **matrix})  # fmt: skip
    return Shown("The shipped model", asked, f"shipped --calls 20 {options}".strip())


def _published(
    options: str, models: Sequence[str] = SMALL, dtypes: tuple[str, ...] = ("bfloat16",), **matrix: Any,
) -> Shown:  # fmt: skip
    asked = Asked(tuple(models), random_weights=True, until_fraction=0.1, fewest_calls=3, most_calls=3,
                  limit_ns=1800 * NS_PER_S, cool_down_ns=100 * NS_PER_MS, devices=("cpu",), dtypes=dtypes,
                  resolutions=((112, 112),), **matrix)  # fmt: skip
    named = " ".join(f"--config {model}" for model in models)
    command = f"{named} --random-weights --dtype {','.join(dtypes)} --resolution 112 {options} --calls 3"
    return Shown("Architectures at published size, random weights", asked, command, is_drawn=True)


def _answers(title: str, calls: int, options: str, **of_study: Any) -> Shown:
    asked = Asked(("shipped",), most_calls=calls, limit_ns=300 * NS_PER_S, cool_down_ns=100 * NS_PER_MS,
                  devices=("cpu",), dtypes=("float32",), **of_study)  # fmt: skip
    return Shown(title, asked, f"shipped{options}")


def _untrained(calls: int, options: str = "", **of_study: Any) -> Shown:
    asked = Asked(SMALL, random_weights=True, most_calls=calls, limit_ns=1800 * NS_PER_S, devices=("cpu",),
                  cool_down_ns=100 * NS_PER_MS, dtypes=("bfloat16",), **of_study)  # fmt: skip
    named = " ".join(f"--config {model}" for model in SMALL)
    command = f"{named} --random-weights --dtype bfloat16 {options} --calls {calls}"
    return Shown("Architectures at published size, random weights", asked, " ".join(command.split()), is_drawn=True)


STUDIES: Mapping[str, tuple[Shown, ...]] = {
    "batching": (_shipped(), _published("--batch 1,4 --output 4", batch_sizes=(1, 4), output_tokens=(4,))),
    "precision": (
        _shipped("--dtype float32,bfloat16,int8", dtypes=("float32", "bfloat16", "int8")),
        _published("--output 4", dtypes=("float32", "bfloat16", "int8"), output_tokens=(4,)),
    ),
    "video": (
        _shipped("--output 4", output_tokens=(4,)),
        _published("--images 0,2,4,6 --output 2", (*SMALL, LARGER), images=(0, 2, 4, 6), output_tokens=(2,)),
    ),
    "stages": (_shipped(), _published("--output 4", (*SMALL, LARGER), output_tokens=(4,))),
    "models": (_shipped(), _published("--output 4", MANY, output_tokens=(4,))),
    "output-length": (_shipped(), _published("--output 4,8,16", output_tokens=(4, 8, 16))),
    "visual-tokens": (
        _shipped("--images 1,2,3,4 --output 4", images=(1, 2, 3, 4), output_tokens=(4,)),
        _published("--images 1,2,3 --output 2", images=(1, 2, 3), output_tokens=(2,)),
    ),
    "action": (_shipped(), _published("--output 7,28", output_tokens=(7, 28))),
    "embedding": (_shipped(), _published("--batch 1,4", batch_sizes=(1, 4))),
    "prefix-cache": (_shipped(), _published("--output 4", output_tokens=(4,))),
    "retrieval": (_answers("The shipped model on the shipped digits", 50, " --calls 50"), _untrained(10)),
    "pruning": (
        _shipped(), _published("--output 4", output_tokens=(4,)),
        _answers("What the shipped model has left of its answers", 60, " --questions shipped --calls 60",
                 benchmark="shipped"),
    ),
    "accuracy": (
        _answers("The shipped model on the shipped benchmark", 150, ""),
        _answers("CircularEval", 60, " --circular --calls 60", is_circular=True),
        _untrained(30, "--output 2", output_tokens=(2,)),
    ),
    "devices": (Shown("Two boards", Asked(), "large-board.json.gz small-board.json.gz", is_drawn=True),),
}  # fmt: skip


def made(name: str, shown: Shown, folder: Path, measure: bool) -> Answer | None:
    """What a study answers from a folder of its own, after measuring what is missing in it; None of an empty one."""
    place = folder / f"{name}-{STUDIES[name].index(shown)}"
    if name == "devices":
        return virtual_devices(folder)
    if measure:
        return questions.ask(name, shown.asked, place)
    try:
        return questions.answered(name, place)
    except WattvlmError:
        return None


def virtual_devices(folder: Path) -> Answer:
    """The study of devices, of a large virtual board and one that is slower and draws less."""
    boards = {
        "large-board": CostModel(),
        "small-board": CostModel(
            encode_ns=30e6, encode_ns_per_token=200e3, encode_w=45.0, prefill_ns=40e6, prefill_ns_per_token=400e3,
            prefill_w=55.0, decode_ns=60e6, decode_w=40.0, idle_w=8.0, between_w=12.0, max_power_w=80.0,
        ),
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{name}.json.gz" for name in boards]
    for file, (name, costs) in zip(files, boards.items()):
        costs.report(Request(), seed=len(name), board=name).save(file)
    return questions.ask("devices", Asked(models=tuple(map(str, files))), folder / "devices")


def block(name: str, answers: Sequence[tuple[Shown, Answer]]) -> str:
    """What stands between the marks: each command, what it prints, and the picture of the last that has one."""
    lines = [BEGIN, "", VIRTUAL if name == "devices" else HERE, ""]
    for shown, answer in answers:
        text = str(render(answer, "console", width=WIDTH, colour=False, unicode=True))
        lines += [f"## {shown.title}", "", "```text", f"wattvlm study {name} {shown.command}", "```", "", "```text"]
        lines += [line.rstrip() for line in text.splitlines()] + ["```", ""]
    drawn = [answer for shown, answer in answers if shown.is_drawn]
    if drawn:
        title = "; ".join(picture.title for picture in drawn[0].pictures)
        lines += [f"![{title}](../pictures/studies/{name}.png)", ""]
    return "\n".join([*lines, END])


def write(name: str, answers: Sequence[tuple[Shown, Answer]]) -> None:
    """Put the block into the page, and the picture beside the others."""
    page = PAGES / f"{name}.md"
    page.write_text(MADE.sub(lambda _: block(name, answers), page.read_text()))
    for answer in [answer for shown, answer in answers if shown.is_drawn][:1]:
        PICTURES.mkdir(parents=True, exist_ok=True)
        picture = render(answer, "png", dpi=DPI)
        assert isinstance(picture, bytes)
        (PICTURES / f"{name}.png").write_bytes(picture)


def main(arguments: Sequence[str]) -> None:
    """Measure what is missing, and write the pages."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is there
    folder, *names = [word for word in arguments if not word.startswith("-")]
    for name in names or STUDIES:
        answers = [(shown, made(name, shown, Path(folder), "--shown" not in arguments)) for shown in STUDIES[name]]
        write(name, [(shown, answer) for shown, answer in answers if answer is not None])


if __name__ == "__main__":
    main(sys.argv[1:])
