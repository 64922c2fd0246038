"""Noise and sampling for privacy, from a cryptographically secure generator of our own.

Normal variates by Box & Muller (1958); discrete Gaussian by rejection from a discrete Laplace
(Canonne, Kamath & Steinke, "The Discrete Gaussian for Differential Privacy", 2020, Algorithm 3);
rounding of what is released against the floating-point attack of Mironov ("On significance of the
least significant bits for differential privacy", 2012). The bits are AES-256-CTR under a fresh key
of the operating system, so no seed anywhere, in torch, numpy or ours, can repeat them.
"""

from __future__ import annotations

import hashlib
import math
import os
import secrets
from collections.abc import Sequence
from typing import Final, NoReturn, Protocol

import numpy as np
import numpy.typing as npt
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from torch import Tensor

from fl.contracts import Ints

LARGEST_NORMAL: Final = math.sqrt(2 * math.log(2) * 64)
"""No variate of :meth:`NoiseSource.normal` exceeds this many standard deviations (9.42)."""

_BLOCK = 8192  # pairs of variates, or candidates, in one pass: what a pass touches fits the cache
_GRID_BITS = 10  # a released value is a multiple of about std / 1024

Shape = Sequence[int]
Words = npt.NDArray[np.uint64]
Bits = npt.NDArray[np.uint8]


class NoiseSource(Protocol):
    """Where privacy takes its randomness from. Not for use by two threads at once."""

    @property
    def name(self) -> str:
        """``secure``, or a name that a report and a brand's policy can recognise."""

    def normal(self, shape: Shape, std: float, out_dtype: torch.dtype = torch.float32) -> Tensor:
        """Independent N(0, std^2); ``out_dtype`` is float32 or float64."""

    def bernoulli(self, n: int, rate: float) -> Tensor:
        """Bool ``[n]``, each True with probability ``rate`` by itself."""

    def discrete_gaussian(self, shape: Shape, sigma: float) -> Ints:
        """Independent int64 ``k`` with probability proportional to ``exp(-k^2/(2 sigma^2))``."""


class SecureRandom:
    """The generator for real runs: a new key for every instance and for every forked process.

    Guarantee: independent of everything else an adversary sees, as long as AES-256 is a
    pseudorandom function and the operating system's generator is good. A forked child draws a key
    of its own, so parent and child never share noise; an instance cannot be copied or pickled.
    """

    name: Final = "secure"

    def __init__(self) -> None:
        self._owner, self._stream = os.getpid(), _Stream(secrets.token_bytes(32))

    def normal(self, shape: Shape, std: float, out_dtype: torch.dtype = torch.float32) -> Tensor:
        """See :class:`NoiseSource`. Guarantee: as :func:`_normal`."""
        return _normal(self._own(), shape, std, out_dtype)

    def bernoulli(self, n: int, rate: float) -> Tensor:
        """See :class:`NoiseSource`. Guarantee: as :func:`_bernoulli`, never above ``rate``."""
        return _bernoulli(self._own(), n, rate)

    def discrete_gaussian(self, shape: Shape, sigma: float) -> Ints:
        """See :class:`NoiseSource`. Guarantee: as :func:`_discrete_gaussian`."""
        return _discrete_gaussian(self._own(), shape, sigma)

    def _own(self) -> _Stream:
        """The stream of this process. Guarantee: never the stream that a parent process uses."""
        if os.getpid() != self._owner:
            self._owner, self._stream = os.getpid(), _Stream(secrets.token_bytes(32))
        return self._stream

    def __repr__(self) -> str:
        return "SecureRandom(<redacted>)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A secure generator is never copied or stored: its noise would repeat.")


