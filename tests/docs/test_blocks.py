"""Every block of code in README and docs runs as a reader would run it, or says on the page why the tests do not."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

import wattvlm
from tests.docs.pages import COMMANDS, FENCE, PAGES, ROOT, blocks
from wattvlm.demo import replay_path

pytest.importorskip("transformers", reason="pages run models: needs the extra wattvlm[torch]")

BLOCKS = {name: list(blocks(path.read_text())) for name, path in PAGES.items()}
RUN = [name for name, found in BLOCKS.items() if any(each.is_runnable and not each.not_run for each in found)]
NOT_RUN = [(f"{name}:{each.line}", each.not_run) for name, found in BLOCKS.items() for each in found if each.not_run]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """Exit code and output of each page, run in a folder with what pages take for given.

    These are a saved report, its rows and recording, and the schemas.
    """
    folder = tmp_path_factory.mktemp("reader")
    shutil.copy(replay_path(), folder / "run.rec.json.gz")
    report = wattvlm.analyze(wattvlm.Recording.load(replay_path()))
    report.save(folder / "run.json")
    (folder / "run.csv").write_text(str(wattvlm.render(report, "csv")))
    for schema in (ROOT / "docs/reference").glob("*.json"):
        shutil.copy(schema, folder)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "XDG_DATA_HOME": str(folder)}
    command = [sys.executable, "-m", "tests.docs.run_page", *RUN]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, tuple[int, str]] = json.loads((folder / "outcomes.json").read_text())
    return found


@pytest.mark.parametrize("page", RUN)
def test_every_block_of_the_page_runs(page: str, outcomes: dict[str, tuple[int, str]]) -> None:
    code, printed = outcomes[page]
    assert code == 0, f"{printed[-4000:]}\n{CURE}"


CURE = (
    "A block that cannot run in the tests, or takes more than a few seconds, has a paragraph of its own before it: "
    "*Not run by the tests: the reason.*"
)


@pytest.mark.parametrize(("place", "reason"), NOT_RUN, ids=[place for place, _ in NOT_RUN])
def test_a_block_that_is_not_run_says_why(place: str, reason: str) -> None:
    assert len(reason) > 10, f"{place}: {CURE}"
    pytest.skip(f"{place}: {reason}")


@pytest.mark.parametrize("page", PAGES)
def test_no_command_hides_in_an_indented_block_that_nobody_runs(page: str) -> None:
    outside = FENCE.sub("", PAGES[page].read_text())
    hidden = re.findall(rf"^\n {{4,}}(?:{'|'.join(COMMANDS)}).*", outside, re.MULTILINE)
    assert hidden == [], f"{page}: give it a fence. {CURE}"


def test_the_pages_are_found_with_their_blocks() -> None:
    assert {"README.md", "docs/runtimes.md", "docs/reference/schema.md"} <= set(RUN)
    assert sum(each.is_runnable for found in BLOCKS.values() for each in found) >= 8
