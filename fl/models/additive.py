"""An additive model on binned features: one curve per feature, which can be plotted and read.

The generalised additive model of Hastie & Tibshirani (1986) with piecewise-constant terms: each
number falls into one of ``bins`` equal bins between its public bounds (after the schema's log),
each category is its own level, and the logit is the sum of one weight per feature. The intercept is
one more level that every example has, so the whole model is one embedding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fl.arrays import Array, Arrays
from fl.data.schema import Schema


class AdditiveModule(nn.Module):
    """``level[last] + sum over features of level[feature, bin]``; the last level is everyone's."""

    offsets: Tensor

    def __init__(self, numbers: int, sizes: tuple[int, ...], bins: int) -> None:
        super().__init__()
        self.bins = bins
        levels = [bins] * numbers + [*sizes, 1]
        self.level = nn.Embedding(sum(levels), 1, _weight=torch.zeros(sum(levels), 1))
        starts = torch.tensor([0, *levels], dtype=torch.int64).cumsum(0)[:-1]
        self.register_buffer("offsets", starts, persistent=False)

    def forward(self, x_bf: Tensor, c_bg: Tensor) -> Tensor:
        weights: Tensor = self.level(self.codes(x_bf, c_bg))
        return weights.sum((1, 2))

    def codes(self, x_bf: Tensor, c_bg: Tensor) -> Tensor:
        """The levels of each row, int64 ``[b, numbers + columns + 1]``."""
        bin_bf = ((x_bf + 1) * (self.bins / 2)).floor().clamp(0, self.bins - 1).to(torch.int64)
        everyone_b1 = torch.zeros(len(x_bf), 1, dtype=torch.int64)
        return torch.cat([bin_bf, c_bg, everyone_b1], 1) + self.offsets


@dataclass(frozen=True, slots=True)
class Additive:
    """Config of the additive model: ``bins`` per numeric feature."""

    name: str = "additive"
    bins: int = 12

    def __post_init__(self) -> None:
        if self.bins < 2:
            raise ValueError(f"Expected bins={self.bins} >= 2.")

    def build(self, schema: Schema, rng: torch.Generator) -> nn.Module:
        """A fresh module for this schema; starts at zero, so ``rng`` is not used."""
        return AdditiveModule(len(schema.numbers), schema.sizes, self.bins)

    def curves(self, schema: Schema, params: Arrays) -> dict[str, tuple[list[str], Array]]:
        """Per feature: the label of each level and its contribution to the logit (log odds)."""
        levels = np.asarray(params["level.weight"], np.float64)[:, 0]
        curves: dict[str, tuple[list[str], Array]] = {}
        start = 0
        for column in schema.numbers:
            edges = [column.unscale(2 * i / self.bins - 1) for i in range(self.bins)]
            curves[column.name] = ([f"{e:.3g}" for e in edges], levels[start : start + self.bins])
            start += self.bins
        for code in schema.codes:
            curves[code.name] = (code.levels(), levels[start : start + code.size])
            start += code.size
        return curves
