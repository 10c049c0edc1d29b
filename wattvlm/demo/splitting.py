"""Which of scikit-learn's handwritten digits train the model, which choose it, and which examine it."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from wattvlm.demo.questions import HeldOutImages

SPLIT_SEED = 20260
TEST_IMAGES = 360
VALIDATION_IMAGES = 240
SHIPPED_IMAGES_PER_DIGIT = 5

SOURCE = (
    "Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI Machine Learning Repository (1998),"
    " doi:10.24432/C50P49, CC BY 4.0; its test part (optdigits.tes) as scikit-learn ships it in load_digits"
)


@dataclass(frozen=True, slots=True)
class Split:
    """Three parts of the 1,797 images without a common image."""

    train: HeldOutImages
    validation: HeldOutImages
    test: HeldOutImages

    @property
    def shipped(self) -> HeldOutImages:
        """The test images shipped with the model: the first few of each digit, whatever the model says about them."""
        digits = self.test.digits
        firsts = [[i for i, seen in enumerate(digits) if seen == digit] for digit in range(10)]
        chosen = sorted(index for indices in firsts for index in indices[:SHIPPED_IMAGES_PER_DIGIT])
        return HeldOutImages(self.test.images[chosen], tuple(digits[index] for index in chosen))


def split_digits() -> Split:
    """The digits of scikit-learn in three parts, the same in each run; ModuleNotFoundError without scikit-learn."""
    import numpy as np

    # By name: scikit-learn has no types to check against.
    datasets: Any = import_module("sklearn.datasets")
    digits = datasets.load_digits()
    # The scans have 17 grey levels, 0 to 16; all of them stay apart as 0 to 255.
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    order = np.random.RandomState(SPLIT_SEED).permutation(len(images))

    def part(first: int, last: int) -> HeldOutImages:
        chosen = order[first:last]
        return HeldOutImages(images[chosen], tuple(int(digit) for digit in digits.target[chosen]))

    seen_by_no_step = TEST_IMAGES + VALIDATION_IMAGES
    return Split(part(seen_by_no_step, len(images)), part(TEST_IMAGES, seen_by_no_step), part(0, TEST_IMAGES))