class InsecureNoiseForTests:
    """The same variates from a seed, so that a test can repeat them.

    Guarantee: none, whoever knows the seed subtracts the noise. Its name is in every report, and
    the policies of brands refuse it.
    """

    name: Final = "insecure_noise_for_tests"

    def __init__(self, seed: int) -> None:
        self._stream = _Stream(hashlib.sha256(f"insecure noise {seed}".encode()).digest())

    def normal(self, shape: Shape, std: float, out_dtype: torch.dtype = torch.float32) -> Tensor:
        """See :class:`NoiseSource`. Guarantee: none."""
        return _normal(self._stream, shape, std, out_dtype)

    def bernoulli(self, n: int, rate: float) -> Tensor:
        """See :class:`NoiseSource`. Guarantee: none."""
        return _bernoulli(self._stream, n, rate)

    def discrete_gaussian(self, shape: Shape, sigma: float) -> Ints:
        """See :class:`NoiseSource`. Guarantee: none."""
        return _discrete_gaussian(self._stream, shape, sigma)

    def __repr__(self) -> str:
        return "InsecureNoiseForTests(<redacted>)"


def noised(
    sums: Sequence[Tensor], clip_norm: float, noise_multiplier: float, rng: NoiseSource
) -> list[Tensor]:
    """``sums`` plus N(0, (noise_multiplier * clip_norm)^2) on every entry, rounded to a grid.

    Guarantee: if one customer changes ``sums`` by at most ``clip_norm`` in L2 over all tensors
    together, this is the Gaussian mechanism of that noise multiplier (add or remove one customer).
    Every entry is rounded to a multiple of ``grid``, a public power of two of about std / 1024,
    which hides the low bits that floating-point noise would leave behind (Mironov 2012): a float32
    variate of up to 8 std is a multiple of std / 2^21, so 2,000 or more variates share each grid
    point. That mitigates, it does not prove: the proof for the continuous Gaussian is for real
    numbers. Where a proof over integers is needed, use :meth:`NoiseSource.discrete_gaussian`. The
    rounding itself changes the variance by less than one part in ten million.

    >>> noised([torch.zeros(2), torch.zeros(1, 3)], 1.0, 2.0, SecureRandom())[1].shape
    torch.Size([1, 3])

    Args:
        sums: float32 or float64 tensors of one dtype.
        clip_norm: > 0.
        noise_multiplier: > 0.
        rng: :class:`SecureRandom` in a real run.

    Raises:
        ValueError: a number out of range.
    """
    if not (0 < clip_norm < math.inf and 0 < noise_multiplier < math.inf):
        raise ValueError(
            f"Expected clip_norm={clip_norm} > 0 and noise_multiplier={noise_multiplier} > 0."
        )
    std = noise_multiplier * clip_norm
    grid = grid_of(std)
    flat = rng.normal((sum(s.numel() for s in sums),), std, sums[0].dtype)
    parts = [part.view_as(s) for part, s in zip(_split(flat, sums), sums, strict=True)]
    torch._foreach_add_(parts, list(sums))
    flat.mul_(1 / grid).round_().mul_(grid)
    return parts


def grid_of(std: float) -> float:
    """The power of two to which a value with noise ``std`` is rounded.

    Guarantee: a function of public numbers only.

    >>> grid_of(1.0) == 2**-10, grid_of(3.0) == 2**-9
    (True, True)
    """
    return 2.0 ** (math.floor(math.log2(std)) - _GRID_BITS)


def _split(flat: Tensor, sums: Sequence[Tensor]) -> Sequence[Tensor]:
    """``flat`` cut to the sizes of ``sums``. Guarantee: every entry of ``flat`` is used once."""
    return torch.split(flat, [s.numel() for s in sums])


class _Stream:
    """AES-256-CTR key stream, handed out in pieces.

    Guarantee: no piece is handed out twice, so no two variates share bits.
    """

    def __init__(self, key: bytes) -> None:
        self._cipher = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()
        self._zeros = bytes(24 * _BLOCK)
        self._room = bytearray(24 * _BLOCK + 15)  # what the cipher wants beyond the input

    def take(self, size: int) -> Bits:
        """``size`` fresh bytes (at most 24 * _BLOCK); valid until the next call."""
        self._cipher.update_into(memoryview(self._zeros)[:size], self._room)
        return np.frombuffer(self._room, np.uint8, size)

    def words(self, n: int) -> Words:
        """``n`` fresh 64-bit words (at most 3 * _BLOCK); valid until the next call."""
        return self.take(8 * n).view("<u8")

    def __repr__(self) -> str:
        return "_Stream(<redacted>)"


