"""From secure bits to variates: normal, discrete Gaussian, coins.

Normal variates by Box & Muller ("A note on the generation of random normal deviates", 1958);
discrete Gaussian by rejection from a discrete Laplace (Canonne, Kamath & Steinke, "The Discrete
Gaussian for Differential Privacy", 2020, Algorithm 3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from torch import Tensor

from fl.contracts import Ints

LARGEST_NORMAL: Final = math.sqrt(2 * math.log(2) * 96)
"""No normal variate is more than this many standard deviations away (11.5)."""

BLOCK: Final = (
    16384  # pairs of variates, or candidates, in one pass: what a pass touches fits the cache
)
FINE: Final = 1 << 16  # a 32-bit radius below this is one of the largest, and gets 64 more bits

Shape = Sequence[int]
Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]
Bits = npt.NDArray[np.uint8]


class Stream:
    """AES-256-CTR key stream, handed out in pieces.

    Guarantee: no piece is handed out twice, so no two variates share bits.
    """

    def __init__(self, key: bytes) -> None:
        self._cipher = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()
        self._zeros = bytes(24 * BLOCK)
        self._room = bytearray(24 * BLOCK + 15)  # what the cipher wants beyond the input

    def take(self, size: int) -> Bits:
        """``size`` fresh bytes (at most 24 * BLOCK); valid until the next call."""
        self._cipher.update_into(memoryview(self._zeros)[:size], self._room)
        return np.frombuffer(self._room, np.uint8, size)

    def words(self, n: int) -> Words:
        """``n`` fresh 64-bit words (at most 3 * BLOCK); valid until the next call."""
        return self.take(8 * n).view("<u8")

    def __repr__(self) -> str:
        return "Stream(<redacted>)"


def unit(words: Words) -> Floats:
    """Uniform float64 in (0, 1], from the upper 63 bits of each word; the least is 2^-64.

    Guarantee: relative error at most 2^-53, also near zero, so that logarithms have right tails.
    """
    u = (words >> np.uint64(1)).view(np.int64).astype(np.float64)  # signed converts 3x faster
    u += 0.5
    u *= 2.0**-63
    return u


def normal(stream: Stream, shape: Shape, std: float, out_dtype: torch.dtype) -> Tensor:
    """Box-Muller in blocks, in the precision asked for.

    Guarantee: variates are independent and N(0, std^2), up to rounding in ``out_dtype`` and up to
    a tail cut at :data:`LARGEST_NORMAL` (probability below 2^-63).

    Raises:
        ValueError: ``std`` is negative or not finite, or the dtype is neither float32 nor float64.
    """
    if not 0 <= std < math.inf:
        raise ValueError(f"Expected std={std} >= 0 and finite.")
    if out_dtype not in (torch.float32, torch.float64):
        raise ValueError(f"Expected out_dtype={out_dtype} to be float32 or float64.")
    n = math.prod(shape)
    out = np.empty(n + n % 2, np.float32 if out_dtype == torch.float32 else np.float64)
    for start in range(0, len(out), 2 * BLOCK):
        pair = out[start : start + 2 * BLOCK].reshape(2, -1)
        angle = stream.take(4 * pair.shape[1]).view("<i4").astype(out.dtype)
        angle *= math.pi / 2**31
        if out_dtype == torch.float32:
            radius = radius32(stream, pair.shape[1])
        else:
            radius = np.sqrt(np.log(unit(stream.words(pair.shape[1]))) * -2)
        radius *= std
        np.cos(angle, out=pair[0])
        np.sin(angle, out=pair[1])
        np.multiply(pair, radius, out=pair)
    return torch.from_numpy(out[:n].reshape(tuple(shape)))


def radius32(stream: Stream, n: int) -> npt.NDArray[np.float32]:
    """``sqrt(-2 log u)`` in float32, ``u`` uniform in (0, 1] of 32 bits, of 96 where it is small.

    Guarantee: radii above 4.7 (u < 2^-16) are as fine as 96 bits make them, up to 11.5; those near
    0 come in steps of 2^-24 / radius, as float32 holds no more of ``u`` near 1.
    """
    word = stream.take(4 * n).view("<u4")
    u = word.astype(np.float32)
    u += 0.5
    if int(word.min()) < FINE:
        far = np.flatnonzero(word < FINE)
        coarse = word[far].astype(np.float64)  # a copy: the next line reuses the stream's room
        u[far] = coarse + unit(stream.words(len(far)))
    u *= 2.0**-32
    np.log(u, out=u)
    u *= -2
    return np.sqrt(u, out=u)


def bernoulli(stream: Stream, n: int, rate: float) -> Tensor:
    """A coin is a 64-bit number below ``rate * 2^64``, rounded down; most need 16 bits of it.

    Guarantee: every coin falls True with a probability in (rate - 2^-64, rate], never above the
    rate that the accountant is told: the first 16 bits decide unless they are those of the
    threshold, and then 48 fresh ones do.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"Expected rate={rate} in [0, 1].")
    threshold = math.floor(rate * 2.0**64)  # exact: a float times a power of two
    if threshold >= 2**64:
        return torch.ones(n, dtype=torch.bool)
    high, low = divmod(threshold, 1 << 48)
    out = np.empty(n, np.bool_)
    for start in range(0, n, 2 * BLOCK):
        part = out[start : start + 2 * BLOCK]
        word = stream.take(2 * len(part)).view("<u2")
        np.less(word, np.uint16(high), out=part)
        tied = np.flatnonzero(word == np.uint16(high))
        if len(tied):
            part[tied] = (stream.words(len(tied)) >> np.uint64(16)) < np.uint64(low)
    return torch.from_numpy(out)


def discrete_gaussian(stream: Stream, shape: Shape, sigma: float) -> Ints:
    """Algorithm 3 of Canonne et al., many candidates at a time.

    Guarantee: a candidate is a discrete Laplace of scale t = floor(sigma) + 1 by inversion, kept
    with the probability of line 6. Both are computed in float64 from 63 bits: each probability is
    right to about 2^-45 of itself, and values beyond 44 t (less than exp(-900) of the mass) never
    occur. So this is not the exact sampler of the paper (rational arithmetic, about 250 times
    slower); the total variation distance from it is about 2^-45 per value.
    """
    if not 0 < sigma < 2.0**40:
        raise ValueError(f"Expected sigma={sigma} in (0, 2^40).")
    n, scale = math.prod(shape), math.floor(sigma) + 1
    out = np.empty(n, np.int64)
    done = 0
    while done < n:
        raw = stream.words(3 * min(BLOCK, 2 * (n - done) + 16)).reshape(3, -1)
        size = np.floor(np.log(unit(raw[0])) * -scale)
        away = size - sigma * sigma / scale
        away *= away
        keep = np.log(unit(raw[1])) <= away / (-2 * sigma * sigma)
        negative = raw[2] < np.uint64(1 << 63)
        keep &= ~(negative & (size == 0))  # zero has one sign only
        kept = np.where(negative, -size, size)[keep].astype(np.int64)[: n - done]
        out[done : done + len(kept)] = kept
        done += len(kept)
    return out.reshape(tuple(shape))
