"""The shipped digits as benchmarks: the same pictures, questions and answers as the demo's."""

from __future__ import annotations

import numpy as np
import pytest

from wattvlm import benchmark_files
from wattvlm.benchmark_files.marking import chosen
from wattvlm.demo.benchmarks import digits_path, write_mmbench, write_vqav2
from wattvlm.demo.questions import QUESTIONS, held_out

pytest.importorskip("PIL")


def test_the_shipped_table_holds_each_question_about_each_held_out_picture(tmp_path):
    images = held_out()
    benchmark = benchmark_files.read(digits_path())
    assert len(benchmark.questions) == len(images) * len(QUESTIONS)
    for number, asked in enumerate(benchmark.questions):
        digit, question = images.digits[number // 3], QUESTIONS[number % 3]
        assert asked.text == question.text
        assert chosen(question.sentence(digit), asked.options) == asked.right[0]
    shown = np.asarray(benchmark.questions[3].pictures[0].open())[..., 0]
    assert (shown == images.images[1]).all()
    again = benchmark_files.read(write_mmbench(tmp_path / "again.tsv", images))
    assert [(each.id, each.options, each.right) for each in again.questions] == [
        (each.id, each.options, each.right) for each in benchmark.questions
    ]


def test_vqav2s_files_hold_the_same_questions_with_numbers_as_vqa_writes_them(tmp_path):
    images = held_out()
    path = write_vqav2(tmp_path, images)
    benchmark = benchmark_files.read(path, tmp_path / "digits")
    assert benchmark.format == "vqav2"
    assert benchmark.questions[0].right == (str(images.digits[0]),) * 10
    assert benchmark.questions[1].right in (("yes",) * 10, ("no",) * 10)
