"""How often answers were right, how sure that is, and what guessing would have reached."""

from dataclasses import dataclass
from math import sqrt

# The 97.5 % point of the standard normal distribution: two-sided 95 %.
_Z = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Accuracy:
    """`right` of `asked` answers about `independent` separate images.

    Several answers about one image stand or fall together, so the interval counts images and not answers.
    """

    right: int
    asked: int
    independent: int

    def __post_init__(self) -> None:
        """Raises ValueError where the counts cannot belong together."""
        if not (0 <= self.right <= self.asked and 0 < self.independent <= self.asked):
            raise ValueError(
                f"{self.right} right of {self.asked} answers about {self.independent} images is not possible, so there"
                " is no accuracy; count each answer once and each image once"
            )

    @property
    def fraction(self) -> float:
        """Right answers over answers asked."""
        return self.right / self.asked

    @property
    def interval_fraction(self) -> tuple[float, float]:
        """The Wilson 95 % interval of `fraction` (E. B. Wilson, JASA 22, 1927), with n the number of images."""
        n, p = self.independent, self.fraction
        spread = _Z * sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
        middle, scale = p + _Z**2 / (2 * n), 1 + _Z**2 / n
        return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)
