"""The loops of ``compiled.py``; importing this needs numba.

Legend: ``[a]`` brand, ``[a, s]`` step; ``row`` ``[a, s, m]`` which rows each step reads, ``size``
``[a, s]`` how many of them, 0 from a brand's last step on. Each step is
``w <- shrink w + push - rate g``, or ``w <- w - rate g`` where nothing ``drifts``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fl.privacy.functions_compiled import compiled, sigmoid, tanh

Floats = npt.NDArray[np.float32]
Counts = npt.NDArray[np.int64]


def _linear(
    w: Floats, b: Floats, push_w: Floats, push_b: Floats, x: Floats, y: Floats,
    row: Counts, size: Counts, rate: np.float32, shrink: Floats, drifts: bool,
) -> int:  # fmt: skip
    """Logistic regression."""
    brands, steps = size.shape
    inputs = x.shape[1]
    g, r = np.empty(inputs, np.float32), np.empty(row.shape[2], np.float32)
    for a in range(brands):
        own, k = w[a, 0], min(a, push_w.shape[0] - 1)
        for s in range(steps):
            m = size[a, s]
            if m == 0:
                break
            for j in range(m):
                i, z = row[a, s, j], b[a, 0]
                for f in range(inputs):
                    z += x[i, f] * own[f]
                r[j] = z
            for j in range(m):
                r[j] = sigmoid(r[j])
            g[:] = 0
            g_b = np.float32(0)
            for j in range(m):
                i = row[a, s, j]
                d = r[j] - y[i]
                g_b += d
                for f in range(inputs):
                    g[f] += d * x[i, f]
            step = rate / np.float32(m)
            if drifts:
                for f in range(inputs):
                    own[f] = shrink[a] * own[f] + push_w[k, 0, f]
                b[a, 0] = shrink[a] * b[a, 0] + push_b[k, 0]
            for f in range(inputs):
                own[f] -= step * g[f]
            b[a, 0] -= step * g_b
    return 0


def _perceptron(
    w: Floats, b: Floats, v: Floats, c: Floats,
    push_w: Floats, push_b: Floats, push_v: Floats, push_c: Floats, x: Floats, y: Floats,
    row: Counts, size: Counts, rate: np.float32, shrink: Floats, drifts: bool, bounded: bool,
) -> int:  # fmt: skip
    """One hidden layer, tanh where it is ``bounded``, else ReLU.

    A brand's weight is turned round, ``[inputs, hidden]``, while it is trained: products with it
    are twice as fast then.
    """
    brands, steps = size.shape
    hidden, inputs = w.shape[1], w.shape[2]
    n, zero, one = hidden * inputs, np.float32(0), np.float32(1)
    batch, h = np.empty((row.shape[2], inputs), w.dtype), np.empty((row.shape[2], hidden), w.dtype)
    own, pushed = np.empty((inputs, hidden), w.dtype), np.empty((inputs, hidden), w.dtype)
    g_w, g_h = np.empty((inputs, hidden), w.dtype), np.empty((2, hidden), w.dtype)
    own_n, pushed_n, g_n = own.reshape(n), pushed.reshape(n), g_w.reshape(n)
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
            m = size[a, s]
            if m == 0:
                break
            for j in range(m):
                i = row[a, s, j]
                for f in range(inputs):
                    batch[j, f] = x[i, f]
            np.dot(batch[:m], own, h[:m])
            g_h[:] = 0
            g_c = zero
            for j in range(m):
                line, z = h[j], c[a, 0]
                if bounded:
                    for o in range(hidden):
                        t = tanh(line[o] + bias[o])
                        line[o] = t
                        z += t * head[o]
                else:
                    for o in range(hidden):
                        t = max(line[o] + bias[o], zero)
                        line[o] = t
                        z += t * head[o]
                r = sigmoid(z) - y[row[a, s, j]]
                g_c += r
                if bounded:
                    for o in range(hidden):
                        t = line[o]
                        g_v[o] += r * t
                        d = r * head[o] * (one - t * t)
                        g_b[o] += d
                        line[o] = d
                else:
                    for o in range(hidden):
                        t = line[o]
                        g_v[o] += r * t
                        d = r * head[o] if t > zero else zero
                        g_b[o] += d
                        line[o] = d
            step = rate / np.float32(m)
            np.dot(batch[:m].T, h[:m], g_w)
            if drifts:
                for o in range(hidden):
                    bias[o] = shrink[a] * bias[o] + push_b[k, o]
                    head[o] = shrink[a] * head[o] + push_v[k, 0, o]
                for i in range(n):
                    own_n[i] = shrink[a] * own_n[i] + pushed_n[i]
                c[a, 0] = shrink[a] * c[a, 0] + push_c[k, 0]
            for i in range(n):
                own_n[i] -= step * g_n[i]
            for o in range(hidden):
                bias[o] -= step * g_b[o]
                head[o] -= step * g_v[o]
            c[a, 0] -= step * g_c
        for o in range(hidden):
            for f in range(inputs):
                w[a, o, f] = own[f, o]
    return 0


linear = compiled(_linear)
perceptron = compiled(_perceptron)
