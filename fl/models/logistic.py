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

    def __init__(self, numbers: int, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.numbers = linear(numbers, 1)
        self.category = nn.Embedding(sum(sizes), 1, _weight=torch.zeros(sum(sizes), 1))
        starts = torch.tensor([0, *sizes], dtype=torch.int64).cumsum(0)[:-1]
        self.register_buffer("offsets_g", starts, persistent=False)

    def forward(self, x_bf: Tensor, c_bg: Tensor) -> Tensor:
        logit_b: Tensor = self.numbers(x_bf).squeeze(1)
        if len(self.offsets_g):
            logit_b = logit_b + self.category(c_bg + self.offsets_g).sum((1, 2))
        return logit_b


@dataclass(frozen=True, slots=True)
class Logistic:
    """Config of the logistic model.

    Attributes:
        start: ``zeros``, or ``uniform`` in ``+-1/sqrt(features)`` (torch's default for a linear
            layer; what published recipes start from).
        intercept: added to the first intercept: the log odds of the label where its rate is known
            publicly. Gradients are smaller from there, so less of them is clipped.
    """

    name: str = "logistic"
    start: str = "zeros"
    intercept: float = 0.0

    def __post_init__(self) -> None:
        if self.start not in ("zeros", "uniform"):
            raise ValueError(f"Expected start={self.start!r} to be 'zeros' or 'uniform'.")
        if not math.isfinite(self.intercept):
            raise ValueError(f"Expected intercept={self.intercept} to be finite.")

    def build(self, schema: Schema, rng: torch.Generator) -> nn.Module:
        """A fresh module for this schema."""
        model = LogisticModule(len(schema.numbers), schema.sizes)
        if self.start == "uniform":
            for parameter in (model.numbers.weight, model.category.weight, model.numbers.bias):
                uniform_(parameter, len(schema.numbers) + sum(schema.sizes), rng)
        with torch.no_grad():
            model.numbers.bias.add_(self.intercept)
        return model
