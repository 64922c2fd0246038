"""What a sparse linear layer adds to a customer's gradient: its norm, and its clipped sum.

The gradient of one row is ``v d^T``, with ``v`` the row's entries and ``d`` the back-signal at its
output, so its norm is the product of theirs. It is never made, whatever the width of the layer.

Legend: as in ``layers.py``; ``_n`` entry of a row, ``_o`` output.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fl.privacy.layers import Groups
from fl.sparse import SparseLinear, chosen, outer_sum, rows_of

_TEMPORARY = 1 << 22  # numbers in the largest temporary tensor


@dataclass(frozen=True, slots=True)
class SparseSignals:
    """Entries of the rows (see ``fl/sparse.py``) and back-signals ``d_bo`` of one layer."""

    layers: tuple[SparseLinear]
    code_n: Tensor
    value_n: Tensor
    start_b: Tensor
    d_bo: Tensor

    def squares(self, groups: Groups) -> Tensor:
        """Products where a customer has one row without repeated inputs; else entries are added.

        Guarantee: exact up to rounding, for any repetition of an input within a row and across a
        customer's rows.
        """
        if groups.one_each and self._distinct():
            value_b = torch.segment_reduce(
                self.value_n.double().square_(), "sum", offsets=self.start_b.long(), initial=0.0
            )
            return value_b.mul_(_square_norms(self.d_bo))
        square_k = torch.zeros(len(groups.rows_k), dtype=torch.float64)
        for rows in self._parts(groups):
            entry, start = chosen(self.start_b, rows)
            row_n = rows[rows_of(start)]
            key = groups.index_b[row_n] * len(self.layers[0].weight) + self.code_n[entry]
            key, place = torch.unique(key, return_inverse=True)
            each = self.value_n[entry, None].double() * self.d_bo[row_n].double()
            touched = each.new_zeros(len(key), each.shape[1]).index_add_(0, place, each)
            square_k.index_add_(0, key // len(self.layers[0].weight), _square_norms(touched))
        return square_k

    @property
    def terms(self) -> int:
        """Numbers that are added to one of the sum, at most. Guarantee: as in ``layers.py``."""
        return len(self.code_n)

    def sums(self, scale_b: Tensor) -> list[Tensor]:
        """The layer's gradient, each row times its scale, summed over rows.

        Guarantee: every entry of a row has that row's scale; added in the precision of ``scale_b``.
        """
        d_bo, inputs = self.d_bo * scale_b[:, None], len(self.layers[0].weight)
        return [outer_sum(self.code_n, self.value_n, self.start_b, d_bo, inputs)]

    def only(self, keep_b: Tensor) -> SparseSignals:
        """Of some rows. Guarantee: nothing of the others is left, NaN or not."""
        entry, start = chosen(self.start_b, keep_b)
        return SparseSignals(
            self.layers, self.code_n[entry], self.value_n[entry], start, self.d_bo[keep_b]
        )

    def _distinct(self) -> bool:
        """Whether codes rise within every row. Guarantee: then no row has an input twice."""
        rises = torch.ones(len(self.code_n) + 1, dtype=torch.bool)
        rises[1:-1] = self.code_n[1:] > self.code_n[:-1]
        rises[self.start_b.long()] = True
        return bool(rises.all())

    def _parts(self, groups: Groups) -> Iterator[Tensor]:
        """Rows, some customers at a time. Guarantee: each row once, a customer's rows together."""
        order_b = torch.argsort(groups.index_b, stable=True)
        entries_b = self.start_b.diff().long()[order_b].cumsum(0) * self.d_bo.shape[1]
        last_b = groups.index_b[order_b].diff(append=torch.tensor([-1])) != 0
        begin, done = 0, 0
        for end in last_b.nonzero()[:, 0].tolist():
            if int(entries_b[end]) - done >= _TEMPORARY or end == len(order_b) - 1:
                yield order_b[begin : end + 1]
                begin, done = end + 1, int(entries_b[end])


def _square_norms(values: Tensor) -> Tensor:
    """Squared L2 norms of rows in float64. Guarantee: exact up to rounding."""
    return values.double().square_().sum(1)
