"""Matrix factorisation whose customer vectors never leave the brand, nor exist between two uses.

Ammad-ud-din, Ivannikova, Khan, Oyomno, Fu, Tan, Flanagan, "Federated Collaborative Filtering for
Privacy-Preserving Personalized Recommendation System", arXiv 1901.09888, section 3, which federates
Hu, Koren, Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008: item
factors are shared; a customer's vector is solved from the customer's own items where they lie (a
ridge regression), and only gradients of item factors are sent.

Legend: ``q_i`` factors of item ``i``, ``p`` a customer's vector, ``y_i`` 1 for the customer's items
and 0 for all others, ``c_i`` how much an item counts: ``alpha + y_i``, ``lambda`` the ridge. Both
steps lower ``sum_i c_i (y_i - q_i p)^2 + lambda |p|^2``: first
``p = (alpha Q^T Q + sum q_i q_i^T + lambda I)^-1 (1 + alpha) sum q_i``, its minimum, where the sums
go over the customer's items, then the ``q_i`` for that ``p``.

Suffixes: ``_b`` customer's row, ``_l`` place in the history, ``_d`` width, ``_n`` item of the
catalogue.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

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
        self.item = linear(how.dim, items, bias=False)  # one row of weights per item: its factors

    def forward(self, item_bl: Tensor) -> Tensor:
        """The customer's vector after the whole history, float32 ``[b, 1, d]``.

        It is a solution for given item factors, as alternating least squares has it: no gradient
        flows through it.

        Args:
            item_bl: int64 item numbers from 1, in any order; 0 is none, and one named again counts
                once.
        """
        q_nd, how = self.item.weight.detach(), self.how
        item_bl = distinct(item_bl)
        q_bld = q_nd[(item_bl - 1).clamp(min=0)] * (item_bl > 0)[..., None]
        fixed_dd = how.unobserved * (q_nd.t() @ q_nd) + how.ridge * torch.eye(how.dim)
        gram_bdd = torch.bmm(q_bld.transpose(1, 2), q_bld) + fixed_dd
        solved_bd: Tensor = torch.linalg.solve(gram_bdd, (1 + how.unobserved) * q_bld.sum(1))
        return solved_bd[:, None]

    def losses(self, item_bl: Tensor, next_bk: Tensor) -> Tensor:
        """Weighted squared error of each row's preferences for the whole catalogue, ``[b]``.

        Args:
            item_bl: what the customer's vector is solved from.
            next_bk: items that are wanted too, and not seen by the vector; -1 and 0 are none.
        """
        p_bd, alpha = self(item_bl)[:, 0], self.how.unobserved
        wanted_bl = distinct(torch.cat([item_bl, next_bk.clamp(min=0)], 1))
        if self.how.per_customer:
            zero_bn = torch.zeros(len(wanted_bl), self.item.out_features + 1)
            y_bn = zero_bn.scatter(1, wanted_bl, 1.0)[:, 1:]
            dense_b: Tensor = ((alpha + y_bn) * (y_bn - self.item(p_bd)) ** 2).sum(1)
            return dense_b
        # The same sum without a term for each item: those that are not wanted are in Q^T Q.
        q_nd = self.item.weight
        score_bl = torch.einsum("bld,bd->bl", q_nd[(wanted_bl - 1).clamp(min=0)], p_bd)
        of_all_b = ((p_bd @ (q_nd.t() @ q_nd)) * p_bd).sum(1)
        own_bl = (1 + alpha) * (1 - score_bl) ** 2 - alpha * score_bl**2
        loss_b: Tensor = alpha * of_all_b + (own_bl * (wanted_bl > 0)).sum(1)
        return loss_b

    def score(self, state: Tensor) -> Tensor:
        """The score of every item, ``[..., items]``."""
        scores: Tensor = self.item(state)
        return scores

    def output_of(self, item: Tensor) -> tuple[Tensor, Tensor]:
        """What a state is multiplied by for these items, ``[..., d]``, and what is added."""
        return self.item.weight[item - 1], torch.zeros(())


@dataclass(frozen=True, slots=True)
class Factorisation:
    """Config of the factorisation; its loss is ``squared``.

    Attributes:
        dim: number of factors, >= 1.
        ridge: ``lambda`` > 0: how much it takes to move a customer's vector.
        unobserved: ``alpha`` > 0: how much an item counts that the customer does not have.
        per_customer: let a privacy plan see the loss customer by customer: a term for each item of
            the catalogue, many times slower.
    """

    name: str = "factorisation"
    dim: int = 64
    ridge: float = 3.0
    unobserved: float = 0.3
    per_customer: bool = False

    losses: ClassVar[tuple[str, ...]] = ("squared",)

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise ValueError(f"Expected dim={self.dim} >= 1.")
        if not (0 < self.ridge < math.inf and 0 < self.unobserved < math.inf):
            raise ValueError(
                f"Expected ridge={self.ridge} > 0 and unobserved={self.unobserved} > 0."
            )

    def build(self, items: int, length: int, rng: torch.Generator) -> FactorisationModule:
        """A fresh module for a catalogue of ``items``."""
        model = FactorisationModule(items, self)
        with torch.no_grad():
            model.item.weight.normal_(0, 0.1, generator=rng)
        return model

    def unbounded(self) -> tuple[str, str] | None:
        """Why a privacy plan cannot bound each customer's gradient, and what to set instead."""
        if self.per_customer:
            return None
        remedy = "set model.per_customer=true"
        return "its loss adds up the catalogue once for all customers of a batch", remedy


def distinct(item_bl: Tensor) -> Tensor:
    """Each row's items once, in descending order, then zeros.

    >>> distinct(torch.tensor([[0, 2, 7, 2]])).tolist()
    [[7, 2]]
    """
    sorted_bl = item_bl.sort(1, descending=True).values
    again_bl = torch.zeros_like(sorted_bl, dtype=torch.bool)
    again_bl[:, 1:] = sorted_bl[:, 1:] == sorted_bl[:, :-1]
    once_bl = sorted_bl.masked_fill(again_bl, 0).sort(1, descending=True).values
    return once_bl[:, : max(1, int((once_bl > 0).sum(1).max()))]
