"""The whole local training of each brand as one compiled loop, where numba is installed.

The extra ``[compiled]``; without it the formulas of ``formulas.py`` do the same work. Brands come
one after the other, so a brand's result cannot depend on the block it is in. What is not a number
stays so: no optimisation here assumes otherwise.

Legend: ``row`` ``[a, s, m]`` which rows each step reads, ``size`` ``[a, s]`` how many of them, 0
from a brand's last step on. Each step is ``w <- shrink w + push - rate g``, or ``w <- w - rate g``
where there is no ``push``: then it has a line of zeros, and ``drifts`` is False.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from fl.cohort.formulas import Formula, Net, Sums
from fl.cohort.stacks import Weights

_MATH = {"reassoc", "contract", "arcp", "nsz"}  # not nnan, not ninf

Floats = npt.NDArray[np.float32]
Loop = Callable[..., None]


def loop_for(formula: Formula | None, columns: int) -> Loop | None:
    """The loop for this formula; None where numba is not installed, where rows have ``columns`` of
    categories, and for perceptrons that are deeper."""
    if formula is None or columns or find_spec("numba") is None:
        return None
    if isinstance(formula, Sums) and len(formula.layout.names) == 3:
        linear: Loop = _loops()[0]
        return linear
    if isinstance(formula, Net) and len(formula.layout.names) == 5:
        perceptron: Loop = _loops()[2 if formula.tanh else 1]
        return perceptron
    return None


def train(
    loop: Loop,
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
    read = slice(0, 2) if unread(weights).start else slice(1, 5)
    parts = [part.numpy() for part in weights.parts[read]]
    if push is None:
        pushed = [np.zeros((1, *part.shape[1:]), np.float32) for part in parts]
    else:
        pushed = [(part * rate).numpy() for part in push.parts[read]]
    x, y = stored[0].numpy(), stored[2].numpy()
    loop(*parts, *pushed, x, y, row.numpy(), size.numpy(), np.float32(rate), shrink.numpy(), drifts)


def unread(weights: Weights) -> slice:
    """Where the table is, which no loop here reads: last in a linear model, else first."""
    return slice(2, 3) if len(weights.parts) == 3 else slice(0, 1)


@lru_cache(maxsize=1)
def _loops() -> tuple[Any, Any, Any]:
    """Logistic regression; a perceptron of one hidden layer with ReLU, and with tanh."""
    from numba import njit

    compiled = njit(fastmath=_MATH, cache=True, nogil=True)
    return compiled(_linear), compiled(_with_relu), compiled(_with_tanh)


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


def _with_relu(
    w: Floats, b: Floats, v: Floats, c: Floats,
    push_w: Floats, push_b: Floats, push_v: Floats, push_c: Floats,
    x: Floats, y: Floats, row: Any, size: Any, rate: Any, shrink: Floats, drifts: bool,
) -> None:  # fmt: skip
    brands, steps = size.shape
    hidden, inputs = w.shape[1], w.shape[2]
    batch = np.empty((row.shape[2], inputs), np.float32)
    g_v = np.empty(hidden, np.float32)
    for a in range(brands):
        k = min(a, push_w.shape[0] - 1)
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
                for o in range(hidden):
                    h[j, o] = max(h[j, o] + b[a, o], np.float32(0))
                    z += h[j, o] * v[a, 0, o]
                r = np.float32(1) / (np.float32(1) + np.exp(-z)) - y[row[a, s, j]]
                g_c += r
                for o in range(hidden):
                    g_v[o] += r * h[j, o]
                    h[j, o] = r * v[a, 0, o] if h[j, o] > 0 else np.float32(0)
            step = rate / np.float32(m)
            g_w = np.dot(h.T, batch[:m])
            if drifts:
                for o in range(hidden):
                    b[a, o] = shrink[a] * b[a, o] + push_b[k, o]
                    v[a, 0, o] = shrink[a] * v[a, 0, o] + push_v[k, 0, o]
                    for f in range(inputs):
                        w[a, o, f] = shrink[a] * w[a, o, f] + push_w[k, o, f]
                c[a, 0] = shrink[a] * c[a, 0] + push_c[k, 0]
            for j in range(m):
                for o in range(hidden):
                    b[a, o] -= step * h[j, o]
            for o in range(hidden):
                v[a, 0, o] -= step * g_v[o]
                for f in range(inputs):
                    w[a, o, f] -= step * g_w[o, f]
            c[a, 0] -= step * g_c


def _with_tanh(
    w: Floats, b: Floats, v: Floats, c: Floats,
    push_w: Floats, push_b: Floats, push_v: Floats, push_c: Floats,
    x: Floats, y: Floats, row: Any, size: Any, rate: Any, shrink: Floats, drifts: bool,
) -> None:  # fmt: skip
    brands, steps = size.shape
    hidden, inputs = w.shape[1], w.shape[2]
    batch = np.empty((row.shape[2], inputs), np.float32)
    g_v = np.empty(hidden, np.float32)
    for a in range(brands):
        k = min(a, push_w.shape[0] - 1)
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
                for o in range(hidden):
                    h[j, o] = np.tanh(h[j, o] + b[a, o])
                    z += h[j, o] * v[a, 0, o]
                r = np.float32(1) / (np.float32(1) + np.exp(-z)) - y[row[a, s, j]]
                g_c += r
                for o in range(hidden):
                    g_v[o] += r * h[j, o]
                    h[j, o] = r * v[a, 0, o] * (np.float32(1) - h[j, o] * h[j, o])
            step = rate / np.float32(m)
            g_w = np.dot(h.T, batch[:m])
            if drifts:
                for o in range(hidden):
                    b[a, o] = shrink[a] * b[a, o] + push_b[k, o]
                    v[a, 0, o] = shrink[a] * v[a, 0, o] + push_v[k, 0, o]
                    for f in range(inputs):
                        w[a, o, f] = shrink[a] * w[a, o, f] + push_w[k, o, f]
                c[a, 0] = shrink[a] * c[a, 0] + push_c[k, 0]
            for j in range(m):
                for o in range(hidden):
                    b[a, o] -= step * h[j, o]
            for o in range(hidden):
                v[a, 0, o] -= step * g_v[o]
                for f in range(inputs):
                    w[a, o, f] -= step * g_w[o, f]
            c[a, 0] -= step * g_c
