"""The study of visual tokens, against a cost model whose joules are known; and the table from configurations alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.questions.virtual_runs import answered, request_of
from wattvlm.answers import Answer
from wattvlm.bench import Cell
from wattvlm.cli import main
from wattvlm.comparison import Expected
from wattvlm.questions import Asked, visual_tokens
from wattvlm.questions.visual_tokens import counted
from wattvlm.testing import CostModel, Request

GAIN = 1.02
"""Of the virtual board; an interval of the sensor holds the truth times it."""

COSTS = CostModel()
ENCODE_J = COSTS.encode_ns_per_token * COSTS.encode_w / 1e9
PREFILL_J = COSTS.prefill_ns_per_token * COSTS.prefill_w / 1e9
DECODE_J = 31 * COSTS.decode_ns_per_context * COSTS.decode_w / 1e9
WITHOUT_J = COSTS.truth_j(Request(visual=0, images=1))["call"]


@pytest.fixture(scope="module")
def answer() -> Answer:
    return answered(visual_tokens, Asked(models=("m",)))


def found_of(answer: Answer, what: str) -> Expected:
    found = answer.finding(what).found
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("what", "truth_j"),
    [
        ("m: one more visual token", ENCODE_J + PREFILL_J + DECODE_J),
        ("m: one more visual token in vision_encode", ENCODE_J),
        ("m: one more visual token in prefill", PREFILL_J),
        ("m: one more visual token in decode", DECODE_J),
        ("m: a call without visual tokens", WITHOUT_J),
    ],
)
def test_slopes_and_the_fixed_cost_hold_what_the_cost_model_says(answer, what, truth_j):
    found = found_of(answer, what)
    assert found.low < GAIN * truth_j < found.high
    assert found.high - found.low < 0.15 * found.value or what.endswith("decode")


def test_all_visual_tokens_together_are_the_ceiling_of_what_their_removal_saves(answer):
    finding = answer.finding("m: all visual tokens at 4 of 448 x 448")
    cell = Cell("m", images=4, resolution=(448, 448))
    truth = 1024 * (ENCODE_J + PREFILL_J + DECODE_J) / COSTS.truth_j(request_of(cell))["call"]
    assert finding.found is not None
    assert finding.found.low < truth < finding.found.high
    assert finding.verdict == "cannot tell"  # 28 % lies inside


def test_a_price_that_is_the_same_at_all_sizes_is_not_said_to_differ(answer):
    finding = answer.finding("m: a visual token at 448 x 448 against 224 x 224")
    assert finding.found is not None
    assert finding.found.low < 1.0 < finding.found.high
    assert finding.verdict != "does not hold"


def test_a_price_that_doubles_with_the_size_is_told():
    def costs(cell: Cell) -> CostModel:
        factor = 3.0 if cell.resolution == (448, 448) else 1.0
        return CostModel(encode_ns_per_token=factor * 400e3, decode_ns=2e6, variation_fraction=0.01)

    found = answered(visual_tokens, Asked(models=("m",), images=(1, 2, 3, 4, 6), resolutions=((224, 224), (448, 448))),
                     costs, calls=10)  # fmt: skip
    finding = found.finding("m: a visual token at 448 x 448 against 224 x 224")
    assert finding.verdict == "does not hold"
    assert finding.found is not None
    assert finding.found.low < (3 * 0.4 * 420 + 54) / (0.4 * 420 + 54) < finding.found.high


def test_a_size_that_changes_no_tokens_still_gives_a_slope_by_the_number_of_pictures():
    def fixed(cell: Cell) -> Request:
        """As LLaVA has it: 576 tokens of any picture, and 3 of text that frame each."""
        return Request(cell.images, 576 * cell.images, 32 + 3 * cell.images, cell.output_tokens)

    finding = answered(visual_tokens, Asked(models=("m",)), request=fixed).finding("m: one more visual token")
    assert finding.found is not None
    framed_j = (PREFILL_J + DECODE_J) * 3 / 576
    assert finding.found.low < GAIN * (ENCODE_J + PREFILL_J + DECODE_J + framed_j) < finding.found.high
    assert "text_input moves along" in finding.words


def test_two_cells_give_no_slope_and_say_so():
    found = answered(visual_tokens, Asked(models=("m",), images=(1,), resolutions=((224, 224), (448, 448))), calls=5)
    assert "2 runs do not give" in found.finding("m: one more visual token").words
    assert len(found.tables[0].rows) == 2


def test_joules_of_one_more_picture_are_those_of_its_tokens(answer):
    for _, tokens, one, picture in answer.tables[1].rows:
        assert picture.value == pytest.approx(tokens * one.value)
        assert picture.low < GAIN * tokens * (ENCODE_J + PREFILL_J + DECODE_J) < picture.high


def test_the_table_from_configurations_counts_without_loading_anything(tmp_path: Path):
    folder = tmp_path / "any-hub-model"
    folder.mkdir()
    (folder / "config.json").write_text(
        json.dumps({"model_type": "qwen2_5_vl", "vision_config": {"patch_size": 14, "spatial_merge_size": 2}})
    )
    (folder / "preprocessor_config.json").write_text(json.dumps({"min_pixels": 3136, "max_pixels": 12845056}))
    table = counted(["llava-1.5-7b", str(folder), "internvl3-1b"], [(448, 448), (640, 480)]).tables[0]
    assert [row[0] for row in table.rows] == ["llava-1.5-7b", "any-hub-model", "internvl3-1b"]
    assert [row[2:] for row in table.rows] == [(576, 576), (256, 391), (None, None)]


def test_the_command_counts_and_refuses_what_is_no_configuration(tmp_path: Path):
    done = CliRunner().invoke(main, ["visual-tokens", "llava-1.5-7b", "--resolution", "448,640x480", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["tables"][0]["rows"] == [["llava-1.5-7b", "llava", 576, 576]]
    listed = CliRunner().invoke(main, ["visual-tokens", "llava-1.5-7b", "internvl3-1b"])
    assert "576 visual tokens whatever the size" in listed.output
    assert "not settled by these files" in listed.output
    wrong = CliRunner().invoke(main, ["visual-tokens", str(tmp_path / "nothing")])
    assert wrong.exit_code == 2
    assert "there is no configuration" in wrong.output
