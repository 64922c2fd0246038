"""Statistics of customers as one vector of bounded norm: what makes a query private.

A statistic has several named parts, each with a public bound on what one unit adds to it. Divided
by its bound and by the square root of the number of parts, all parts together have norm at most 1;
noise is added there, and the parts are multiplied back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fl import arrays
from fl.arrays import Array, Arrays
from fl.contracts import Floats, Ints, Limits

Scales = Mapping[str, float]


def scales(limits: Limits) -> Scales:
    """What each named part is divided by.

    Powers of two, at least 1: a lattice of the divided scale stays one that fixed point can carry.

    Guarantee: parts within ``limits`` have a joint L2 norm of at most 1 afterwards.

    >>> scales({"a": 2.0, "b": 0.1})
    {'a': 4.0, 'b': 1.0}
    """
    parts = {name: limit * math.sqrt(len(limits)) for name, limit in limits.items()}
    return {name: 2.0 ** max(0, math.ceil(math.log2(part))) for name, part in parts.items()}


def sum_over_customers(chunks: Iterable[tuple[Arrays, Ints]], limits: Limits) -> Arrays:
    """The sum over customers of the mean over the customer's examples.

    Guarantee: adding or removing one customer, with any number of examples and any values, moves
    the divided sum (:func:`scales`) by at most 1 in L2. Not yet noised: private.

    Args:
        chunks: per-example statistics ``[b, ...]`` and customers ``[b]``; the examples of a
            customer are side by side, in one chunk.
        limits: of every named part.
    """
    total: Arrays | None = None
    for per_example, customer_b in chunks:
        per_customer = _means(per_example, customer_b)
        sums = {name: x.sum(0) for name, x in _clipped(per_customer, scales(limits)).items()}
        total = sums if total is None else arrays.add(total, sums)
    return total or {}


def largest_shares(
    chunks: Iterable[tuple[Arrays, Ints]],
    totals: Arrays,
    limits: Limits,
    add: Callable[[list[Tensor]], list[Tensor]] | None,
) -> Arrays:
    """Of each row of a part, the largest of its entries as shares of ``totals``; ``[rows]``.

    A row is multiplied by its smallest total before ``add`` puts noise on it, and divided after.

    Guarantee: that of ``add``, if adding or removing one customer moves its argument by at most 1
    in L2. It does, whatever the values are: a customer's part, divided by its limit and by the
    square root of the number of parts, is scaled down until the L2 norm over rows of their largest
    entries is at most 1, and a maximum of shares, times the smallest total, moves by no more than
    the largest entry. Without ``add``: exact, not clipped, no guarantee.

    Args:
        chunks: as :func:`sum_over_customers`, parts ``[b, rows, entries]``.
        totals: ``[rows, entries]`` of each part, > 0 and finite, public.
        limits: of every part, of the L2 norm over rows of their largest entries.

    Raises:
        ValueError: a total that is not a positive number.
    """
    of = {name: np.asarray(total, np.float64) for name, total in totals.items()}
    if any(not (np.isfinite(t).all() and (t > 0).all()) for t in of.values()):
        raise ValueError("Expected totals > 0.")
    each = {name: limits[name] * math.sqrt(len(totals)) for name in totals}
    summed: Arrays = {name: np.zeros(np.shape(t)) for name, t in totals.items()}
    for per_example, customer_b in chunks:
        per_customer = _means({n: per_example[n] for n in totals}, customer_b)
        scaled = {n: np.asarray(x, np.float64) / each[n] for n, x in per_customer.items()}
        if add is not None:
            scaled = _clipped_by_rows(scaled)
        summed = arrays.add(summed, {n: x.sum(0) for n, x in scaled.items()})
    names = sorted(totals)
    least = {n: of[n].min(1) for n in names}
    rows = [
        torch.as_tensor((np.asarray(summed[n], np.float64) / of[n]).max(1) * least[n])
        for n in names
    ]
    found = rows if add is None else add(rows)
    return {
        n: np.asarray(x.numpy() * each[n] / least[n]) for n, x in zip(names, found, strict=True)
    }


def clip(sums: Arrays, divided_by: Scales, bound: float) -> Arrays:
    """``sums`` scaled down until its divided norm is at most ``bound``; NaN and inf become 0.

    Guarantee: the divided L2 norm of the result is at most ``bound``, whatever came in (up to float
    rounding). Zero stays zero.
    """
    one = {name: np.asarray(x, np.float64)[None] for name, x in sums.items()}
    return {name: x[0] for name, x in _clipped(one, divided_by, bound).items()}


def with_noise(
    sums: Arrays, divided_by: Scales, add: Callable[[list[Tensor]], list[Tensor]]
) -> Arrays:
    """``sums`` after ``add`` has put noise on them in the divided scale, as one vector.

    Guarantee: that of ``add``, if one unit moves the divided ``sums`` by its sensitivity at most.
    """
    if not sums:
        return sums
    names = sorted(sums)
    divided = [torch.as_tensor(np.asarray(sums[n], np.float64) / divided_by[n]) for n in names]
    return {
        n: np.asarray(x.numpy() * divided_by[n]) for n, x in zip(names, add(divided), strict=True)
    }


def _means(per_example: Arrays, customer_b: Ints) -> dict[str, Floats]:
    """Mean over each customer's examples, ``[k, ...]``. Guarantee: one row a customer."""
    first_b = np.ones(len(customer_b), np.bool_)
    first_b[1:] = customer_b[1:] != customer_b[:-1]
    starts = np.flatnonzero(first_b)
    counts = np.diff([*starts, len(customer_b)])
    with np.errstate(over="ignore", invalid="ignore"):  # such a customer counts as zero
        return {
            name: np.add.reduceat(np.asarray(x, np.float64), starts, axis=0) / _beside(counts, x)
            for name, x in per_example.items()
        }


