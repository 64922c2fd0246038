"""DP-SGD for blocks of simulated brands as compiled loops; importing this needs numba.

For customers with one row each and models without categories: logistic regression, and perceptrons
with one hidden layer. Clips, sums, adds the noise and steps, brand after brand; what
``kernel.py`` and ``noise.noised`` do for one brand, in the same precision. What is not a number
stays so: no optimisation here assumes otherwise.

Guarantee: of both loops, that of ``noise.noised`` on ``clipped_sum``: a customer moves a step's sum
by at most ``clip`` up to rounding, and a gradient that is not finite counts as zero. Each returns
how many of those there were.

Legend: ``[a]`` brand, ``[a, s]`` step; ``row[edge[i]:edge[i + 1]]`` are the rows of step ``i``
counted over all brands and steps; ``square`` the squared norm of each row's input with the bias's
1; ``noise`` ``[a, s, entries]`` in units of the grid; ``idle`` the parameters that no row reads. A
step is ``w <- shrink w + push - rate g``; ``g`` is the noised sum.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fl.privacy.functions_compiled import compiled, sigmoid, tanh

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Sums = npt.NDArray[np.floating]
Counts = npt.NDArray[np.int64]

_LEAST, _MOST = 1e-30, 1e30  # sums of squares that float32 can be trusted with
_SPARSE = 4  # a brand's rows are read ahead where at least one in so many is in a batch


def _linear(
    w: Floats, b: Floats, idle: Floats, push_w: Floats, push_b: Floats, push_idle: Floats,
    x: Floats, y: Floats, square: Doubles, row: Counts, edge: Counts, noise: Sums, g: Sums,
    rate: np.float32, shrink: Floats, drifts: bool, clip: float, to_grid: np.float32,
    of_grid: np.float32,
) -> int:  # fmt: skip
    """Logistic regression; entries are weight, bias, then what is idle. ``g`` ``[inputs]``."""
    brands, steps, inputs, gone = noise.shape[0], noise.shape[1], x.shape[1], 0
    touched, most = np.zeros(1, np.float32), 1
    for i in range(brands * steps):
        most = max(most, edge[i + 1] - edge[i])
    r, d = np.empty(most, np.float32), np.empty(most, g.dtype)
    for a in range(brands):
        touched[0] += _near(x, row[edge[a * steps] : edge[(a + 1) * steps]])
        own, k = w[a, 0], min(a, push_w.shape[0] - 1)
        for s in range(steps):
            start = edge[a * steps + s]
            m = edge[a * steps + s + 1] - start
            for j in range(m):
                i, z = row[start + j], b[a, 0]
                for f in range(inputs):
                    z += x[i, f] * own[f]
                r[j] = z
            for j in range(m):
                r[j] = sigmoid(r[j])
            for j in range(m):
                i = row[start + j]
                q = r[j] - y[i]
                norm = np.sqrt(np.float64(q) * np.float64(q) * square[i])
                r[j] = q if np.isfinite(norm) else np.float32(np.nan)
                d[j] = q * g.dtype.type(clip / max(norm, clip))
            g[:] = 0
            g_b = g[0]
            for j in range(m):
                if np.isnan(r[j]):
                    gone += 1
                    continue
                i = row[start + j]
                g_b += d[j]
                for f in range(inputs):
                    g[f] += d[j] * x[i, f]
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


def _near_rows(x: Floats, row: Counts) -> np.float32:
    """Bring a brand's rows here: batches read them apart, and memory is far faster in order."""
    near = np.float32(0)
    if len(row):
        first, last = row[0], row[0]
        for i in row:
            first, last = min(first, i), max(last, i)
        if last - first < _SPARSE * len(row):
            for i in range(first, last + 1):
                for f in range(0, x.shape[1], 16):  # a look at each line of the cache
                    near += x[i, f]
    return near


