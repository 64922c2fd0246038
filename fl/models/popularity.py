"""Popularity: one number per item, the same for every customer. What every recommender has to beat.

Under the softmax loss the best numbers are the logarithms of how often each item was next; one
gradient step from zero already has them in that order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from fl.models.parameters import linear


class PopularityModule(nn.Module):
    """A linear layer without inputs: its intercepts are the scores."""

    row_by_row = True
    rng: torch.Generator | None = None

    def __init__(self, items: int) -> None:
        super().__init__()
        self.item = linear(0, items)

    def forward(self, item_bl: Tensor) -> Tensor:
        """Nothing is known of anybody: ``[b, l, 0]``."""
        return torch.zeros(*item_bl.shape, 0)

    def score(self, state: Tensor) -> Tensor:
        """The score of every item, ``[..., items]``."""
        scores: Tensor = self.item(state)
        return scores

    def output_of(self, item: Tensor) -> tuple[Tensor, Tensor]:
        """What a state is multiplied by for these items, ``[..., 0]``, and what is added."""
        return self.item.weight[item - 1], self.item.bias[item - 1]


@dataclass(frozen=True, slots=True)
class Popularity:
    """Config of the popularity model; it has none."""

    name: str = "popularity"

    losses: ClassVar[tuple[str, ...]] = ("softmax", "sampled_softmax", "bce")

    def build(self, items: int, length: int, rng: torch.Generator) -> PopularityModule:
        """A fresh module, at zero."""
        return PopularityModule(items)

    def unbounded(self) -> tuple[str, str] | None:
        """Nothing stands in the way of a bound on each customer's gradient."""
        return None