def _clipped(per_unit: Mapping[str, Floats], divided_by: Scales, bound: float = 1.0) -> Arrays:
    """Every unit scaled down until its divided norm is at most ``bound``.

    Guarantee: see :func:`clip`, for each unit by itself; a unit that is not finite counts as zero.
    """
    with np.errstate(over="ignore"):  # too large to square counts as not finite
        squares = [
            ((x / divided_by[name]) ** 2).sum(tuple(range(1, x.ndim)))
            for name, x in per_unit.items()
        ]
        norm_k = np.sqrt(np.sum(squares, axis=0)) if squares else np.zeros(0)
    finite_k = np.isfinite(norm_k)
    factor_k = np.where(finite_k, np.minimum(1.0, bound / np.maximum(norm_k, 1e-300)), 0.0)
    return {
        name: np.where(np.isfinite(x), x, 0.0) * _beside(factor_k, x)
        for name, x in per_unit.items()
    }


def _clipped_by_rows(per_unit: Mapping[str, Floats]) -> dict[str, Floats]:
    """Every unit scaled down until the norm over rows of their largest entries is at most 1.

    Guarantee: so it is, of all parts together; a unit that is not finite counts as zero.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        squares = [(np.abs(x).max(2) ** 2).sum(1) for x in per_unit.values()]
        norm_k = np.sqrt(np.sum(squares, axis=0))
    factor_k = np.where(np.isfinite(norm_k), 1 / np.maximum(norm_k, 1.0), 0.0)
    return {n: np.where(np.isfinite(x), x, 0.0) * _beside(factor_k, x) for n, x in per_unit.items()}


def _beside(value_k: npt.NDArray[np.number], x: Array) -> npt.NDArray[np.number]:
    """One value a unit, in a shape that multiplies ``x``. Guarantee: no value changes."""
    return value_k.reshape(-1, *[1] * (np.ndim(x) - 1))
