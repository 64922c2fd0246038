"""Noise shares on a lattice: what a secure sum adds up exactly.

Kairouz, Liu, Steinke, "The Distributed Discrete Gaussian Mechanism for Federated Learning with
Secure Aggregation", ICML 2021 (arXiv 2102.06387), without the compression: a ring of 32 bits has
room for a lattice so fine that neither rotation nor modular clipping is needed.

Legend: ``gamma`` the lattice's step, ``C`` the sensitivity, ``d`` the number of entries.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fl.privacy.noise import NoiseSource

_FINENESS = 256  # of the sensitivity, for the rounding of all entries together
_FINEST = 2**14  # of the sensitivity, for one entry: wide models leave the ring its room


def step_of(sensitivity: float, entries: int) -> float:
    """The lattice's step.

    Guarantee: a public power of two, at most C / (256 sqrt(d)), or C / 2^14 above 4,096 entries.

    >>> step_of(1.0, 1) == 2**-8, step_of(1.0, 2**20) == 2**-14
    (True, True)
    """
    parts = min(_FINENESS * math.sqrt(max(1, entries)), _FINEST)
    return 2.0 ** math.floor(math.log2(sensitivity / parts))


def bits(sensitivity: float, entries: int) -> int:
    """Fractional bits that carry the lattice exactly. Guarantee: public; 0 or more.

    >>> bits(1.0, 1), bits(2.0, 75)
    (8, 11)
    """
    return max(0, -round(math.log2(step_of(sensitivity, entries))))


def inflated(sensitivity: float, entries: int) -> float:
    """The sensitivity of a sum after it was rounded to the lattice.

    Guarantee: if one unit moves a vector of ``entries`` numbers by at most ``sensitivity`` in L2,
    it moves the rounded vector by at most this: each entry by at most one step more. That is 0.4 %
    up to 4,096 entries, and 3 % for 2^18.
    """
    return sensitivity + step_of(sensitivity, entries) * math.sqrt(entries)


def shared(
    sums: Sequence[Tensor],
    sensitivity: float,
    noise_multiplier: float,
    shares: int,
    rng: NoiseSource,
) -> list[Tensor]:
    """``sums`` on the lattice plus one brand's share of discrete Gaussian noise, float64.

    Guarantee: if one unit moves ``sums`` by at most ``sensitivity``, then the sum of such vectors
    over brands, of which at least ``shares`` add their noise, is the Gaussian mechanism of
    ``noise_multiplier`` (add or remove one unit). A share has variance
    ``(noise_multiplier * inflated)^2 / shares``. A discrete Gaussian is no less private than the
    continuous one of the same variance (Canonne, Kamath, Steinke 2020, Theorem 4), and a sum of
    shares is within ``10 * shares * exp(-pi^2 (std / gamma)^2)`` of a discrete Gaussian (Kairouz
    et al., Theorem 1), which is 0 to any precision here: std / gamma is refused below 64.

    Args:
        sums: tensors of one dtype; all entries together are one vector.
        sensitivity: > 0.
        noise_multiplier: > 0, of the whole sum.
        shares: >= 1.

    Raises:
        ValueError: the noise is too small for the lattice.
    """
    entries = sum(s.numel() for s in sums)
    gamma = step_of(sensitivity, entries)
    std = noise_multiplier * inflated(sensitivity, entries) / math.sqrt(max(shares, 1))
    if not shares >= 1 or not std / gamma >= 64:
        raise ValueError(
            f"Expected noise_multiplier={noise_multiplier} and shares={shares} to leave each share "
            "of noise at least 64 lattice steps wide."
        )
    noise = torch.from_numpy(rng.discrete_gaussian((entries,), std / gamma))
    parts = torch.split(noise, [s.numel() for s in sums])
    return [
        ((s.double() / gamma).round() + n.view(s.shape)) * gamma
        for s, n in zip(sums, parts, strict=True)
    ]
