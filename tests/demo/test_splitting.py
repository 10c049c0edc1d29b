"""Held out means held out: no shipped image, and no test image, is one that the model was trained or chosen on."""

import pytest

from wattvlm.demo.questions import held_out
from wattvlm.demo.splitting import split_digits

pytest.importorskip("sklearn", reason="needs scikit-learn, whose digits are the training images")


def test_no_shipped_image_is_one_that_trained_or_chose_the_model() -> None:
    split = split_digits()
    seen = {image.tobytes() for part in (split.train, split.validation) for image in part.images}
    assert not seen & {image.tobytes() for image in held_out().images}
    assert not seen & {image.tobytes() for image in split.test.images}


def test_the_shipped_images_are_those_that_the_split_gives_again() -> None:
    shipped = split_digits().shipped
    assert (held_out().images == shipped.images).all()
    assert held_out().digits == shipped.digits


def test_the_parts_together_are_all_the_images() -> None:
    split = split_digits()
    assert len(split.train) + len(split.validation) + len(split.test) == 1797
