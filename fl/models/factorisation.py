"""Matrix factorisation whose customer vectors never leave the brand, nor exist between two uses.

Ammad-ud-din, Ivannikova, Khan, Oyomno, Fu, Tan, Flanagan, "Federated Collaborative Filtering for
Privacy-Preserving Personalized Recommendation System", arXiv 1901.09888, section 3: item factors
are shared; a customer's vector is solved from the customer's own items where they lie (a ridge
regression), and only gradients of item factors are sent. Here the loss of the item factors is the
softmax of the items that follow, not squared error, so that it ranks.

Legend: ``q_i`` factors of item ``i``, ``p`` a customer's vector, ``lambda`` the ridge:
``p = (sum q_i q_i^T + lambda I)^-1 sum q_i`` over the items bought so far.

Suffixes: ``_b`` customer's row, ``_l`` place in the history, ``_d`` width, ``_t`` any places.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fl.models.parameters import linear


class FactorisationModule(nn.Module):
    """See the module's docstring; built by :class:`Factorisation`."""

    row_by_row = True
    rng: torch.Generator | None = None

    def __init__(self, items: int, how: Factorisation) -> None:
        super().__init__()
        self.how = how
        self.item = linear(how.dim, items)  # one row of weights per item: its factors

    def forward(self, item_bl: Tensor) -> Tensor:
        """The customer's vector after each place of the history, float32 ``[b, l, d]``.

        It is a solution for given item factors, as alternating least squares has it: no gradient
        flows through it.

        Args:
            item_bl: int64 item numbers from 1, oldest first, padded with 0 on the left.
        """
        factors = self.item.weight.detach()
        q_bld = factors[(item_bl - 1).clamp(min=0)] * (item_bl > 0)[..., None]
        gram_bldd = (q_bld[..., :, None] * q_bld[..., None, :]).cumsum(1)
        ridge = self.how.ridge * torch.eye(self.how.dim)
        solved: Tensor = torch.linalg.solve(gram_bldd + ridge, q_bld.cumsum(1))
        return solved

    def score(self, state: Tensor) -> Tensor:
        """The score of every item, ``[..., items]``."""
        scores: Tensor = self.item(state)
        return scores

    def output_of(self, item: Tensor) -> tuple[Tensor, Tensor]:
        """What a state is multiplied by for these items, ``[..., d]``, and what is added."""
        return self.item.weight[item - 1], self.item.bias[item - 1]


@dataclass(frozen=True, slots=True)
class Factorisation:
    """Config of the factorisation.

    Attributes:
        dim: number of factors, >= 1.
        ridge: ``lambda`` > 0: how many items of unit length it takes to move a customer's vector.
    """

    name: str = "factorisation"
    dim: int = 16
    ridge: float = 1.0

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise ValueError(f"Expected dim={self.dim} >= 1.")
        if not 0 < self.ridge < math.inf:
            raise ValueError(f"Expected ridge={self.ridge} > 0.")

    def build(self, items: int, length: int, rng: torch.Generator) -> FactorisationModule:
        """A fresh module for a catalogue of ``items``; factors start at unit length, about."""
        model = FactorisationModule(items, self)
        with torch.no_grad():
            model.item.weight.normal_(0, self.dim**-0.5, generator=rng)
        return model

    def unbounded(self) -> tuple[str, str] | None:
        """Nothing stands in the way of a bound on each customer's gradient."""
        return None
