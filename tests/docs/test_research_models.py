"""The page of research models says what the table of their tests says."""

from docs.research_models import PAGE, cases, page


def test_the_page_is_what_the_tests_say_today():
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m docs.research_models"


def test_no_two_models_share_a_name():
    names = [case.name for case in cases()]
    assert len(names) == len(set(names)) >= 40
