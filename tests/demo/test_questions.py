"""What the demo asks and what counts as right."""

import subprocess
import sys

import pytest

from wattvlm.demo.questions import DIGIT_WORDS, QUESTIONS, Question, best_constant_guess, is_right, prompt

DIGIT, EVEN, MORE_THAN_FOUR = QUESTIONS


def test_the_questions_are_importable_without_torch_or_numpy() -> None:
    heavy = "{'torch', 'transformers', 'numpy', 'PIL', 'sklearn'}"
    code = (
        f"import sys, wattvlm.demo.questions as q; q.prompt(q.QUESTIONS[0]); sys.exit(str({heavy} & {{*sys.modules}}))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stderr.strip() == "set()"


@pytest.mark.parametrize("digit", range(10))
def test_the_right_answers_are_arithmetic_about_the_digit(digit: int) -> None:
    assert DIGIT.truth(digit) == DIGIT_WORDS[digit]
    assert EVEN.truth(digit) == ("yes" if digit % 2 == 0 else "no")
    assert MORE_THAN_FOUR.truth(digit) == ("yes" if digit > 4 else "no")


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.name)
def test_each_sentence_the_model_learns_is_right_for_its_digit_and_for_no_other_truth(question: Question) -> None:
    for written in range(10):
        for shown in range(10):
            same_truth = question.truth(written) == question.truth(shown)
            assert is_right(question, shown, question.sentence(written)) is same_truth


@pytest.mark.parametrize(
    ("question", "text", "meant"),
    [
        (DIGIT, "7", "seven"),
        (DIGIT, "The digit in this image is a Seven!", "seven"),
        (DIGIT, "It is 7, that is, seven.", "seven"),
        (DIGIT, "It is 17.", None),
        (DIGIT, "one or seven", None),
        (DIGIT, "", None),
        (EVEN, "YES", "yes"),
        (EVEN, "No. It ends in seven.", "no"),
        (EVEN, "yes and no", None),
        (EVEN, "I cannot see an image.", None),
    ],
)
def test_a_free_answer_is_read_where_it_says_one_thing_and_refused_where_it_does_not(
    question: Question, text: str, meant: str | None
) -> None:
    assert question.read(text) == meant


def test_text_without_a_readable_answer_is_wrong_and_not_left_out() -> None:
    assert not is_right(DIGIT, 7, "")


def test_chance_is_the_best_answer_that_looks_at_no_image() -> None:
    digits = [0, 1, 1, 3]
    assert best_constant_guess(DIGIT, digits) == ("one", 0.5)
    assert best_constant_guess(EVEN, digits) == ("no", 0.75)
    assert best_constant_guess(MORE_THAN_FOUR, digits) == ("no", 1.0)


def test_chance_without_images_is_refused_with_a_reason() -> None:
    with pytest.raises(ValueError, match="no digits were given"):
        best_constant_guess(DIGIT, [])


def test_a_prompt_holds_one_image_and_the_question() -> None:
    for question in QUESTIONS:
        assert prompt(question).count("<image>") == 1
        assert question.text in prompt(question)
