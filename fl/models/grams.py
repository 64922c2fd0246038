"""A linear model of hashed n-grams, and of a frozen sentence vector where there is one.

One row of weights for each bucket; the last bucket is everybody's and holds the intercept. Two
classes have one logit (of the second class), more have one each.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fl.models.parameters import linear
from fl.sparse import SparseLinear


class GramsModule(nn.Module):
    """``bag(entries) + vector(x_bf)``, float32 ``[b, outputs]``."""

    def __init__(self, buckets: int, vector: int, outputs: int) -> None:
        super().__init__()
        self.bag = SparseLinear(buckets + 1, outputs)
        self.vector = linear(vector, outputs, bias=False) if vector else None

    def forward(self, code_n: Tensor, value_n: Tensor, start_b: Tensor, x_bf: Tensor) -> Tensor:
        logit_bo: Tensor = self.bag(code_n, value_n, start_b)
        return logit_bo if self.vector is None else logit_bo + self.vector(x_bf)


@dataclass(frozen=True, slots=True)
class GramsModel:
    """Config of the linear model of n-grams; what an n-gram is, the task says."""

    name: str = "grams"

    def build(self, buckets: int, vector: int, classes: int, rng: torch.Generator) -> nn.Module:
        """A fresh module; starts at zero, so ``rng`` is not used.

        Args:
            buckets: of the hash.
            vector: width of the sentence vector, 0 for none.
            classes: >= 2.
        """
        return GramsModule(buckets, vector, classes if classes > 2 else 1)
