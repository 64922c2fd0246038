"""Logistic regression on scaled numbers and one weight per category."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fl.data.schema import Schema
from fl.models.parameters import linear, uniform_


class LogisticModule(nn.Module):
    """``numbers(x_bf) + sum over columns of category[code]``; the intercept is in ``numbers``."""

    offsets_g: Tensor

    def __init__(
        self, numbers: int, sizes: tuple[int, ...], *, from_zero: bool, category_scale: float
    ) -> None:
        super().__init__()
        self.from_zero, self.category_scale = from_zero, category_scale
        self.numbers = linear(numbers, 1)
        self.category = nn.Embedding(sum(sizes), 1, _weight=torch.zeros(sum(sizes), 1))
        starts = torch.tensor([0, *sizes], dtype=torch.int64).cumsum(0)[:-1]
        self.register_buffer("offsets_g", starts, persistent=False)

    def forward(self, x_bf: Tensor, c_bg: Tensor) -> Tensor:
        logit_b: Tensor = self.numbers((x_bf + 1) / 2 if self.from_zero else x_bf).squeeze(1)
        if len(self.offsets_g):
            levels_b = self.category(c_bg + self.offsets_g).sum((1, 2))
            logit_b = logit_b + self.category_scale * levels_b
        return logit_b


@dataclass(frozen=True, slots=True)
class Logistic:
    """Config of the logistic model.

    The last three change where and how fast training moves, not what can be learned. Under clipping
    and noise they matter: small gradients are clipped less, and weights that few customers have
    should follow the noise less.

    Attributes:
        start: ``zeros``, or ``uniform`` in ``+-1/sqrt(features)`` (torch's default for a linear
            layer; what published recipes start from).
        intercept: added to the first intercept: the log odds of the label where its rate is known
            publicly.
        from_zero: numbers enter as [0, 1] instead of [-1, 1], so that a lower bound counts nothing.
        category_scale: factor of the categories' weights, > 0.
    """

    name: str = "logistic"
    start: str = "zeros"
    intercept: float = 0.0
    from_zero: bool = False
    category_scale: float = 1.0

    def __post_init__(self) -> None:
        if self.start not in ("zeros", "uniform"):
            raise ValueError(f"Expected start={self.start!r} to be 'zeros' or 'uniform'.")
        if not math.isfinite(self.intercept):
            raise ValueError(f"Expected intercept={self.intercept} to be finite.")
        if not 0 < self.category_scale < math.inf:
            raise ValueError(f"Expected category_scale={self.category_scale} > 0.")

    def build(self, schema: Schema, rng: torch.Generator) -> nn.Module:
        """A fresh module for this schema."""
        model = LogisticModule(
            len(schema.numbers),
            schema.sizes,
            from_zero=self.from_zero,
            category_scale=self.category_scale,
        )
        if self.start == "uniform":
            for parameter in (model.numbers.weight, model.category.weight, model.numbers.bias):
                uniform_(parameter, len(schema.numbers) + sum(schema.sizes), rng)
        with torch.no_grad():
            model.numbers.bias.add_(self.intercept)
        return model
