"""`python -m tests.docs.run_page PAGE...`: every runnable block of each page, in order, in a process a page.

A page's folder is a copy of this one, and so is its process: torch is imported once for all of them. What each page
printed and its exit code are in outcomes.json, by page.

A page's Python has what its reader has: `wattvlm`, and where its code names them the shipped `model`, its `processor`,
a `picture`, `inputs` of one question about it, and the `report` of the recording that ships.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.docs.pages import PAGES, Block, blocks

MODEL_NAMES = {"model", "processor", "picture", "inputs"}
SHELL_SIGNS = re.compile(r"[|<>&;$*=]")
COULD_NOT_MEASURE = 3
SECONDS_A_PAGE = 60


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

        code = exit_code_of(lambda: main.main(words[1:], prog_name="wattvlm", standalone_mode=False))
    else:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        code = subprocess.run(line, shell=True, env={**os.environ, "PATH": path}).returncode
    if code and (words[1], code) != ("doctor", COULD_NOT_MEASURE):
        raise SystemExit(f"exit code {code}")


def exit_code_of(command: Callable[[], object]) -> int:
    """What a program's exit would be: what it returns, or exits with."""
    try:
        code = command()
    except SystemExit as ended:
        code = ended.code
    return code if isinstance(code, int) else 0


def run_block(block: Block, page: Path, things: dict[str, Any]) -> None:
    if block.language == "python":
        blank_lines = "\n" * block.line  # errors name the page's own line
        exec(compile(blank_lines + block.code, str(page), "exec"), things)
    for line in block.commands:
        run_command(line)


def run_page(page: str) -> None:
    """Every runnable block of a page, in order; whatever one raises ends the page."""
    chosen = [block for block in blocks(PAGES[page].read_text()) if block.is_runnable and not block.not_run]
    things = readers_things(names_taken([block.code for block in chosen if block.language == "python"]))
    for block in chosen:
        print(f"--- {page}, line {block.line}", flush=True)
        run_block(block, PAGES[page], things)


def run_apart(page: str, folder: Path) -> tuple[int, str]:
    """(exit code, what was printed) of a page in a copy of this process, in a folder of its own."""
    shutil.copytree(Path.cwd(), folder)
    log = folder / "printed.log"
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        signal.alarm(SECONDS_A_PAGE)
        printed = os.open(log, os.O_CREAT | os.O_WRONLY)
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        try:
            run_page(page)
            code = 0
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), log.read_text(errors="replace")


def main(pages: list[str]) -> None:
    if any(name in PAGES[page].read_text() for page in pages for name in ("model.generate", "transformers import")):
        importlib.import_module("transformers.models.llava.modeling_llava")
        importlib.import_module("transformers.models.llava.processing_llava")
    folder = Path(tempfile.mkdtemp())
    outcomes = {page: run_apart(page, folder / str(number)) for number, page in enumerate(pages)}
    Path("outcomes.json").write_text(json.dumps(outcomes))
    shutil.rmtree(folder)


if __name__ == "__main__":
    main(sys.argv[1:])
