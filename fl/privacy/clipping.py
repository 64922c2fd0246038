"""A clipping norm that follows a quantile of the customers' norms.

Andrew, Thakkar, McMahan & Ramaswamy, "Differentially Private Learning with Adaptive Clipping"
(2021, arXiv 1905.03871), Algorithm 1: after each step the clip moves geometrically towards the
norm that a wanted share of customers stays below; the share is counted with noise.

One thing differs: the paper counts +1/2 and -1/2, we count ``1 - quantile`` and ``-quantile``. Both
are the same for the median. Away from it, the paper's count is zero at the wanted share only if as
many customers come as were expected, and a brand half that size would raise its clip, and its
noise, for ever; ours is zero there whatever the size.

Booking: the count uses the same sample as the gradients, so the two are one Gaussian mechanism on
that sample, with the multiplier of :func:`joint_noise_multiplier` (the paper's Theorem 1). Two
``Sampled`` events side by side would state too small an epsilon: they stand for two samples drawn
independently.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from fl.errors import InputError
from fl.privacy.noise import NoiseSource, grid_of

FURTHEST: Final = 1e4
"""A clip stays within this factor of where it started: noise grows with it."""


@dataclass(frozen=True, slots=True)
class Clip:
    """The clip of one step, and how the next one is found. All public.

    Attributes:
        norm: L2, > 0.
        start: where ``norm`` began, > 0.
        quantile: the share of customers that ``norm`` is to stay above, in (0, 1); 0: it is fixed.
        rate: how fast it moves, > 0; the paper recommends 0.2.
        noise_std: of the count, in customers, > 0.
        expected: customers of a sample, public, > 0.
    """

    norm: float
    start: float
    quantile: float
    rate: float
    noise_std: float
    expected: float

    def __post_init__(self) -> None:
        if not (0 <= self.quantile < 1 and 0 < self.rate < math.inf):
            raise ValueError(
                f"Expected clip_quantile={self.quantile} in (0, 1), or 0 for a fixed clip, and "
                f"clip_rate={self.rate} > 0."
            )
        if not 0 < self.noise_std < math.inf:
            raise ValueError(f"Expected clip_noise_std={self.noise_std} > 0 and finite.")

    def booked(self, noise_multiplier: float) -> float:
        """The noise multiplier of a whole step.

        Guarantee: covers the gradients' noise of ``noise_multiplier`` and the count together.
        """
        if not self.quantile:
            return noise_multiplier
        return joint_noise_multiplier(noise_multiplier, self.noise_std, self.quantile)

    def after(self, norms: Tensor, rng: NoiseSource) -> Clip:
        """The clip of the next step.

        Guarantee: post-processing of :func:`count_below`; fixed clips read nothing.

        Args:
            norms: of this step's customers before clipping, ``[k]``.
        """
        if not self.quantile:
            return self
        excess = count_below(norms, self.norm, self.noise_std, rng, self.quantile)
        share = excess / self.expected + self.quantile
        moved = next_clip(self.norm, share, self.quantile, self.rate)
        bounded = min(max(moved, self.start / FURTHEST), self.start * FURTHEST)
        return replace(self, norm=bounded)

    def require_fixed(self) -> None:
        """Refuse a clip that moves, where the brands of a sum need the same one.

        Guarantee: nothing is released under a clip that another brand does not know.

        Raises:
            InputError: it moves.
        """
        if self.quantile:
            raise InputError(
                "privacy.clip_quantile",
                "moves the clip within a brand's training, but this algorithm asks each brand for "
                "one sum a round, whose clip all brands would have to agree on",
                "set privacy.clip_quantile=0, or choose an algorithm that trains, such as fedavg",
            )


def count_below(
    norms: Tensor, clip_norm: float, noise_std: float, rng: NoiseSource, quantile: float = 0.5
) -> float:
    """Noised sum over customers of ``1 - quantile`` (norm at most ``clip_norm``) and ``-quantile``.

    Above the clip counts what is not a number, too. Divided by the public expected number of
    customers, plus ``quantile``, it is the share below if as many came.

    Guarantee: the Gaussian mechanism of noise multiplier ``noise_std / sensitivity(quantile)``,
    for add or remove of one customer; rounded to :func:`fl.privacy.noise.grid_of` as every release.

    Args:
        norms: one norm for each sampled customer, before clipping.
        clip_norm: > 0.
        noise_std: > 0; the paper takes a twentieth of the expected number of customers.
        rng: :class:`fl.privacy.noise.SecureRandom` in a real run.
        quantile: in [0, 1].

    Raises:
        ValueError: a number out of range.
    """
    if not (0 < clip_norm < math.inf and 0 < noise_std < math.inf and 0 <= quantile <= 1):
        raise ValueError(
            f"Expected clip_norm={clip_norm} > 0, noise_std={noise_std} > 0 and "
            f"quantile={quantile} in [0, 1]."
        )
    exact = float((norms <= clip_norm).sum()) - quantile * len(norms)
    grid = grid_of(noise_std)
    return round((exact + float(rng.normal((), noise_std, torch.float64))) / grid) * grid


def sensitivity(quantile: float) -> float:
    """What one customer, added or removed, moves the count by at most.

    Guarantee: the larger of a customer's two possible parts.

    >>> sensitivity(0.5), sensitivity(0.9)
    (0.5, 0.9)
    """
    return max(quantile, 1 - quantile)


def next_clip(clip_norm: float, share_below: float, target_quantile: float, rate: float) -> float:
    """``clip_norm * exp(-rate * (share_below - target_quantile))``, Algorithm 1's update.

    Guarantee: post-processing of a noised share; the factor is within ``exp(+-rate)`` although
    noise may push the share out of [0, 1].

    >>> next_clip(1.0, 0.5, 0.5, 0.2)
    1.0
    >>> next_clip(1.0, 1.0, 0.5, 0.2) < 1.0 < next_clip(1.0, 0.0, 0.5, 0.2)
    True

    Args:
        clip_norm: > 0.
        share_below: noised share of customers with at most this norm.
        target_quantile: in [0, 1]; the paper recommends 0.5.
        rate: > 0; the paper recommends 0.2.

    Raises:
        ValueError: a number out of range.
    """
    if not (0 < clip_norm < math.inf and 0 <= target_quantile <= 1 and 0 < rate < math.inf):
        raise ValueError(
            f"Expected clip_norm={clip_norm} > 0, target_quantile={target_quantile} in [0, 1] and "
            f"rate={rate} > 0."
        )
    share = min(1.0, max(0.0, share_below))
    return clip_norm * math.exp(-rate * (share - target_quantile))


def joint_noise_multiplier(
    noise_multiplier: float, noise_std: float, quantile: float = 0.5
) -> float:
    """The multiplier ``z`` to book for gradients and count together, on one sample.

    Guarantee: ``1/z^2 = 1/noise_multiplier^2 + (sensitivity/noise_std)^2`` (Theorem 1): both
    releases are one Gaussian mechanism, each part scaled by its own noise. Smaller than
    ``noise_multiplier``.

    >>> round(joint_noise_multiplier(1.0, 25.0), 4)
    0.9998

    Raises:
        ValueError: a number out of range.
    """
    if not (0 < noise_multiplier < math.inf and 0 < noise_std < math.inf):
        raise ValueError(
            f"Expected noise_multiplier={noise_multiplier} > 0 and noise_std={noise_std} > 0."
        )
    return 1 / math.hypot(1 / noise_multiplier, sensitivity(quantile) / noise_std)
