"""What one layer adds to a customer's gradient: its norm, and its clipped sum, from two factors.

The gradient of a linear layer for one row is ``d a^T``: its input ``a`` times the back-signal ``d``
at its output; an embedding's is ``d`` at the rows it looked up. So the norm of a customer's
gradient follows from products of these (Goodfellow, "Efficient Per-Example Gradient Computations",
2015; over several rows the Gram form of Li et al., "Large Language Models Can Be Strong
Differentially Private Learners", 2022, section 4), and nobody's gradient is ever made.

Legend: ``_b`` row of the batch, ``_t`` use of a layer for one row (calls times inner dimensions),
``_k`` customer, ``_s`` place in a bucket of customers, ``_n`` use of a layer by one customer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_TEMPORARY = 1 << 20  # numbers in the largest temporary tensor
_NARROW = 512  # terms that are still added in the model's own precision


def precision(terms: int, dtype: torch.dtype) -> torch.dtype:
    """In what ``terms`` clipped contributions are added: ``dtype``, and float64 for more than 512.

    Rounding gives a customer more influence on a sum than the clip ``C``, as it may round
    everything else differently. With ``n`` terms of norm ``C`` at most, whatever their order, that
    is ``2 n^2 u C`` at most (Higham, "Accuracy and Stability of Numerical Algorithms", 2002,
    section 4.2) for the unit roundoff ``u``. In float64 that is 1e-6 ``C`` for 70,000 customers and
    2e-4 ``C`` for a million; in float32 it would exceed the clip from 3,000 on. Up to 512 float32
    stays: 0.03 ``C`` if every rounding went one way, and 0.002 ``C`` where it was measured.

    Guarantee: depends on the number of terms only.
    """
    return torch.float64 if terms > _NARROW else dtype


@dataclass(frozen=True, slots=True)
class Groups:
    """Whose each row is.

    Attributes:
        index_b: int64, the customer of each row, 0 .. customers - 1.
        rows_k: int64, rows of each customer, >= 1.
        buckets: customers of similar size: their numbers ``[s]`` and rows ``[s, 2^i]``, -1 as
            padding; every row is in exactly one bucket, in the line of its own customer.
        one_each: row ``i`` is the only row of customer ``i``.
    """

    index_b: Tensor
    rows_k: Tensor
    buckets: tuple[tuple[Tensor, Tensor], ...]
    one_each: bool

    @staticmethod
    def of(customer_b: Tensor) -> Groups:
        """Customers in the order of their ids. Guarantee: equal ids are one customer."""
        ids = customer_b.numpy()
        if (ids[1:] > ids[:-1]).all():
            index_b = torch.arange(len(ids))
            return Groups(index_b, torch.ones_like(index_b), ((index_b, index_b[:, None]),), True)
        _, index_b, rows_k = torch.unique(customer_b, return_inverse=True, return_counts=True)
        return Groups(index_b, rows_k, tuple(_buckets(index_b, rows_k)), False)

    def total(self, values_b: Tensor) -> Tensor:
        """Sums of ``[b, ...]`` over each customer's rows. Guarantee: each row counts once."""
        if self.one_each:
            return values_b
        out = values_b.new_zeros(len(self.rows_k), *values_b.shape[1:])
        return out.index_add_(0, self.index_b, values_b)


