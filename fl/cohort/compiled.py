"""The whole local training of each brand as one compiled loop, where numba is installed.

The extra ``[compiled]``; without it the formulas of ``formulas.py`` do the same work. Brands come
one after the other, so a brand's result cannot depend on the block it is in. What is not a number
stays so: no optimisation here assumes otherwise.

Legend: ``row`` ``[a, s, m]`` which rows each step reads, ``size`` ``[a, s]`` how many of them, 0
from a brand's last step on. Each step is ``w <- shrink w + push - rate g``, or ``w <- w - rate g``
where there is no ``push``: then it has a line of zeros, and ``drifts`` is False.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fl.cohort.formulas import Formula, Net, Sums
from fl.cohort.stacks import Weights
from fl.privacy.blocks import CustomerBlock
from fl.privacy.blocks_compiled import loops

_MATH = {"reassoc", "contract", "arcp", "nsz"}  # not nnan, not ninf

Floats = npt.NDArray[np.float32]
_NOISE = 1 << 17  # variates at a time: what a step reads is still in the cache


def shape_of(formula: Formula, columns: int) -> Shape | None:
    """Which loop does this formula's work; None where rows have ``columns`` of categories, and for
    perceptrons that are deeper."""
    if columns:
        return None
    if isinstance(formula, Sums) and len(formula.layout.names) == 3:
        return Shape(True, False)
    if isinstance(formula, Net) and len(formula.layout.names) == 5:
        return Shape(False, formula.tanh)
    return None


@dataclass(frozen=True, slots=True)
class Shape:
    """A model that has a loop: linear, or a perceptron with tanh or ReLU."""

    linear: bool
    tanh: bool

    @property
    def read(self) -> slice:
        """Where the parameters are that rows read."""
        return slice(0, 2) if self.linear else slice(1, 5)

    @property
    def unread(self) -> slice:
        """Where the table is, which no loop here reads: last in a linear model, else first."""
        return slice(2, 3) if self.linear else slice(0, 1)


def train(
    shape: Shape,
    weights: Weights,
    push: Weights | None,
    stored: Sequence[Tensor],
    row: Tensor,
    size: Tensor,
    rate: float,
    shrink: Tensor,
    *,
    drifts: bool,
) -> None:
    """All steps of all brands of a block, in place; the table, which no row reads, is left alone.

    Args:
        push: of each step, times ``rate``; None for none.
        drifts: whether ``shrink`` or ``push`` changes anything.
    """
    parts = [part.numpy() for part in weights.parts]
    pushed = _pushed(parts, push, rate)
    x, y = stored[0].numpy(), stored[2].numpy()
    of_all = (x, y, row.numpy(), size.numpy(), np.float32(rate), shrink.numpy(), drifts)
    linear, perceptron = _loops()
    if shape.linear:
        linear(*parts[shape.read], *pushed[shape.read], *of_all)
    else:
        perceptron(*parts[shape.read], *pushed[shape.read], *of_all, shape.tanh)


def train_privately(
    shape: Shape,
    weights: Weights,
    push: Weights | None,
    stored: Sequence[Tensor],
    customers: CustomerBlock,
    rate: float,
    shrink: Tensor,
    *,
    drifts: bool,
) -> None:
    """As :func:`train` with DP-SGD's steps; the table gets its noise too.

    Args:
        stored: rows as :func:`train` reads them, then the squared norm of each one's input with
            the bias's 1, float64.
        customers: with one row each.
    """
    parts = [part.numpy() for part in weights.parts]
    pushed = _pushed(parts, push, rate)
    drawn, steps, dtype = customers.drawn, customers.steps, customers.precision()
    room = np.dtype(str(dtype).removeprefix("torch."))
    most, inputs = int(np.diff(drawn.edge).max(initial=1)), stored[0].shape[1]
    numbers = (
        np.float32(rate), shrink.numpy(), drifts, customers.clip_norm,
        np.float32(1 / customers.grid), np.float32(customers.grid / customers.expected),
    )  # fmt: skip
    rows = [stored[0].numpy(), stored[2].numpy(), stored[3].numpy(), drawn.row_n]
    group = max(1, _NOISE // max(1, steps * weights.layout.entries))
    gone = 0
    for first in range(0, weights.brands, group):
        some = slice(first, min(first + group, weights.brands))
        noise = customers.noise(some, dtype).numpy()
        own, along = [p[some] for p in parts], [p if len(p) == 1 else p[some] for p in pushed]
        edge = drawn.edge[some.start * steps : some.stop * steps + 1]
        own += [part.reshape(len(part), -1) for part in own[shape.unread]]
        along += [part.reshape(len(part), -1) for part in along[shape.unread]]
        mine = (*own[shape.read], own[-1], *along[shape.read], along[-1], *rows, edge, noise)
        if shape.linear:
            gone += loops().linear(*mine, np.empty(inputs, room), *numbers)
        else:
            hidden, wide = own[1].shape[1], dtype == torch.float64
            seen = np.empty((most, inputs), np.float32)
            batch = np.empty(seen.shape, room) if wide else seen
            sizes = (most, hidden), (hidden, inputs), (2, hidden)
            d, g_w, g_h = (np.empty(size, room) for size in sizes)
            mine += (d, seen, batch, g_w, g_h)
            gone += loops().perceptron(*mine, *numbers, shape.tanh, wide)
    customers.tell(gone)


def _pushed(parts: Sequence[Any], push: Weights | None, rate: float) -> list[Any]:
    """A step's push for each parameter ``[a, ...]``; one line of zeros for none."""
    if push is None:
        return [np.zeros((1, *part.shape[1:]), np.float32) for part in parts]
    return [(part * rate).numpy() for part in push.parts]