def _perceptron(
    w: Floats, b: Floats, v: Floats, c: Floats, idle: Floats,
    push_w: Floats, push_b: Floats, push_v: Floats, push_c: Floats, push_idle: Floats,
    x: Floats, y: Floats, square: Doubles, row: Counts, edge: Counts, noise: Sums, d: Sums,
    seen: Floats, batch: Sums, g_w: Sums, g_h: Sums,
    rate: np.float32, shrink: Floats, drifts: bool, clip: float, to_grid: np.float32,
    of_grid: np.float32, bounded: bool, wide: bool,
) -> int:  # fmt: skip
    """One hidden layer, tanh where it is ``bounded``, else ReLU; entries are what is idle, then
    weight ``[inputs, hidden]``, as a brand's own is kept while it is trained, bias, head's weight,
    head's bias.

    Back-signals ``d`` ``[m, o]``, inputs ``batch`` ``[m, f]`` and gradients ``g_w`` ``[f, o]`` and
    ``g_h`` ``[2, o]`` (bias, head) are room in the precision in which sums are added; ``batch`` is
    ``seen`` unless that is ``wide``.
    """
    brands, steps, gone = noise.shape[0], noise.shape[1], 0
    hidden, inputs, first = w.shape[1], w.shape[2], idle.shape[1]
    n, zero, one = hidden * inputs, np.float32(0), np.float32(1)
    own, pushed = np.empty((inputs, hidden), w.dtype), np.empty((inputs, hidden), w.dtype)
    own_n, pushed_n, g_n = own.reshape(n), pushed.reshape(n), g_w.reshape(n)
    h = np.empty((seen.shape[0], hidden), np.float32)
    g_b, g_v = g_h[0], g_h[1]
    for a in range(brands):
        k = min(a, push_w.shape[0] - 1)
        bias, head = b[a], v[a, 0]
        for f in range(inputs):
            for o in range(hidden):
                own[f, o] = w[a, o, f]
        if drifts:
            for f in range(inputs):
                for o in range(hidden):
                    pushed[f, o] = push_w[k, o, f]
        for s in range(steps):
            start = edge[a * steps + s]
            m = edge[a * steps + s + 1] - start
            g_h[:] = 0
            g_c = g_h[0, 0]
            for j in range(m):
                i = row[start + j]
                for f in range(inputs):
                    seen[j, f] = x[i, f]
                if wide:
                    for f in range(inputs):
                        batch[j, f] = seen[j, f]
            if m:
                np.dot(seen[:m], own, h[:m])
            for j in range(m):
                line, i = h[j], row[start + j]
                z, h_h, d_d = c[a, 0], zero, zero  # d is r times its part that squares into d_d
                if bounded:
                    for o in range(hidden):
                        t = tanh(line[o] + bias[o])
                        line[o] = t
                        z += t * head[o]
                        h_h += t * t
                        t = head[o] * (one - t * t)
                        d_d += t * t
                else:
                    for o in range(hidden):
                        t = max(line[o] + bias[o], zero)
                        line[o] = t
                        z += t * head[o]
                        h_h += t * t
                        t = head[o] if t > zero else zero
                        d_d += t * t
                r = sigmoid(z) - y[i]
                squares = np.float64(h_h) + 1 + np.float64(d_d) * square[i]
                if not (_LEAST < h_h < _MOST and _LEAST < d_d < _MOST):
                    squares = 1.0  # theirs may have left the range of float32
                    for o in range(hidden):
                        u = np.float64(line[o])
                        squares += u * u
                        u = 1 - u * u if bounded else np.float64(u > 0)
                        squares += (head[o] * u) ** 2 * square[i]
                norm = np.sqrt(np.float64(r) * np.float64(r) * squares)
                if not np.isfinite(norm):
                    gone += 1
                    d[j] = 0
                    batch[j] = 0
                    continue
                q, back = r * g_w.dtype.type(clip / max(norm, clip)), d[j]
                g_c += q
                if bounded:
                    for o in range(hidden):
                        t = line[o]
                        g_v[o] += q * t
                        e = q * (head[o] * (one - t * t))
                        g_b[o] += e
                        back[o] = e
                else:
                    for o in range(hidden):
                        t = line[o]
                        g_v[o] += q * t
                        e = q * (head[o] if t > zero else zero)
                        g_b[o] += e
                        back[o] = e
            if m:
                np.dot(batch[:m].T, d[:m], g_w)
            else:
                g_w[:] = 0
            if drifts:
                for o in range(hidden):
                    bias[o] = shrink[a] * bias[o] + push_b[k, o]
                    head[o] = shrink[a] * head[o] + push_v[k, 0, o]
                for i in range(n):
                    own_n[i] = shrink[a] * own_n[i] + pushed_n[i]
                c[a, 0] = shrink[a] * c[a, 0] + push_c[k, 0]
                for i in range(first):
                    idle[a, i] = shrink[a] * idle[a, i] + push_idle[k, i]
            z_s = noise[a, s, first:]
            for i in range(n):
                own_n[i] -= rate * np.float32(np.rint(z_s[i] + g_n[i] * to_grid) * of_grid)
            z_s = z_s[n:]
            for o in range(hidden):
                e = np.rint(z_s[o] + g_b[o] * to_grid) * of_grid
                bias[o] -= rate * np.float32(e)
                e = np.rint(z_s[hidden + o] + g_v[o] * to_grid) * of_grid
                head[o] -= rate * np.float32(e)
            e = np.rint(z_s[2 * hidden] + g_c * to_grid) * of_grid
            c[a, 0] -= rate * np.float32(e)
            for i in range(first):
                idle[a, i] -= rate * np.float32(np.rint(noise[a, s, i]) * of_grid)
        for o in range(hidden):
            for f in range(inputs):
                w[a, o, f] = own[f, o]
    return gone


_near = compiled(_near_rows)
linear = compiled(_linear)
perceptron = compiled(_perceptron)
