"""A clipping norm that follows a quantile of the customers' norms.

Andrew, Thakkar, McMahan & Ramaswamy, "Differentially Private Learning with Adaptive Clipping"
(2021, arXiv 1905.03871), Algorithm 1: after each step the clip moves geometrically towards the
norm that a wanted share of customers stays below; the share is counted with noise.

Booking: the count uses the same sample as the gradients, so the two are one Gaussian mechanism on
that sample, with the multiplier of :func:`joint_noise_multiplier` (the paper's Theorem 1). Two
``Sampled`` events side by side would state too small an epsilon: they stand for two samples drawn
independently.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

from fl.privacy.noise import NoiseSource, grid_of

COUNT_SENSITIVITY: Final = 0.5
"""One customer, added or removed, moves the result of :func:`count_below` by this much."""


def count_below(norms: Tensor, clip_norm: float, noise_std: float, rng: NoiseSource) -> float:
    """Noised sum over customers of +1/2 (norm at most ``clip_norm``) and -1/2 (above, or NaN).

    Divided by the public expected number of customers, plus 1/2, it is the share below
    (Algorithm 1, with the indicator centred so that its sensitivity halves).

    Guarantee: the Gaussian mechanism of noise multiplier ``noise_std / 0.5``, for add or remove of
    one customer; rounded to :func:`fl.privacy.noise.grid_of` as every release.

    Args:
        norms: one norm for each sampled customer, before clipping.
        clip_norm: > 0.
        noise_std: > 0; the paper takes a twentieth of the expected number of customers.
        rng: :class:`fl.privacy.noise.SecureRandom` in a real run.

    Raises:
        ValueError: a number out of range.
    """
    if not (0 < clip_norm < math.inf and 0 < noise_std < math.inf):
        raise ValueError(f"Expected clip_norm={clip_norm} > 0 and noise_std={noise_std} > 0.")
    exact = float((norms <= clip_norm).sum()) - 0.5 * len(norms)
    grid = grid_of(noise_std)
    return round((exact + float(rng.normal((), noise_std, torch.float64))) / grid) * grid


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


def joint_noise_multiplier(noise_multiplier: float, noise_std: float) -> float:
    """The multiplier ``z`` to book for gradients and count together, on one sample.

    Guarantee: ``1/z^2 = 1/noise_multiplier^2 + (0.5/noise_std)^2`` (Theorem 1): both releases are
    one Gaussian mechanism, each part scaled by its own noise. Smaller than ``noise_multiplier``.

    >>> round(joint_noise_multiplier(1.0, 25.0), 4)
    0.9998

    Raises:
        ValueError: a number out of range.
    """
    if not (0 < noise_multiplier < math.inf and 0 < noise_std < math.inf):
        raise ValueError(
            f"Expected noise_multiplier={noise_multiplier} > 0 and noise_std={noise_std} > 0."
        )
    return 1 / math.hypot(1 / noise_multiplier, COUNT_SENSITIVITY / noise_std)
