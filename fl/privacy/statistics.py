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


def _beside(value_k: npt.NDArray[np.number], x: Array) -> npt.NDArray[np.number]:
    """One value a unit, in a shape that multiplies ``x``. Guarantee: no value changes."""
    return value_k.reshape(-1, *[1] * (np.ndim(x) - 1))
