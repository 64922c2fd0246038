"""Industry benchmark: what customers are like over all brands, without any brand's figures.

Counts, means, the rate of a label, histograms, quantiles and correlations, for all customers and by
segment. Every customer adds one vector of norm at most 1 to each of three statistics:

- ``totals`` ``[cells, values]``: for all customers and for the customer's segment, 1, each number
  between its public bounds as a share in [0, 1], and the label
- ``own`` ``[cells, values]``: the same, but the norm is over the largest entries of cells, which is
  what a brand's largest share of a cell's totals depends on; what disclosure rules look at
- ``cells`` ``[entries]``: of all customers, one 4-ary tree over 4,096 bins for each number
  (``tree.py``) and products of numbers for correlations; of each segment, small trees over 32 bins

Weights, public constants, say how the norm is shared out between them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from fl.arrays import Array, Arrays
from fl.contracts import Floats, Ints, Limits
from fl.data.columns import Number
from fl.data.schema import Schema
from fl.tasks import tree
from fl.tasks.records import OnDemand, Records, Segments, numbers_of, one_row_each

_COUNT, _VALUES = 0.16, 0.84  # of the squared norm of a customer's totals
_TREES, _SEGMENTS, _PRODUCTS = 0.8, 0.1, 0.1  # of that of its cells


@dataclass(frozen=True, slots=True)
class Statistics:
    """A task that learns nothing.

    Attributes:
        numbers: what is described, with public bounds; at least one.
        labelled: the label, whose rate is told; its schema says what counts as positive.
        segments: public groups of customers, or None for all customers only.
    """

    numbers: tuple[Number, ...]
    labelled: Schema | None = None
    segments: Segments | None = None
    name: str = "statistics"

    def __post_init__(self) -> None:
        if not self.numbers:
            raise ValueError("Expected at least one number to describe.")

    @property
    def schema(self) -> Schema:
        """The described columns, and the label if there is one."""
        label = self.labelled.label if self.labelled else "(no label)"
        return Schema(self.numbers, label)

    # --- what it is about -----------------------------------------------------------------------

    @property
    def cells(self) -> tuple[str, ...]:
        """All, then each segment."""
        return ("all", *(self.segments.levels if self.segments else ()))

    @property
    def values(self) -> tuple[str, ...]:
        """What is totalled in each cell: customers, the numbers, positive labels."""
        rate = (self.labelled.label,) if self.labelled else ()
        return ("customers", *(n.name for n in self.numbers), *rate)

    @property
    def widths(self) -> tuple[int, ...]:
        """How many entries of ``cells`` describe each cell, in order."""
        m = len(self.numbers)
        products = 2 * m + m * (m - 1) // 2
        others = len(self.cells) - 1
        return (m * sum(tree.FINE) + products, *[m * sum(tree.COARSE)] * others)

    @property
    def own_weight(self) -> float:
        """What one customer adds to ``own`` where it counts as 1, at most."""
        return 1 / math.sqrt(self._groups)

    @property
    def weights(self) -> Floats:
        """What one customer adds to each of a cell's totals, at most; float64 ``[values]``."""
        return np.array([self.count_weight] + [self.value_weight] * (len(self.values) - 1))

    @property
    def count_weight(self) -> float:
        """What one customer adds to a count."""
        return math.sqrt(_COUNT / self._groups)

    @property
    def value_weight(self) -> float:
        """What one customer adds to a total at a number's upper bound."""
        return math.sqrt(_VALUES / (self._groups * (len(self.values) - 1)))

    @property
    def tree_weight(self) -> float:
        """What one customer adds to a node of the trees of all customers."""
        share = _TREES + (0.0 if self.segments else _SEGMENTS)
        return math.sqrt(share / (len(tree.FINE) * len(self.numbers)))

    @property
    def segment_weight(self) -> float:
        """The same for the trees of segments."""
        return math.sqrt(_SEGMENTS / (len(tree.COARSE) * len(self.numbers)))

    @property
    def product_weight(self) -> float:
        """What one customer adds to a sum of products of scaled numbers, at most."""
        m = len(self.numbers)
        return math.sqrt(_PRODUCTS / (2 * m + m * (m - 1) // 2))

    @property
    def _groups(self) -> int:
        """In how many cells a customer is: among all, and in its segment."""
        return 2 if self.segments else 1

    # --- as a task ------------------------------------------------------------------------------

    def model(self, rng: torch.Generator) -> nn.Module:
        """Nothing is learned."""
        return nn.Module()

    def examples(self, table: pd.DataFrame, customers: Ints, where: str) -> Records:
        """A brand's customers.

        Raises:
            InputError: a customer with several rows, a missing column, a cell that is no finite
                number, a label that is neither positive nor negative.
        """
        one_row_each(customers, where)
        x_bm = numbers_of(self.numbers, table, where)
        y = self.labelled.positives(table, where) if self.labelled else np.zeros(len(table))
        codes = self.segments.codes(table, where) if self.segments else np.zeros(len(table))
        return Records(
            torch.from_numpy(x_bm.copy()),
            torch.from_numpy(np.array(y, np.float64)),
            torch.from_numpy(np.array(codes, np.int64)),
            torch.from_numpy(customers.copy()),
        )

    def losses(self, model: nn.Module, batch: Records) -> Tensor:
        """There is nothing to lose."""
        return torch.zeros(len(batch))

    def evaluate(self, model: nn.Module, batch: Records) -> Arrays:
        """Each customer's vectors, ``[b, ...]``."""
        return OnDemand(
            {
                "totals": lambda: self._totals(batch, self.weights),
                "own": lambda: self._totals(batch, np.full(len(self.values), self.own_weight)),
                "cells": lambda: self._cells(batch),
            }
        )

    def statistics(self) -> Arrays:
        """Zeros in the shape of the summed vectors."""
        totals = np.zeros((len(self.cells), len(self.values)))
        return {"totals": totals, "own": totals, "cells": np.zeros(sum(self.widths))}

    def limits(self) -> Limits:
        """By the choice of weights."""
        return {"totals": 1.0, "own": 1.0, "cells": 1.0}

    def bins(self, x_bm: Floats) -> Ints:
        """The bin of each number among 4,096, int64 ``[b, m]``; scaled as the schema says."""
        bins = tree.FINE[-1]
        return np.minimum((self._scaled(x_bm) + 1) / 2 * bins, bins - 1).astype(np.int64)

    def _scaled(self, x_bm: Floats) -> Floats:
        """Into [-1, 1], by the public bounds."""
        return np.stack([n.scale(x_bm[:, i]) for i, n in enumerate(self.numbers)], 1)

    def _totals(self, batch: Records, weight_v: Floats) -> Array:
        low, high = (np.array([getattr(n, end) for n in self.numbers]) for end in ("low", "high"))
        shares = (batch.x_bm.numpy() - low) / (high - low)
        rate = [batch.y_b.numpy()[:, None]] if self.labelled else []
        own_bv = np.concatenate([np.ones((len(batch), 1)), shares, *rate], 1) * weight_v
        total_bcv = np.zeros((len(batch), len(self.cells), len(self.values)))
        total_bcv[:, 0] = own_bv
        if self.segments:
            total_bcv[np.arange(len(batch)), 1 + batch.segment_b.numpy()] = own_bv
        return total_bcv

    def _cells(self, batch: Records) -> Array:
        x_bm = batch.x_bm.numpy()
        bin_bm, scaled_bm = self.bins(x_bm), self._scaled(x_bm)
        m = len(self.numbers)
        trees = [tree.one_hot(bin_bm[:, i], tree.FINE) * self.tree_weight for i in range(m)]
        above = np.triu_indices(m, 1)
        products = (scaled_bm, scaled_bm**2, scaled_bm[:, above[0]] * scaled_bm[:, above[1]])
        parts = [*trees, *(p * self.product_weight for p in products)]
        if self.segments:
            bins = tree.COARSE[-1]
            coarse = [
                tree.one_hot(bin_bm[:, i] * bins // tree.FINE[-1], tree.COARSE) for i in range(m)
            ]
            own = np.concatenate(coarse, 1) * self.segment_weight
            by_segment = np.zeros((len(batch), len(self.cells) - 1, own.shape[1]))
            by_segment[np.arange(len(batch)), batch.segment_b.numpy()] = own
            parts.append(by_segment.reshape(len(batch), -1))
        return np.concatenate(parts, 1)
