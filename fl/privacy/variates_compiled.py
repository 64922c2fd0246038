"""The normal variates of ``variates.py``, and the customers that coins chose, as compiled loops.

Used for blocks of simulated brands where numba is installed. Same bits, same formulas, about eight
times faster: logarithm, sine and cosine are polynomials (Moshier, "Methods and Programs for
Mathematical Functions", 1989, as in Cephes' ``logf``, ``sinf``, ``cosf``), so the processor makes
eight or sixteen variates at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from fl.privacy.variates import BLOCK, FINE, Stream, Words

Floats32 = npt.NDArray[np.float32]
Counts = npt.NDArray[np.int64]
Words32 = npt.NDArray[np.uint32]
Loop = Callable[..., int]
_CHUNK = 512  # pairs between two looks for a radius that is far
_FINE = np.uint32(FINE)


def fill(stream: Stream, out: Floats32, std: float) -> None:
    """Independent N(0, std^2) in float32 for all of ``out`` ``[n]``, ``n`` even.

    Guarantee: as ``variates.normal`` in float32, from the same bits and within a few roundings of
    it: every pair of variates has 32 bits of angle and 32 of radius of its own, and 96 of radius
    beyond 4.7 standard deviations (of up to 256 such pairs in 16,384; more come with a probability
    below 2^-1000).

    Raises:
        ValueError: ``std`` is negative or not finite.
    """
    if not 0 <= std < math.inf:
        raise ValueError(f"Expected std={std} >= 0 and finite.")
    pairs, lengthened = _loops()[:2]
    far = np.empty((3, 256), np.int64)
    for start in range(0, len(out), 2 * BLOCK):
        pair = out[start : start + 2 * BLOCK].reshape(2, -1)
        word = stream.take(4 * pair.size).view("<u4").reshape(2, -1)
        found = pairs(word, pair, np.float32(std), far)
        if found:
            lengthened(pair, far[:, :found], stream.words(found), std)


def chosen(coins: npt.NDArray[np.bool_], lines: Counts, first: Counts) -> tuple[Counts, Counts]:
    """The numbers of the customers whose coins fell True, and how many of each line's.

    Guarantee: each True is in the result once, in the order of ``coins``.

    Args:
        coins: one line after the other.
        lines: coins of each line.
        first: the number of each line's first customer.
    """
    out = np.empty(np.count_nonzero(coins) + 1, np.int64)
    count = np.empty(len(lines), np.int64)
    _loops()[2](coins.view(np.uint8), lines, first, out, count)
    return out[:-1], count


@lru_cache(maxsize=1)
def _loops() -> tuple[Loop, Loop, Loop]:
    """Pairs of variates; the longest of them; chosen customers."""
    from numba import njit

    compiled = njit(fastmath={"contract"}, cache=True, nogil=True)
    return compiled(_pairs), compiled(_lengthened), compiled(_chosen)


def _chosen(
    coins: npt.NDArray[np.uint8], lines: Counts, first: Counts, out: Counts, count: Counts
) -> int:
    """Without a branch: every number is written, and overwritten unless its coin fell True."""
    place, k = np.uint64(0), np.uint64(0)  # unsigned: no index is looked at for its sign
    for line in range(len(lines)):
        began = k
        for i in range(lines[line]):
            out[k] = first[line] + i
            k += np.uint64(coins[place])
            place += np.uint64(1)
        count[line] = k - began
    return 0


def _pairs(word: Words32, out: Floats32, std: np.float32, far: Counts) -> int:
    """Angles ``word[0]`` and radii ``word[1]`` to ``out``; those to be redone, and their number, to
    ``far``: place, angle, radius.

    Every step is spelled in 32 bits, as numba widens whole numbers otherwise.
    """
    one, half = np.float32(1), np.float32(0.5)
    pairs, found = word.shape[1], 0
    for start in range(0, pairs, _CHUNK):
        angle, length = word[0, start : start + _CHUNK], word[1, start : start + _CHUNK]
        x_out, y_out, some = out[0, start : start + _CHUNK], out[1, start : start + _CHUNK], 0
        for i in range(len(length)):
            some += length[i] < _FINE
            # log((w + 0.5) 2^-32) = log(1 + m) + e log 2, with 1 + m in [sqrt(1/2), sqrt(2))
            u = np.float32(np.float32(length[i]) + half).view(np.int32)
            e = np.int32(np.int32(u - np.int32(0x3F3504F3)) >> np.int32(23))
            m = np.int32(u - np.int32(e << np.int32(23))).view(np.float32) - one
            p = np.float32(7.0376836292e-2)
            p = p * m + np.float32(-1.1514610310e-1)
            p = p * m + np.float32(1.1676998740e-1)
            p = p * m + np.float32(-1.2420140846e-1)
            p = p * m + np.float32(1.4249322787e-1)
            p = p * m + np.float32(-1.6668057665e-1)
            p = p * m + np.float32(2.0000714765e-1)
            p = p * m + np.float32(-2.4999993993e-1)
            p = p * m + np.float32(3.3333331174e-1)
            exponent = np.float32(np.int32(e - np.int32(32)))
            tail = m * (m * m) * p + exponent * np.float32(-2.12194440e-4) - half * (m * m)
            logarithm = m + tail + exponent * np.float32(0.693359375)
            radius = np.sqrt(np.float32(-2) * logarithm) * std
            # the angle, from the nearest quarter of a turn q: within an eighth of a turn
            q = np.uint32(np.uint32(angle[i] + np.uint32(1 << 29)) >> np.uint32(30))
            rest = np.uint32(angle[i] - np.uint32(q << np.uint32(30))).view(np.int32)
            t = np.float32(rest) * np.float32(math.pi / 2**31)
            s = t * t
            p = np.float32(-1.9515295891e-4) * s + np.float32(8.3321608736e-3)
            sine = (p * s + np.float32(-1.6666654611e-1)) * s * t + t
            p = np.float32(2.443315711809948e-5) * s + np.float32(-1.388731625493765e-3)
            cosine = (p * s + np.float32(4.166664568298827e-2)) * s * s - half * s + one
            turned = (q & np.uint32(1)) != 0
            x = np.float32(sine if turned else cosine).view(np.uint32)
            y = np.float32(cosine if turned else sine).view(np.uint32)
            x = np.uint32(
                x
                ^ np.uint32(np.uint32(np.uint32(q + np.uint32(1)) & np.uint32(2)) << np.uint32(30))
            )
            y = np.uint32(y ^ np.uint32(np.uint32(q & np.uint32(2)) << np.uint32(30)))
            x_out[i] = x.view(np.float32) * radius
            y_out[i] = y.view(np.float32) * radius
        if some:
            for i in range(len(length)):
                if length[i] < _FINE and found < far.shape[1]:
                    far[0, found] = start + i
                    far[1, found] = angle[i]
                    far[2, found] = length[i]
                    found += 1
    return found


def _lengthened(pair: Floats32, far: Counts, more: Words, std: float) -> int:
    """The pairs in ``far`` once more, with 64 further bits of radius each, as in ``radius32``."""
    for k in range(far.shape[1]):
        u = np.float64(np.int64(more[k] >> np.uint64(1))) + 0.5
        u = (far[2, k] + u * 2.0**-63) * 2.0**-32
        radius, angle = np.sqrt(-2 * np.log(u)) * std, far[1, k] * (math.pi / 2**31)
        pair[0, far[0, k]] = radius * np.cos(angle)
        pair[1, far[0, k]] = radius * np.sin(angle)
    return 0
