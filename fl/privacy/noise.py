"""Noise and coins for privacy, from a cryptographically secure generator of our own.

The bits are AES-256-CTR under a fresh key of the operating system, so no seed anywhere, in torch,
numpy or ours, can repeat them; ``variates.py`` turns bits into variates. What is released is
rounded, against the attack on floating-point noise of Mironov ("On significance of the least
significant bits for differential privacy", 2012).
"""

from __future__ import annotations

import hashlib
import math
import os
import secrets
from collections.abc import Sequence
from typing import Final, NoReturn, Protocol

import torch
from torch import Tensor

from fl.contracts import Ints
from fl.privacy import variates, variates_compiled
from fl.privacy.variates import Shape, Stream

_GRID_BITS = 10  # a released value is a multiple of about std / 1024


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

    Args:
        compiled: whether float32 variates are made by the loops of ``variates_compiled.py``, which
            need numba; it decides how fast they come, not how they are distributed.
    """

    name: Final = "secure"

    def __init__(self, *, compiled: bool = False) -> None:
        self._owner, self._stream = os.getpid(), Stream(secrets.token_bytes(32))
        self._compiled = compiled

    def normal(self, shape: Shape, std: float, out_dtype: torch.dtype = torch.float32) -> Tensor:
        """See :class:`NoiseSource`. Guarantee: as :func:`fl.privacy.variates.normal`."""
        if self._compiled and out_dtype == torch.float32:
            n = math.prod(shape)
            made = torch.empty(n + n % 2)
            self.fill(made, std)
            return made[:n].view(tuple(shape))
        return variates.normal(self._own(), shape, std, out_dtype)

    def fill(self, out: Tensor, std: float) -> None:
        """N(0, std^2) for all of a float32 tensor of even length, by the compiled loops.

        Guarantee: as :func:`fl.privacy.variates_compiled.fill`.
        """
        variates_compiled.fill(self._own(), out.numpy(), std)

    def bernoulli(self, n: int, rate: float) -> Tensor:
        """See :class:`NoiseSource`. Guarantee: never above ``rate``, see ``variates.py``."""
        return variates.bernoulli(self._own(), n, rate)

    def discrete_gaussian(self, shape: Shape, sigma: float) -> Ints:
        """See :class:`NoiseSource`. Guarantee: as :func:`fl.privacy.variates.discrete_gaussian`."""
        return variates.discrete_gaussian(self._own(), shape, sigma)

    def _own(self) -> Stream:
        """The stream of this process. Guarantee: never the stream that a parent process uses."""
        if os.getpid() != self._owner:
            self._owner, self._stream = os.getpid(), Stream(secrets.token_bytes(32))
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
        self._stream = Stream(hashlib.sha256(f"insecure noise {seed}".encode()).digest())

    def normal(self, shape: Shape, std: float, out_dtype: torch.dtype = torch.float32) -> Tensor:
        """See :class:`NoiseSource`. Guarantee: none."""
        return variates.normal(self._stream, shape, std, out_dtype)

    def bernoulli(self, n: int, rate: float) -> Tensor:
        """See :class:`NoiseSource`. Guarantee: none."""
        return variates.bernoulli(self._stream, n, rate)

    def discrete_gaussian(self, shape: Shape, sigma: float) -> Ints:
        """See :class:`NoiseSource`. Guarantee: none."""
        return variates.discrete_gaussian(self._stream, shape, sigma)

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
    sizes = [s.numel() for s in sums]
    return on_grid(sums, rng.normal((sum(sizes),), std / grid, sums[0].dtype), grid)


def on_grid(sums: Sequence[Tensor], noise: Tensor, grid: float) -> list[Tensor]:
    """``sums`` plus ``noise``, which is in units of the grid and is used up.

    Guarantee: every entry is a multiple of ``grid``; private if ``noise`` is :func:`noised`'s.
    """
    split = torch.split_with_sizes(noise, [s.numel() for s in sums])
    parts = [part.view_as(s) for part, s in zip(split, sums, strict=True)]
    torch._foreach_add_(parts, list(sums), alpha=1 / grid)  # exact: a power of two
    noise.round_().mul_(grid)
    return parts


def grid_of(std: float) -> float:
    """The power of two to which a value with noise ``std`` is rounded.

    Guarantee: a function of public numbers only.

    >>> grid_of(1.0) == 2**-10, grid_of(3.0) == 2**-9
    (True, True)
    """
    return 2.0 ** (math.floor(math.log2(std)) - _GRID_BITS)