@lru_cache(maxsize=1)
def _loops() -> tuple[Any, Any]:
    """Logistic regression; a perceptron of one hidden layer."""
    from numba import njit

    compiled = njit(fastmath=_MATH, cache=True, nogil=True)
    return compiled(_linear), compiled(_perceptron)


def _linear(
    w: Floats, b: Floats, push_w: Floats, push_b: Floats, x: Floats, y: Floats,
    row: Any, size: Any, rate: Any, shrink: Floats, drifts: bool,
) -> None:  # fmt: skip
    brands, steps = size.shape
    inputs = x.shape[1]
    g = np.zeros(inputs, np.float32)
    for a in range(brands):
        own, k = w[a, 0], min(a, push_w.shape[0] - 1)
        for s in range(steps):
            m = size[a, s]
            if m == 0:
                break
            g[:] = 0
            g_b = np.float32(0)
            for j in range(m):
                i = row[a, s, j]
                z = b[a, 0]
                for f in range(inputs):
                    z += x[i, f] * own[f]
                r = np.float32(1) / (np.float32(1) + np.exp(-z)) - y[i]
                g_b += r
                for f in range(inputs):
                    g[f] += r * x[i, f]
            step = rate / np.float32(m)
            if drifts:
                for f in range(inputs):
                    own[f] = shrink[a] * own[f] + push_w[k, 0, f]
                b[a, 0] = shrink[a] * b[a, 0] + push_b[k, 0]
            for f in range(inputs):
                own[f] -= step * g[f]
            b[a, 0] -= step * g_b


def _perceptron(
    w: Floats, b: Floats, v: Floats, c: Floats,
    push_w: Floats, push_b: Floats, push_v: Floats, push_c: Floats,
    x: Floats, y: Floats, row: Any, size: Any, rate: Any, shrink: Floats, drifts: bool, tanh: bool,
) -> None:  # fmt: skip
    brands, steps = size.shape
    hidden, inputs = w.shape[1], w.shape[2]
    batch = np.empty((row.shape[2], inputs), np.float32)
    g_v, g_w = np.empty(hidden, np.float32), np.empty((hidden, inputs), np.float32)
    made = g_w.reshape(hidden * inputs)
    for a in range(brands):
        k = min(a, push_w.shape[0] - 1)
        own_w, pushed = w[a].reshape(hidden * inputs), push_w[k].reshape(hidden * inputs)
        for s in range(steps):
            m = size[a, s]
            if m == 0:
                break
            for j in range(m):
                batch[j] = x[row[a, s, j]]
            h = np.dot(batch[:m], w[a].T)
            g_v[:] = 0
            g_c = np.float32(0)
            for j in range(m):
                z = c[a, 0]
                if tanh:
                    for o in range(hidden):
                        h[j, o] = np.tanh(h[j, o] + b[a, o])
                else:
                    for o in range(hidden):
                        h[j, o] = max(h[j, o] + b[a, o], np.float32(0))
                for o in range(hidden):
                    z += h[j, o] * v[a, 0, o]
                r = np.float32(1) / (np.float32(1) + np.exp(-z)) - y[row[a, s, j]]
                g_c += r
                for o in range(hidden):
                    g_v[o] += r * h[j, o]
                if tanh:
                    for o in range(hidden):
                        h[j, o] = r * v[a, 0, o] * (np.float32(1) - h[j, o] * h[j, o])
                else:
                    for o in range(hidden):
                        h[j, o] = r * v[a, 0, o] if h[j, o] > 0 else np.float32(0)
            step = rate / np.float32(m)
            np.dot(h.T, batch[:m], g_w)
            if drifts:
                for o in range(hidden):
                    b[a, o] = shrink[a] * b[a, o] + push_b[k, o]
                    v[a, 0, o] = shrink[a] * v[a, 0, o] + push_v[k, 0, o]
                for i in range(hidden * inputs):
                    own_w[i] = shrink[a] * own_w[i] + pushed[i]
                c[a, 0] = shrink[a] * c[a, 0] + push_c[k, 0]
            for j in range(m):
                for o in range(hidden):
                    b[a, o] -= step * h[j, o]
            for o in range(hidden):
                v[a, 0, o] -= step * g_v[o]
            for i in range(hidden * inputs):
                own_w[i] -= step * made[i]
            c[a, 0] -= step * g_c
