"""DP-SGD for blocks of simulated brands as compiled loops, where numba is installed.

For customers with one row each and models without categories: logistic regression, and perceptrons
with one hidden layer. Clips, sums, adds the noise and steps, brand after brand; what
``kernel.py`` and ``noise.noised`` do for one brand, in the same precision. What is not a number
stays so: no optimisation here assumes otherwise.

Legend: ``[a]`` brand, ``[a, s]`` step; ``row[edge[i]:edge[i + 1]]`` are the rows of step ``i``
counted over all brands and steps; ``square`` the squared norm of each row's input with the bias's
1; ``noise`` ``[a, s, entries]`` in units of the grid, entries in the model's order; ``idle`` the
parameters that no row reads. A step is ``w <- shrink w + push - rate g``; ``g`` is the noised sum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Sums = npt.NDArray[np.floating]
Counts = npt.NDArray[np.int64]
Loop = Callable[..., int]

_LEAST, _MOST = 1e-30, 1e30  # sums of squares that float32 can be trusted with
_MATH = {"reassoc", "contract", "arcp", "nsz"}  # not nnan, not ninf


@dataclass(frozen=True, slots=True)
class Loops:
    """The compiled loops. Each returns how many customers' gradients were not finite."""

    linear: Loop
    perceptron: Loop


@lru_cache(maxsize=1)
def loops() -> Loops:
    """Guarantee: of both, that of ``noise.noised`` on ``clipped_sum``: a customer moves a step's
    sum by at most ``clip`` up to rounding, and a gradient that is not finite counts as zero."""
    from numba import njit

    compiled = njit(fastmath=_MATH, cache=True, nogil=True)
    return Loops(compiled(_linear), compiled(_perceptron))


def _linear(
    w: Floats, b: Floats, idle: Floats, push_w: Floats, push_b: Floats, push_idle: Floats,
    x: Floats, y: Floats, square: Doubles, row: Counts, edge: Counts, noise: Sums, g: Sums,
    rate: np.float32, shrink: Floats, drifts: bool, clip: float, to_grid: np.float32,
    of_grid: np.float32,
) -> int:  # fmt: skip
    """Logistic regression; entries are weight, bias, then what is idle. ``g`` ``[inputs]``."""
    brands, steps, inputs, gone = noise.shape[0], noise.shape[1], x.shape[1], 0
    touched = np.zeros(1, np.float32)
    for a in range(brands):
        near = np.float32(0)  # rows lie apart: one look at each line of the cache brings them here
        for j in range(edge[a * steps], edge[(a + 1) * steps]):
            for f in range(0, inputs, 16):
                near += x[row[j], f]
        touched[0] += near
        own, k = w[a, 0], min(a, push_w.shape[0] - 1)
        for s in range(steps):
            g[:] = 0
            g_b = g[0]
            for j in range(edge[a * steps + s], edge[a * steps + s + 1]):
                i = row[j]
                z = b[a, 0]
                for f in range(inputs):
                    z += x[i, f] * own[f]
                r = np.float32(1) / (np.float32(1) + np.exp(-z)) - y[i]
                norm = np.sqrt(np.float64(r) * np.float64(r) * square[i])
                if not np.isfinite(norm):
                    gone += 1
                    continue
                d = r * g.dtype.type(clip / max(norm, clip))
                g_b += d
                for f in range(inputs):
                    g[f] += d * x[i, f]
            z_s = noise[a, s]
            if drifts:
                for f in range(inputs):
                    own[f] = shrink[a] * own[f] + push_w[k, 0, f]
                b[a, 0] = shrink[a] * b[a, 0] + push_b[k, 0]
                for t in range(idle.shape[1]):
                    idle[a, t] = shrink[a] * idle[a, t] + push_idle[k, t]
            for f in range(inputs):
                own[f] -= rate * np.float32(np.rint(z_s[f] + g[f] * to_grid) * of_grid)
            b[a, 0] -= rate * np.float32(np.rint(z_s[inputs] + g_b * to_grid) * of_grid)
            for t in range(idle.shape[1]):
                idle[a, t] -= rate * np.float32(np.rint(z_s[inputs + 1 + t]) * of_grid)
    return gone


