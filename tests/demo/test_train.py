"""The training script, a few steps of it."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from wattvlm.demo import asking, model_path
from wattvlm.demo.questions import QUESTIONS, held_out
from wattvlm.demo.train import main

pytest.importorskip("torch", reason='needs the extra "torch"')
pytest.importorskip("transformers", minversion="5", reason="training writes its files with transformers 5")
pytest.importorskip("sklearn", reason="needs scikit-learn, whose digits are the training images")


def test_a_few_steps_write_a_folder_that_loads_and_answers_and_states_its_accuracy(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    run = CliRunner().invoke(main, ["--steps", "2", "--check-every", "1", "--batch-size", "4", "--out", str(folder)])
    assert run.exit_code == 0, run.output
    assert {file.name for file in folder.iterdir()} == {file.name for file in model_path().iterdir()}

    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    assert card["training"]["steps"] == 2
    assert re.search(rf"test, overall: {card['test']['overall']['fraction']:.3f} ", run.output)

    processor, model = asking.load(folder)
    texts = asking.answers(processor, model, QUESTIONS[0], held_out(folder))
    assert len(texts) == len(held_out(folder)) == 50
