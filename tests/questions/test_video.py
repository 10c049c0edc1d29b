"""The study of frames, against a cost model whose joules are known."""

from __future__ import annotations

import pytest

from tests.questions.virtual_runs import answered, request_of
from wattvlm.answers import Answer
from wattvlm.questions import Asked, video
from wattvlm.testing import CostModel

GAIN = 1.02
COSTS = CostModel(variation_fraction=0.01)
ASKED = Asked(models=("m",))


def truth_j(frames: int) -> dict[str, float]:
    (cell,) = ASKED.design(images=(frames,), resolutions=video.SIZE).cells()
    return COSTS.truth_j(request_of(cell))


@pytest.fixture(scope="module")
def answer() -> Answer:
    return answered(video, ASKED, lambda _: COSTS)


def test_one_more_frame_costs_what_the_cost_model_says(answer):
    finding = answer.finding("m: one more frame")
    assert finding.found is not None
    assert "64 visual tokens" in finding.words
    assert finding.found.low < GAIN * (truth_j(16)["call"] - truth_j(2)["call"]) / 14 < finding.found.high
    assert finding.found.high - finding.found.low < 0.3 * finding.found.value


def test_a_clip_takes_so_many_times_the_joules_of_text_alone(answer):
    finding = answer.finding("m: 16 frames against text alone")
    assert finding.found is not None
    assert finding.found.low < truth_j(16)["call"] / truth_j(0)["call"] < finding.found.high


def test_the_stages_that_frames_burden_have_their_share(answer):
    finding = answer.finding("m: vision encode and prefill at 16 frames")
    truth = truth_j(16)
    assert finding.found is not None
    part = (truth["vision_encode"] + truth["prefill"]) / truth["call"]
    assert finding.found.value == pytest.approx(part, abs=0.005)
    assert finding.verdict == ("holds" if part > 0.5 else "does not hold")


def test_a_first_token_that_grows_slower_than_the_frames_is_told(answer):
    assert answer.finding("m: TTFT from 2 frames to 16 frames").verdict == "does not hold"


def test_each_clip_is_a_row(answer):
    rows = {row[0]: row for row in answer.tables[0].rows}
    assert rows["m 16 frames"][1] == 1024
    assert rows["m text only"][3] is None
    assert [x for x, _ in answer.pictures[0].series[0].points] == [0, 2, 4, 8, 16]