def _buckets(index_b: Tensor, rows_k: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """See :class:`Groups`. Guarantee: a customer is in the bucket of the next power of two."""
    order_b = torch.argsort(index_b, stable=True)
    start_k = rows_k.cumsum(0) - rows_k
    size_k = torch.ceil(torch.log2(rows_k.double())).long()
    for size in range(int(size_k.max()) + 1):
        customer_s = (size_k == size).nonzero()[:, 0]
        if len(customer_s):
            place = torch.arange(2**size)
            real = place < rows_k[customer_s, None]
            rows = order_b[(start_k[customer_s, None] + place).where(real, 0)]
            yield customer_s, rows.where(real, -1)


@dataclass(frozen=True, slots=True)
class LinearSignals:
    """``a_bti`` inputs, ``d_bto`` back-signals of an ``nn.Linear``."""

    layers: tuple[nn.Linear]
    a_bti: Tensor
    d_bto: Tensor

    def squares(self, groups: Groups) -> Tensor:
        """Products for one use by one customer, buckets of equal size for the others.

        Guarantee: exact up to rounding, and what rounding could hide is added (see :func:`_gram`).
        """
        one = 1.0 if self.layers[0].bias is not None else 0.0  # the bias sees the input 1
        if groups.one_each and self.a_bti.shape[1] == 1:
            a_b = _square_norms(self.a_bti[:, 0], 1)
            d_b = _square_norms(self.d_bto[:, 0], 1)
            return d_b.mul_(a_b.add_(one))
        square_k = self.d_bto.new_zeros(len(groups.rows_k), dtype=torch.float64)
        for customer_s, rows_sn in groups.buckets:
            size = rows_sn.shape[1] * (self.a_bti[0].numel() + self.d_bto[0].numel())
            step = max(1, _TEMPORARY // max(1, size))  # _joint makes nothing larger
            for s in range(0, len(customer_s), step):
                a = _uses(self.a_bti, rows_sn[s : s + step])
                d = _uses(self.d_bto, rows_sn[s : s + step])
                square_k[customer_s[s : s + step]] = _joint(a, d, one).double()
        return square_k

    @property
    def terms(self) -> int:
        """Numbers that are added to one of the sum. Guarantee: public but for the batch's rows."""
        return len(self.d_bto) * self.d_bto.shape[1]

    def sums(self, scale_b: Tensor) -> list[Tensor]:
        """Gradients of weight and bias, each row times its scale, summed over rows.

        Guarantee: every use of the layer by a row has that row's scale; added in the precision of
        ``scale_b``.
        """
        made: list[Tensor] = []
        for rows in _stretches(self.d_bto, scale_b):
            d = (self.d_bto[rows] * scale_b[rows, None, None]).flatten(0, 1)
            part = [d.t() @ self.a_bti[rows].flatten(0, 1).to(d.dtype)]
            part += [] if self.layers[0].bias is None else [d.sum(0)]
            made = [m.add_(p) for m, p in zip(made, part, strict=True)] if made else part
        return made

    def only(self, keep_b: Tensor) -> LinearSignals:
        """Of some rows. Guarantee: nothing of the others is left, NaN or not."""
        return LinearSignals(self.layers, self.a_bti[keep_b], self.d_bto[keep_b])


@dataclass(frozen=True, slots=True)
class EmbeddingSignals:
    """One or more ``nn.Embedding`` of equal width, as one long table.

    Attributes:
        layers: the tables, one below the other.
        code_bt: the row of the long table that is looked up.
        d_btd: back-signals; zero at padding.
        once: whether no row of the batch uses one table twice.
    """

    layers: tuple[nn.Embedding, ...]
    code_bt: Tensor
    d_btd: Tensor
    once: bool

    def squares(self, groups: Groups) -> Tensor:
        """Back-signals of one customer at one code are added before they are squared.

        Guarantee: exact up to rounding, for any repetition within a row and across rows. Memory is
        that of the back-signals, never a table per customer.
        """
        if groups.one_each and self.once:
            return _square_norms(self.d_btd, (1, 2))
        rows = sum(layer.num_embeddings for layer in self.layers)
        key, place = torch.unique(
            groups.index_b[:, None] * rows + self.code_bt, return_inverse=True
        )
        d = self.d_btd.flatten(0, 1)
        touched = d.new_zeros(len(key), d.shape[1]).index_add_(0, place.flatten(), d)
        square_k = d.new_zeros(len(groups.rows_k), dtype=torch.float64)
        return square_k.index_add_(0, key // max(1, rows), _square_norms(touched, 1))

    @property
    def terms(self) -> int:
        """Numbers that are added to one of the sum. Guarantee: public but for the batch's rows."""
        return len(self.d_btd) * (1 if self.once else self.d_btd.shape[1])

    def sums(self, scale_b: Tensor) -> list[Tensor]:
        """The gradient of every table, each row times its scale, summed over rows.

        Guarantee: every use of a table by a row has that row's scale; added in the precision of
        ``scale_b``.
        """
        sizes = [layer.num_embeddings for layer in self.layers]
        table = torch.zeros(sum(sizes), self.d_btd.shape[2], dtype=scale_b.dtype)
        for rows in _stretches(self.d_btd, scale_b):
            d = (self.d_btd[rows] * scale_b[rows, None, None]).flatten(0, 1)
            table.index_add_(0, self.code_bt[rows].flatten(), d)
        return list(torch.split_with_sizes(table, sizes))

    def only(self, keep_b: Tensor) -> EmbeddingSignals:
        """Of some rows. Guarantee: nothing of the others is left, NaN or not."""
        return EmbeddingSignals(self.layers, self.code_bt[keep_b], self.d_btd[keep_b], self.once)


def joined(signals: Sequence[EmbeddingSignals]) -> EmbeddingSignals:
    """Tables of equal width, one below the other; they cost one operation instead of many.

    Guarantee: norms and sums are those of the parts together.
    """
    if len(signals) == 1:
        return signals[0]
    start, starts = 0, []
    for s in signals:
        starts += [start] * s.code_bt.shape[1]
        start += sum(layer.num_embeddings for layer in s.layers)
    return EmbeddingSignals(
        tuple(layer for s in signals for layer in s.layers),
        torch.cat([s.code_bt for s in signals], 1).add_(torch.tensor(starts)),
        torch.cat([s.d_btd for s in signals], 1),
        all(s.once for s in signals),
    )


Signals = LinearSignals | EmbeddingSignals


def _stretches(values_btx: Tensor, scale_b: Tensor) -> list[slice]:
    """All rows at once, or, if they must be widened, so many that the copy stays small.

    Guarantee: every row is in one of them.
    """
    rows = len(scale_b)
    if values_btx.dtype == scale_b.dtype or not rows:
        return [slice(0, rows)]
    step = max(1, _TEMPORARY // max(1, values_btx[0].numel()))
    return [slice(start, start + step) for start in range(0, rows, step)]


def _square_norms(values: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """Squared L2 norms in float64.

    Guarantee: not 0 for a float32 norm that is not: weights can be chosen so that a back-signal's
    square is below float32's range while its product with a large input is not small.
    """
    norm: Tensor = torch.linalg.vector_norm(values, dim=dim)
    return norm.double().square_()


def _uses(values_btx: Tensor, rows_sn: Tensor) -> Tensor:
    """``[s, n * t, x]``: all uses by each customer. Guarantee: padding is zero, even beside NaN."""
    if int(rows_sn.min()) >= 0:
        return values_btx[rows_sn].flatten(1, 2)
    picked = values_btx[rows_sn.clamp(min=0)]
    return picked.masked_fill_((rows_sn < 0)[..., None, None], 0).flatten(1, 2)


def _joint(a_sni: Tensor, d_sno: Tensor, one: float) -> Tensor:
    """Squared norm of ``sum over n of d (a, one)^T``, by the cheaper of two ways, ``[s]``.

    Guarantee: exact up to rounding.
    """
    inputs, outputs = a_sni.shape[2], d_sno.shape[2]
    if a_sni.shape[1] * (inputs + outputs) <= inputs * outputs:
        return _gram(a_sni, d_sno, one)
    weight = torch.bmm(d_sno.transpose(1, 2), a_sni).square_().sum((1, 2))
    return weight + one * d_sno.sum(1).square_().sum(1)


def _gram(a_sni: Tensor, d_sno: Tensor, one: float) -> Tensor:
    """``sum over n, n' of (a_n a_n' + one) (d_n d_n')``.

    Guarantee: not below the true square by more than rounding: where a customer's rows cancel, the
    sum loses digits and could come out too small (then too little would be clipped), so four
    roundings of its largest terms are added. Without cancellation that is 2e-7 of the norm.
    """
    largest_s: Tensor = d_sno.abs().amax((1, 2), keepdim=True).clamp_(min=1e-30)
    d_sno = d_sno / largest_s  # as in _square_norms: its squares stay in range
    products = torch.bmm(a_sni, a_sni.transpose(1, 2)).add_(one)
    products.mul_(torch.bmm(d_sno, d_sno.transpose(1, 2)))
    slack = products.diagonal(dim1=1, dim2=2).sum(1) * (4 * torch.finfo(products.dtype).eps)
    square_s = products.sum((1, 2)).clamp_(min=0).add_(slack)
    return square_s.double() * largest_s[:, 0, 0].double().square_()