def _perceptron(
    w: Floats, b: Floats, v: Floats, c: Floats, idle: Floats,
    push_w: Floats, push_b: Floats, push_v: Floats, push_c: Floats, push_idle: Floats,
    x: Floats, y: Floats, square: Doubles, row: Counts, edge: Counts, noise: Sums, d: Sums,
    seen: Floats, batch: Sums, g_w: Sums, g_h: Sums,
    rate: np.float32, shrink: Floats, drifts: bool, clip: float, to_grid: np.float32,
    of_grid: np.float32, tanh: bool, wide: bool,
) -> int:  # fmt: skip
    """One hidden layer; entries are what is idle, then weight, bias, head's weight, head's bias.

    Back-signals ``d`` ``[m, o]``, inputs ``batch`` ``[m, f]`` and gradients ``g_w`` ``[o, f]`` and
    ``g_h`` ``[2, o]`` (bias, head) are room in the precision in which sums are added; ``batch`` is
    ``seen`` unless that is ``wide``.
    """
    brands, steps, gone = noise.shape[0], noise.shape[1], 0
    hidden, inputs, first = w.shape[1], w.shape[2], idle.shape[1]
    made = g_w.reshape(hidden * inputs)
    for a in range(brands):
        k = min(a, push_w.shape[0] - 1)
        own_w, pushed = w[a].reshape(hidden * inputs), push_w[k].reshape(hidden * inputs)
        for s in range(steps):
            start = edge[a * steps + s]
            m = edge[a * steps + s + 1] - start
            g_h[:] = 0
            g_c = g_h[0, 0]
            if m == 0:
                g_w[:] = 0
            else:
                for j in range(m):
                    seen[j] = x[row[start + j]]
                    if wide:
                        batch[j] = seen[j]
                h = np.dot(seen[:m], w[a].T)
                for j in range(m):
                    z, head, own = c[a, 0], np.float32(0), g_w.dtype.type(0)
                    if tanh:
                        for o in range(hidden):
                            h[j, o] = np.tanh(h[j, o] + b[a, o])
                    else:
                        for o in range(hidden):
                            h[j, o] = max(h[j, o] + b[a, o], np.float32(0))
                    for o in range(hidden):
                        z += h[j, o] * v[a, 0, o]
                        head += h[j, o] * h[j, o]
                    r = np.float32(1) / (np.float32(1) + np.exp(-z)) - y[row[start + j]]
                    if tanh:
                        for o in range(hidden):
                            d[j, o] = r * v[a, 0, o] * (np.float32(1) - h[j, o] * h[j, o])
                    else:
                        for o in range(hidden):
                            d[j, o] = r * v[a, 0, o] if h[j, o] > 0 else np.float32(0)
                    for o in range(hidden):
                        own += d[j, o] * d[j, o]
                    h_h, d_d = np.float64(head), np.float64(own)
                    if not (_LEAST < h_h < _MOST and _LEAST < d_d < _MOST):
                        h_h, d_d = (
                            np.float64(0),
                            np.float64(0),
                        )  # squares may have left the range of float32
                        for o in range(hidden):
                            h_h += np.float64(h[j, o]) * np.float64(h[j, o])
                            d_d += np.float64(d[j, o]) * np.float64(d[j, o])
                    norm = np.sqrt(
                        np.float64(r) * np.float64(r) * (h_h + 1) + d_d * square[row[start + j]]
                    )
                    if not np.isfinite(norm):
                        gone += 1
                        d[j] = 0
                        batch[j] = 0
                        continue
                    scale = g_w.dtype.type(clip / max(norm, clip))
                    g_c += r * scale
                    for o in range(hidden):
                        d[j, o] *= scale
                        g_h[0, o] += d[j, o]
                        g_h[1, o] += r * scale * h[j, o]
                np.dot(d[:m].T, batch[:m], g_w)
            z_s = noise[a, s, first:]
            if drifts:
                for o in range(hidden):
                    b[a, o] = shrink[a] * b[a, o] + push_b[k, o]
                    v[a, 0, o] = shrink[a] * v[a, 0, o] + push_v[k, 0, o]
                for i in range(hidden * inputs):
                    own_w[i] = shrink[a] * own_w[i] + pushed[i]
                c[a, 0] = shrink[a] * c[a, 0] + push_c[k, 0]
                for t in range(first):
                    idle[a, t] = shrink[a] * idle[a, t] + push_idle[k, t]
            for i in range(hidden * inputs):
                own_w[i] -= rate * np.float32(np.rint(z_s[i] + made[i] * to_grid) * of_grid)
            z_s = z_s[hidden * inputs :]
            for o in range(hidden):
                g = np.rint(z_s[o] + g_h[0, o] * to_grid) * of_grid
                b[a, o] -= rate * np.float32(g)
                g = np.rint(z_s[hidden + o] + g_h[1, o] * to_grid) * of_grid
                v[a, 0, o] -= rate * np.float32(g)
            g = np.rint(z_s[2 * hidden] + g_c * to_grid) * of_grid
            c[a, 0] -= rate * np.float32(g)
            for t in range(first):
                idle[a, t] -= rate * np.float32(np.rint(noise[a, s, t]) * of_grid)
    return gone
