"""`python run_page.py PAGE`: every runnable block of a page, in order, in this process and this folder.

A page's Python has what its reader has: `wattvlm`, and where its code names them the shipped `model`, its `processor`,
a `picture`, `inputs` of one question about it, and the `report` of the recording that ships.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.docs.pages import ROOT, Block, blocks

MODEL_NAMES = {"model", "processor", "picture", "inputs"}
SHELL_SIGNS = re.compile(r"[|<>&;$*=]")
COULD_NOT_MEASURE = 3


def readers_things(names: set[str]) -> dict[str, Any]:
    """What the page's reader has already, of the names that its code uses without making them."""
    import wattvlm
    from wattvlm.demo import replay_path

    found: dict[str, Any] = {"__name__": "__page__", "wattvlm": wattvlm}
    if "report" in names:
        found["report"] = wattvlm.analyze(wattvlm.Recording.load(replay_path()))
    return found | (shipped_model() if names & MODEL_NAMES else {})


def shipped_model() -> dict[str, Any]:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from wattvlm.demo import model_path
    from wattvlm.demo.questions import QUESTIONS, held_out, prompt

    processor = AutoProcessor.from_pretrained(model_path())
    model = AutoModelForImageTextToText.from_pretrained(model_path())
    picture = held_out().pictures()[0]
    inputs = processor(images=[picture], text=[prompt(QUESTIONS[0])], return_tensors="pt")
    return {"model": model, "processor": processor, "picture": picture, "inputs": inputs}


def names_taken(code: list[str]) -> set[str]:
    """Names that code reads and never makes."""
    nodes = [node for each in code for node in ast.walk(ast.parse(each)) if isinstance(node, ast.Name)]
    made = {node.id for node in nodes if isinstance(node.ctx, ast.Store)}
    return {node.id for node in nodes} - made


def run_command(line: str) -> None:
    """One command: ours in this process, which spares an interpreter's start; others as a shell runs them."""
    print(f"$ {line}", flush=True)
    words = shlex.split(line)
    if words[0] == "wattvlm" and not SHELL_SIGNS.search(line):
        from wattvlm.cli import main

        code = main.main(words[1:], prog_name="wattvlm", standalone_mode=False) or 0
    else:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        code = subprocess.run(line, shell=True, env={**os.environ, "PATH": path}).returncode
    if code and (words[1], code) != ("doctor", COULD_NOT_MEASURE):
        raise SystemExit(f"exit code {code}")


def run_block(block: Block, page: Path, things: dict[str, Any]) -> None:
    if block.language == "python":
        blank_lines = "\n" * block.line  # errors name the page's own line
        exec(compile(blank_lines + block.code, str(page), "exec"), things)
    for line in block.commands:
        run_command(line)


def main(page: Path, show: Callable[[str], None] = print) -> None:
    chosen = [block for block in blocks(page.read_text()) if block.is_runnable and not block.not_run]
    things = readers_things(names_taken([block.code for block in chosen if block.language == "python"]))
    for block in chosen:
        show(f"--- {page.name}, line {block.line}")
        run_block(block, page, things)


if __name__ == "__main__":
    main(ROOT / sys.argv[1])
