"""A linear layer on sparse rows: what a model of hashed features is made of.

A row is a bag of entries: the number of an input, and its value. All rows lie one behind the other
(compressed sparse rows), so no batch is ever as wide as the layer.

Legend: ``_n`` entry, ``_b`` row, ``_o`` output; ``start_b`` has one more number than there are
rows: row ``b`` has the entries from ``start_b[b]`` up to ``start_b[b + 1]``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_TEMPORARY = 1 << 22  # numbers in the largest temporary tensor


class SparseLinear(nn.Module):
    """``sum over the entries of a row of value times weight[code]``; starts at zero.

    Own code because ``nn.EmbeddingBag`` sorts in its backward pass, and takes six times as long
    (``experiments.bench.grams``).

    Args:
        inputs, outputs: width of the layer, >= 1.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(inputs, outputs))

    def forward(self, code_n: Tensor, value_n: Tensor, start_b: Tensor) -> Tensor:
        """``[b, o]``.

        Args:
            code_n: int32 or int64 in [0, inputs).
            value_n: float32.
            start_b: in the type of ``code_n``, ``[b + 1]``, from 0 to the number of entries.
        """
        product: Tensor = _Product.apply(  # type: ignore[no-untyped-call]
            self.weight, code_n, value_n, start_b
        )
        return product


class _Product(torch.autograd.Function):
    """Forward by torch's own bags, backward by adding up."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, code_n: Tensor, value_n: Tensor, start_b: Tensor) -> Any:
        ctx.save_for_backward(code_n, value_n, start_b)
        ctx.inputs = len(weight)
        return nn.functional.embedding_bag(
            code_n,
            weight,
            start_b,
            mode="sum",
            per_sample_weights=value_n,
            include_last_offset=True,
        )

    @staticmethod
    def backward(ctx: Any, *d: Any) -> Any:
        code_n, value_n, start_b = ctx.saved_tensors
        return outer_sum(code_n, value_n, start_b, d[0], ctx.inputs), None, None, None


def outer_sum(
    code_n: Tensor, value_n: Tensor, start_b: Tensor, d_bo: Tensor, inputs: int
) -> Tensor:
    """The layer's gradient ``[inputs, o]`` from the back-signals ``d_bo`` at its output."""
    row_n, outputs = rows_of(start_b), d_bo.shape[1]
    if outputs == 1:
        flat = torch.zeros(inputs, dtype=d_bo.dtype)
        return flat.index_add_(0, code_n, value_n * d_bo[:, 0][row_n])[:, None]
    total = torch.zeros(inputs, outputs, dtype=d_bo.dtype)
    step = max(1, _TEMPORARY // outputs)
    for at in range(0, len(code_n), step):
        part = slice(at, at + step)
        total.index_add_(0, code_n[part], value_n[part, None] * d_bo[row_n[part]])
    return total


def rows_of(start_b: Tensor) -> Tensor:
    """The row of each entry, int64 ``[n]``.

    >>> rows_of(torch.tensor([0, 2, 2, 3])).tolist()
    [0, 0, 2]
    """
    length_b = start_b.diff().long()
    return torch.arange(len(length_b)).repeat_interleave(length_b)


def chosen(start_b: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """The entries of the rows at ``index``, int64 ``[n]``, and where these rows start.

    >>> chosen(torch.tensor([0, 2, 2, 3]), torch.tensor([2, 0]))
    (tensor([2, 0, 1]), tensor([0, 1, 3]))
    """
    length_k = start_b.diff()[index]
    new_k = torch.zeros(len(index) + 1, dtype=start_b.dtype)
    torch.cumsum(length_k, 0, out=new_k[1:])
    shift_k = start_b[:-1][index] - new_k[:-1]
    entries = torch.arange(int(new_k[-1])) + shift_k.long().repeat_interleave(length_k.long())
    return entries, new_k
