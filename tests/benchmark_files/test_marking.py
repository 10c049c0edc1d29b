"""Marks of answers against cases that were reckoned by hand from each benchmark's rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattvlm.benchmark_files import Question
from wattvlm.benchmark_files.marking import chance, chosen, over_passes, score, soft_score, whole_groups

COLOURS = ("red", "green", "dark green", "blue")


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"), ("B.", "B"), ("(B)", "B"), ("The answer is B", "B"), ("B. green", "B"), ("**C**", "C"),
        ("It is blue.", "D"), ("BLUE", "D"), ("A", "A"), ("Answer: A", "A"), ("The answer is A.", "A"),
        ("A big blue car is there", "D"), ("a green or a blue one", None), ("A or B", None), ("E", None), ("", None),
        ("purple", None), ("bluebell", None), ("(A) because it is", "A"),
    ],
)  # fmt: skip
def test_an_answer_names_one_option_by_letter_or_by_text(answer, letter):
    assert chosen(answer, COLOURS) == letter


TEN = ["yes"] * 8 + ["no"] * 2


@pytest.mark.parametrize(
    ("answer", "people", "right"),
    [
        ("yes", TEN, 1.0),
        ("Yes.", TEN, 1.0),
        # two said no: each of them left out leaves one (1/3), each of the other eight leaves two (2/3)
        ("no", TEN, (2 * 1 / 3 + 8 * 2 / 3) / 10),
        ("maybe", TEN, 0.0),
        # three said it: those left out leave two (2/3), the others three (1)
        ("two", ["2"] * 3 + ["4"] * 7, (3 * 2 / 3 + 7 * 1.0) / 10),
        ("one", ["1"] + ["4"] * 9, (0.0 + 9 * 1 / 3) / 10),
        ("a dog", ["dog"] * 10, 1.0),
        ("The dog", ["dog"] * 10, 1.0),
        ("dont know", ["don't know"] * 10, 1.0),
        ("1,000", ["1000"] * 10, 1.0),
        ("2.5", ["2.5"] * 10, 1.0),
        ("t-shirt", ["t-shirt"] * 10, 1.0),
        ("black/white", ["black white"] * 10, 1.0),
        ("none", ["0"] * 10, 1.0),
        ("yes\n", ["yes"] * 10, 1.0),
        ("yes", [], 0.0),
    ],
)
def test_a_soft_score_is_what_vqas_rule_gives_by_hand(answer, people, right):
    assert soft_score(answer, people) == pytest.approx(right)


@given(st.text(max_size=40), st.lists(st.text(max_size=12), max_size=10))
def test_a_soft_score_lies_between_0_and_1_and_more_people_never_lower_it(answer, people):
    found = soft_score(answer, people)
    assert 0.0 <= found <= 1.0


def test_a_judges_question_and_one_without_an_answer_have_no_mark():
    asked = Question("1", "?", (), ("B",), ("x", "y"))
    assert score(asked, "B", "option") == 1.0
    assert score(asked, "A", "option") == 0.0
    assert score(asked, "B", "judge") is None
    assert score(Question("1", "?", (), (), ("x", "y")), "B", "option") is None


def test_chance_is_one_option_in_all_or_the_best_constant_answer():
    options = [Question("1", "?", (), ("A",), ("x", "y")), Question("2", "?", (), ("A",), COLOURS)]
    assert chance(options, "option") == {"1": 0.5, "2": 0.25}
    open_ones = [Question("1", "?", (), ("yes",) * 10), Question("2", "?", (), ("yes",) * 10),
                 Question("3", "?", (), ("no",) * 10)]  # fmt: skip
    assert chance(open_ones, "soft") == {"1": 1.0, "2": 1.0, "3": 0.0}
    assert chance(open_ones, "judge") == {}


def test_a_question_is_right_only_where_all_of_its_passes_are():
    groups = {"1": "1", "1+1": "1", "2": "2", "2+1": "2"}
    assert over_passes({"1": 1.0, "1+1": 1.0, "2": 1.0, "2+1": 0.0}, groups) == {"1": 1.0, "2": 0.0}
    assert over_passes({"1": 0.5, "1+1": 0.5}, groups) == {"1": 0.25}


def test_no_question_is_asked_with_some_of_its_passes_only():
    asked = [Question(f"{group}+{turn}", "?", (), group=str(group)) for group in range(3) for turn in range(4)]
    assert [each.group for each in whole_groups(asked, 9)] == ["0"] * 4 + ["1"] * 4
