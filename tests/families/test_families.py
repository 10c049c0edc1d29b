"""Every family that the installed transformers library has: found in its registry, built tiny, asked, and counted.

What a family is asked and the truth that it is held to come from the model itself.
On another version of the library: PYTHONPATH=. OTHER/bin/python -m pytest tests/families
"""

from __future__ import annotations

import pytest

pytest.importorskip("transformers")

from tests.families.checking import check
from tests.families.needs import UNTRIED
from tests.families.registry import families


@pytest.mark.parametrize("family", families(), ids=lambda family: family.model_type)
def test_each_family_is_followed_and_counted_as_it_is(family):
    outcome = check(family)
    assert outcome.faults == ()
    if outcome.untried:
        assert family.model_type in UNTRIED, f"{family.model_type} could be run before: {outcome.untried}"
        pytest.skip(outcome.untried)


def test_the_registry_names_families_by_the_dozen():
    assert len(families()) >= 50
    assert {"llava", "qwen2_5_vl", "mllama", "clip"} <= {family.model_type for family in families()}
