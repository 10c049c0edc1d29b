"""The study of frames, against a cost model whose joules are known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.tiny_configs import tiny
from tests.questions.virtual_runs import answered, clip_request, request_of
from wattvlm import meter
from wattvlm.answers import Answer
from wattvlm.bench import Cell
from wattvlm.bench.made_up import NoClips
from wattvlm.bench.subjects import TransformersSubject
from wattvlm.questions import Asked, video
from wattvlm.questions._clips import ClipSubject
from wattvlm.testing import CostModel, Request

GAIN = 1.02
COSTS = CostModel(variation_fraction=0.01)
ASKED = Asked(models=("m",))


def truth_j(frames: int, way: str = "pictures") -> dict[str, float]:
    asked = Asked(models=(f"m+{way}",))
    (cell,) = asked.design(images=(frames,), resolutions=video.SIZE).cells()
    return COSTS.truth_j(clip_request(cell))


@pytest.fixture(scope="module")
def answer() -> Answer:
    return answered(video, ASKED, lambda _: COSTS)


def test_one_more_frame_costs_what_the_cost_model_says(answer):
    for way, tokens in (("pictures", 64), ("video", 32)):
        finding = answer.finding(f"m as {way}: one more frame")
        assert finding.found is not None
        assert f"a frame is {tokens} visual tokens" in finding.words
        truth = GAIN * (truth_j(16, way)["call"] - truth_j(2, way)["call"]) / 14
        assert finding.found.low < truth < finding.found.high
        assert finding.found.high - finding.found.low < 0.3 * finding.found.value


def test_a_clip_that_merges_its_frames_takes_the_part_that_the_cost_model_says(answer):
    finding = answer.finding("m: 16 frames as video")
    truth = truth_j(16, "video")["call"] / truth_j(16)["call"]
    assert finding.found is not None
    assert finding.found.low < truth < finding.found.high
    assert finding.verdict == "holds"
    assert "512 visual tokens against 1,024" in finding.words


def test_a_way_that_merges_nothing_is_not_called_cheaper():
    found = answered(video, replace(ASKED, images=(2, 4)), lambda _: COSTS, calls=10, request=request_of)
    assert found.finding("m: 4 frames as video").verdict == "cannot tell"


def test_a_clip_takes_so_many_times_the_joules_of_text_alone(answer):
    finding = answer.finding("m as pictures: 16 frames against text alone")
    assert finding.found is not None
    assert finding.found.low < truth_j(16)["call"] / truth_j(0)["call"] < finding.found.high


def test_the_stages_that_frames_burden_have_their_share(answer):
    finding = answer.finding("m as pictures: vision encode and prefill at 16 frames")
    truth = truth_j(16)
    assert finding.found is not None
    part = (truth["vision_encode"] + truth["prefill"]) / truth["call"]
    assert finding.found.value == pytest.approx(part, abs=0.005)
    assert finding.verdict == ("holds" if part > 0.5 else "does not hold")


def test_a_first_token_that_grows_slower_than_the_frames_is_told(answer):
    assert answer.finding("m as pictures: TTFT from 2 frames to 16 frames").verdict == "does not hold"


def test_each_clip_is_a_row_and_its_frames_share_its_joules(answer):
    as_pictures, as_video = ({row[0]: row for row in table.rows} for table in answer.tables)
    assert as_pictures["16 frames"][1] == 1024
    assert as_video["16 frames"][1] == 512
    assert as_video["text only"][3] is None
    assert [x for x, _ in answer.pictures[0].series[0].points] == [0, 2, 4, 8, 16]


def test_a_frame_of_a_clip_that_counts_as_one_picture_takes_its_part_of_the_clip():
    def one_clip(cell: Cell) -> Request:
        return replace(clip_request(cell), images=min(cell.images, 1))

    def frames_of(found: Answer) -> list[object]:
        return [row[3] for row in found.tables[1].rows]

    asked = replace(ASKED, images=(2, 4))
    by_frame, by_clip = (frames_of(answered(video, asked, calls=5, request=each)) for each in (clip_request, one_clip))
    assert by_frame == by_clip


def test_a_family_with_a_way_of_its_own_is_given_a_clip_and_another_says_that_it_has_none(tmp_path: Path):
    pytest.importorskip("transformers")
    subject = ClipSubject(TransformersSubject(random_weights=True))
    kinds = {"qwen2-vl-2b": 2 * 40, "qwen3.5-0.8b": 2 * 28, "smolvlm-256m": 0}
    for kind, visual in kinds.items():
        path = tmp_path / kind / "config.json"
        path.parent.mkdir()
        path.write_text(json.dumps(tiny(kind)))
        cell = Cell(f"{path}+video", 3, (224, 140), 2, 3, "float32", "cpu")
        if not visual:
            with pytest.raises(NoClips, match="'smolvlm' takes a clip only as pictures"):
                subject.call_of(cell, 0)
            continue
        with meter(probes=[]) as m:
            subject.call_of(cell, 0)()
        assert m.report.tokens.visual_input == 2 * visual, "three frames are two parts in time"
        assert m.report.tokens.output == 2 * 3
    with pytest.raises(NoClips, match="takes no clips"):
        ClipSubject(TransformersSubject()).call_of(Cell("shipped+video", 2, dtype="float32", device="cpu"), 0)