def _unit(words: Words) -> npt.NDArray[np.float64]:
    """Uniform float64 in (0, 1], from the upper 63 bits of each word; the least is 2^-64.

    Guarantee: relative error at most 2^-53, also near zero, so that logarithms have right tails.
    """
    u = (words >> np.uint64(1)).view(np.int64).astype(np.float64)  # signed converts 3x faster
    u += 0.5
    u *= 2.0**-63
    return u


def _normal(stream: _Stream, shape: Shape, std: float, out_dtype: torch.dtype) -> Tensor:
    """Box-Muller in blocks: radius from 63 bits, angle from 32, in the precision asked for.

    Guarantee: variates are independent and N(0, std^2) up to rounding in ``out_dtype`` (relative
    2^-21 in float32) and up to a tail cut at :data:`LARGEST_NORMAL` (probability 2^-64).
    """
    if not 0 <= std < math.inf:
        raise ValueError(f"Expected std={std} >= 0 and finite.")
    if out_dtype not in (torch.float32, torch.float64):
        raise ValueError(f"Expected out_dtype={out_dtype} to be float32 or float64.")
    kind = np.float32 if out_dtype == torch.float32 else np.float64
    n = math.prod(shape)
    out = np.empty(n + n % 2, kind)
    for start in range(0, len(out), 2 * _BLOCK):
        pair = out[start : start + 2 * _BLOCK].reshape(2, -1)
        m = pair.shape[1]
        raw = stream.take(12 * m)
        squared = np.log(_unit(raw[: 8 * m].view("<u8")))
        squared *= -2 * std * std
        radius = np.sqrt(squared.astype(kind, copy=False))
        angle = raw[8 * m :].view("<i4").astype(kind)
        np.multiply(angle, math.pi / 2**31, out=angle)
        np.cos(angle, out=pair[0])
        np.sin(angle, out=pair[1])
        np.multiply(pair, radius, out=pair)
    return torch.from_numpy(out[:n].reshape(tuple(shape)))


def _bernoulli(stream: _Stream, n: int, rate: float) -> Tensor:
    """A coin is a 64-bit word below ``rate * 2^64``, rounded down.

    Guarantee: every coin falls True with a probability in (rate - 2^-64, rate], never above the
    rate that the accountant is told.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"Expected rate={rate} in [0, 1].")
    threshold = math.floor(rate * 2.0**64)  # exact: a float times a power of two
    if threshold >= 2**64:
        return torch.ones(n, dtype=torch.bool)
    out = np.empty(n, np.bool_)
    for start in range(0, n, 3 * _BLOCK):
        part = out[start : start + 3 * _BLOCK]
        np.less(stream.words(len(part)), np.uint64(threshold), out=part)
    return torch.from_numpy(out)


def _discrete_gaussian(stream: _Stream, shape: Shape, sigma: float) -> Ints:
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
        raw = stream.words(3 * min(_BLOCK, 2 * (n - done) + 16)).reshape(3, -1)
        size = np.floor(np.log(_unit(raw[0])) * -scale)
        away = size - sigma * sigma / scale
        away *= away
        keep = np.log(_unit(raw[1])) <= away / (-2 * sigma * sigma)
        negative = raw[2] < np.uint64(1 << 63)
        keep &= ~(negative & (size == 0))  # zero has one sign only
        kept = np.where(negative, -size, size)[keep].astype(np.int64)[: n - done]
        out[done : done + len(kept)] = kept
        done += len(kept)
    return out.reshape(tuple(shape))
