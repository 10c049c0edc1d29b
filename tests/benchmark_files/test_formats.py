"""Files of benchmarks as their authors lay them out: found by themselves, and read whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmark_files import made
from wattvlm import benchmark_files
from wattvlm.benchmark_files import Benchmark, BenchmarkFileError
from wattvlm.benchmark_files.mmbench import circular, one_pass
from wattvlm.benchmark_files.mmeb import hit_at_1, read_queries
from wattvlm.benchmark_files.mmvet import graded
from wattvlm.errors import WattvlmError

pytest.importorskip("PIL")


def read(folder: Path, name: str, pictures: str = "") -> Benchmark:
    return benchmark_files.read(getattr(made, name)(folder), folder / pictures)


def shade(benchmark: Benchmark, question: int, picture: int = 0) -> int:
    return benchmark.questions[question].pictures[picture].open().tobytes()[0]


@pytest.mark.parametrize(
    ("name", "pictures", "format", "marking", "questions"),
    [
        ("mmbench", "", "mmbench", "option", 3),
        ("vqav2", "val2014", "vqav2", "soft", 2),
        ("vizwiz", "", "vizwiz", "soft", 1),
        ("mvbench", "frames", "mvbench", "option", 2),
        ("mmbench_video", "frames", "mmbench-video", "judge", 1),
        ("mmvet", "", "mm-vet", "judge", 2),
        ("snli_ve", "", "snli-ve", "option", 3),
        ("blink", "", "blink", "option", 2),
    ],
)
def test_a_file_is_read_by_the_one_format_that_knows_it(tmp_path, name, pictures, format, marking, questions):
    path = getattr(made, name)(tmp_path)
    head = path.read_text(encoding="utf-8")[:4096]
    assert [each.NAME for each in benchmark_files.formats().values() if each.knows(path, head)] == [format]
    found = benchmark_files.read(path, tmp_path / pictures)
    assert (found.format, found.marking, len(found.questions)) == (format, marking, questions)
    assert len({each.id for each in found.questions}) == questions
    assert all(each.text and each.pictures and each.pictures[0].open().size == (8, 8) for each in found.questions)


def test_a_picture_of_another_row_and_one_of_its_own_are_found_in_a_table(tmp_path):
    found = read(tmp_path, "mmbench")
    assert [shade(found, place) for place in range(3)] == [0, 200, 200]
    assert found.missing == ("9",)
    assert found.questions[0].options == ("white", "black")
    assert found.questions[0].prompt().splitlines() == [
        "Look", "closely.", "Which shade?", "A. white", "B. black", "Answer with the letter of the right option."
    ]  # fmt: skip


def test_a_table_may_have_several_pictures_a_question(tmp_path):
    cell = f"['{made.as_text(0)}', '{made.as_text(255)}']"
    row = (1, "Which is darker?", "", "first", "second", "", "", "A", "x", cell, "val")
    found = benchmark_files.read(made.table(tmp_path / "BLINK.tsv", made.MMBENCH, [row]))
    assert [shade(found, 0, place) for place in range(2)] == [0, 255]


def test_one_pass_asks_each_question_once(tmp_path):
    assert [each.id for each in one_pass(read(tmp_path, "mmbench")).questions] == ["3", "7"]


def test_circular_takes_the_passes_of_the_file_and_makes_those_that_it_lacks(tmp_path):
    found = circular(read(tmp_path, "mmbench")).questions
    assert [(each.id, each.group, each.options, each.right) for each in found] == [
        ("3", "3", ("white", "black"), ("B",)),
        ("3+1", "3", ("black", "white"), ("A",)),
        ("7", "7", ("square", "circle", "line"), ("A",)),
        ("1000007", "7", ("line", "square", "circle"), ("B",)),
    ]


def test_people_answer_beside_the_questions_of_vqav2(tmp_path):
    found = read(tmp_path, "vqav2", "val2014")
    assert found.questions[0].right == ("yes",) * 8 + ("no",) * 2
    assert [each.category for each in found.questions] == ["yes/no", "number"]
    assert found.missing == ("43000",)


def test_a_split_without_annotations_is_read_and_not_marked(tmp_path):
    path = made.vqav2(tmp_path)
    (tmp_path / "v2_mscoco_val2014_annotations.json").unlink()
    assert all(each.right == () for each in benchmark_files.read(path, tmp_path / "val2014").questions)


def test_frames_of_a_clip_are_spread_over_it_and_bounded_by_its_times(tmp_path):
    whole, part = read(tmp_path, "mvbench", "frames").questions
    assert [each.path.stem for each in whole.frames(3)] == ["00001", "00004", "00007"]
    assert [each.path.stem for each in part.pictures] == ["00003", "00004", "00005"]
    assert (whole.right, part.right) == (("B",), ("A",))


def test_labels_without_agreement_are_left_out(tmp_path):
    assert [each.right for each in read(tmp_path, "snli_ve").questions] == [("A",), ("B",), ("C",)]


def test_a_hidden_answer_is_no_answer(tmp_path):
    found = read(tmp_path, "blink").questions
    assert [each.right for each in found] == [("A",), ()]
    assert len(found[0].pictures) == 2


def test_the_graders_file_of_mm_vet_gives_the_mean_of_its_runs(tmp_path):
    path = made.as_json(tmp_path / "grade.json", {"v1_0": {"score": [1.0, 0.5]}, "v1_1": {"score": [0.0]}})
    assert graded(path) == {"v1_0": 0.75, "v1_1": 0.0}
    assert graded(made.as_json(tmp_path / "other.json", [{"index": 1, "hit": 1}])) is None


def test_queries_of_mmeb_have_the_right_candidate_first(tmp_path):
    (query,) = read_queries(made.mmeb(tmp_path), tmp_path)
    assert query.asked.text == "Find the black one."
    assert [side.picture.path.name for side in query.candidates if side.picture] == ["a.png", "b.png"]
    assert query.candidates[0].text == "A picture."
    assert [hit_at_1(each) for each in ([0.9, 0.1], [0.1, 0.9], [0.5, 0.5])] == [1.0, 0.0, 0.0]


def test_what_is_no_benchmark_is_refused_with_what_is_known(tmp_path):
    with pytest.raises(BenchmarkFileError, match=r"no known format.*vqav2"):
        benchmark_files.read(made.as_json(tmp_path / "x.json", {"a": 1}))
    with pytest.raises(BenchmarkFileError, match="no file"):
        benchmark_files.read(tmp_path / "none.tsv")
    with pytest.raises(BenchmarkFileError, match=r"none of its 3 questions has its pictures.*--pictures"):
        benchmark_files.read(made.vqav2(tmp_path), tmp_path)
    assert issubclass(BenchmarkFileError, WattvlmError)


@pytest.mark.parametrize("text", ["", "[", '[{"video": 1, "candidates"', "index\tquestion\tA\tB\n\x00"])
def test_broken_files_say_so_and_nothing_else(tmp_path, text):
    for name in ("x.json", "x.jsonl", "x.tsv"):
        (tmp_path / name).write_text(text)
        with pytest.raises(BenchmarkFileError):
            benchmark_files.read(tmp_path / name)
