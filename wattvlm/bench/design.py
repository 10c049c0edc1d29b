"""What is to be measured: the matrix, its order, how surely, and how long at most. All nouns and pure arithmetic."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import product

from wattvlm.sweep import Setting
from wattvlm.units import HZ_PER_MHZ, NS_PER_S

AUTOMATIC = ""
"""A dtype or device that is chosen for the machine: bfloat16 on a GPU and float32 on a CPU, and cuda where it is."""

_UNFIT = re.compile(r"[^A-Za-z0-9.+-]+")


@dataclass(frozen=True, slots=True)
class Cell:
    """One place of the matrix: a model asked with so many images of one size, in batches, for answers of one length.

    resolution: width and height of the images in pixels; None for the model's own. power_limit_w, core_clock_hz: what
    the GPU is set to meanwhile; None for as it is.
    """

    model: str
    images: int = 1
    resolution: tuple[int, int] | None = None
    batch_size: int = 1
    output_tokens: int = 32
    dtype: str = AUTOMATIC
    device: str = AUTOMATIC
    power_limit_w: float | None = None
    core_clock_hz: float | None = None

    @property
    def setting(self) -> Setting:
        """What the GPU is set to."""
        return Setting(self.power_limit_w, self.core_clock_hz)

    @property
    def name(self) -> str:
        """Its name in words that a file may have: 'shipped_1x8x8_batch1_out8_float32_cpu'."""
        model = _UNFIT.sub("-", self.model.rstrip("/").rsplit("/", 1)[-1]).strip("-.") or "model"
        size = "" if self.resolution is None else f"x{self.resolution[0]}x{self.resolution[1]}"
        parts = [model, f"{self.images}{size}", f"batch{self.batch_size}", f"out{self.output_tokens}",
                 self.dtype, _UNFIT.sub("-", self.device), *self._setting_words()]  # fmt: skip
        return "_".join(part for part in parts if part)

    @property
    def without_setting(self) -> Cell:
        """The same on a GPU as it is: cells that have it in common are one sweep."""
        return replace(self, power_limit_w=None, core_clock_hz=None)

    def _setting_words(self) -> tuple[str, str]:
        limit = "" if self.power_limit_w is None else f"limit{self.power_limit_w:g}W"
        return limit, "" if self.core_clock_hz is None else f"clock{self.core_clock_hz / HZ_PER_MHZ:g}MHz"

    @property
    def loading(self) -> tuple[str, str, str]:
        """What must be loaded for it: cells with the same are measured one after the other."""
        return self.model, self.dtype, self.device


@dataclass(frozen=True, slots=True)
class Design:
    """A matrix of cells and how they are measured.

    models: "shipped", a folder, or a hub id; with random_weights a name of `bench.configs` or a config.json.
    until_fraction: each phase is repeated until the half-width of its 95 % interval is this part of its joules, where
    repeating can bring it there. fewest_calls, most_calls: of each cell. limit_ns: of all cells together.
    power_limits_w, core_clocks_hz: what the GPU is set to, each an axis of the matrix; it is left as it is without.
    cool_down_ns: of quiet before each cell. seed: of the order, the images, and random weights. versions: of what ran.
    """

    models: tuple[str, ...]
    images: tuple[int, ...] = (1,)
    resolutions: tuple[tuple[int, int], ...] = ()
    batch_sizes: tuple[int, ...] = (1,)
    output_tokens: tuple[int, ...] = (32,)
    dtypes: tuple[str, ...] = (AUTOMATIC,)
    devices: tuple[str, ...] = (AUTOMATIC,)
    power_limits_w: tuple[float, ...] = ()
    core_clocks_hz: tuple[float, ...] = ()
    random_weights: bool = False
    until_fraction: float = 0.02
    fewest_calls: int = 10
    most_calls: int = 200
    limit_ns: int = 600 * NS_PER_S
    cool_down_ns: int = NS_PER_S
    seed: int = 0
    versions: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        numbers = {"images": self.images, "batch sizes": self.batch_sizes, "output tokens": self.output_tokens}
        for name, values in numbers.items():
            least = 0 if name == "images" else 1
            if not values or any(value < least for value in values):
                raise ValueError(f"{name}: {values}; each must be a whole number from {least} on")
        if not self.models or any(min(size) < 1 for size in self.resolutions):
            raise ValueError("a design needs a model, and resolutions of one pixel and more")
        if any(not each > 0 for each in (*self.power_limits_w, *self.core_clocks_hz)):
            raise ValueError("power limits and clocks must be more than nothing")
        if not 0 < self.until_fraction < 1:
            raise ValueError(f"until: {self.until_fraction}; it must be a part of the value, 0.02 for 2 %")
        if not 1 <= self.fewest_calls <= self.most_calls:
            raise ValueError(f"calls: at least {self.fewest_calls} and at most {self.most_calls} do not go together")
        names = [cell.name for cell in self._matrix()]
        if len(set(names)) < len(names):
            raise ValueError("two cells have one name: a model, or a number, is given twice")

    def cells(self) -> tuple[Cell, ...]:
        """The matrix in its random order, which the seed settles; cells of one loaded model stay together."""
        chance = random.Random(self.seed)
        matrix = self._matrix()
        chance.shuffle(matrix)
        loadings = list(dict.fromkeys(cell.loading for cell in matrix))
        return tuple(sorted(matrix, key=lambda cell: loadings.index(cell.loading)))

    def _matrix(self) -> list[Cell]:
        """Each combination once; without images there is no resolution."""
        sizes: tuple[tuple[int, int] | None, ...] = self.resolutions or (None,)
        axes = (
            self.models, self.images, sizes, self.batch_sizes, self.output_tokens, self.dtypes, self.devices,
            self.power_limits_w or (None,), self.core_clocks_hz or (None,),
        )  # fmt: skip
        found = [Cell(*each) for each in product(*axes)]
        sized = [cell if cell.images else replace(cell, resolution=None) for cell in found]
        return [cell for place, cell in enumerate(sized) if cell.images or cell not in sized[:place]]

    def settings(self) -> tuple[Setting, ...]:
        """What the GPU is set to, in some cell or other; nothing where it is left as it is."""
        return tuple(dict.fromkeys(cell.setting for cell in self._matrix() if cell.setting))

    def differences(self, other: Design) -> list[str]:
        """What another design has differently, in words; empty where they are the same."""
        return [
            f"{each.name} was {getattr(self, each.name)!r} and is {getattr(other, each.name)!r} now"
            for each in fields(self)
            if getattr(self, each.name) != getattr(other, each.name)
        ]

    def with_seed(self, seed: int) -> Design:
        """The same design with another order."""
        return replace(self, seed=seed)
