"""What one release costs others than a single customer of a single brand.

A **person** may be a customer of several brands: the brands' releases compose (Dwork and Roth 2014,
section 3.5; here by composing loss distributions). A **group** of k records of one customer is what
a record-level guarantee leaves that customer with: Charles et al. 2024, "Fine-Tuning Large Language
Models with User-Level Differential Privacy", arXiv 2407.07737, with the tight analysis of
Ganesh 2024, arXiv 2401.10294 (a mixture of Gaussians).
"""

from __future__ import annotations

import math

from fl.events import Composed, Gaussian, PrivacyEvent, Repeated, Sampled, Unbounded
from fl.privacy.accounting import check_delta
from fl.privacy.losses import ROUNDING, grid, releases

GROUP_GRID_ERROR = 0.004  # a mixture's losses are inverted point by point: a wider grid


def person(event: PrivacyEvent, brands: int) -> PrivacyEvent:
    """What a person pays who is a customer of ``brands`` brands, each of which releases ``event``.

    Guarantee: sequential composition: add or remove all rows of the person at all of the brands.
    It covers brands that learn from each other's releases, as long as the events were fixed before.

    Raises:
        ValueError: ``brands`` < 1.

    >>> from fl.events import Gaussian
    >>> person(Gaussian(2.0), 3)
    Repeated(event=Gaussian(noise_multiplier=2.0), times=3)
    """
    if brands < 1:
        raise ValueError(f"Expected brands={brands} >= 1.")
    return Repeated(event, brands) if brands > 1 else event


def group(event: PrivacyEvent, records: int, delta: float) -> float:
    """Epsilon of a customer with ``records`` records, where ``event`` samples and clips *records*.

    Of its k records, Binomial(k, q) are in a sample, and so many clips move the sum: a mixture of
    Gaussians with sensitivities 0..k. Seconds for k = 8; linear in k.

    Guarantee: an upper bound, add or remove up to k records together, tight for Poisson sampling of
    records (arXiv 2401.10294; the worst case is k equal gradients). Nothing is promised to a
    customer with more records. ``inf`` for an unbounded event.

    Raises:
        ValueError: ``records`` < 1, or ``delta`` outside [1e-9, 1).
    """
    import numpy as np
    from dp_accounting.pld import privacy_loss_distribution as pld

    check_delta(delta)
    if records < 1:
        raise ValueError(f"Expected records={records} >= 1.")
    if (found := releases(event)) is None:
        return math.inf
    h = grid(found, delta, size=records, error=GROUP_GRID_ERROR)
    total = pld.identity(value_discretization_interval=h)
    for r in found:
        if r.rate == 1:
            sigma = r.noise_multiplier / records / math.sqrt(r.times)
            total = total.compose(
                pld.from_gaussian_mechanism(sigma, value_discretization_interval=h)
            )
        else:
            one = pld.from_mixture_gaussian_mechanism(
                r.noise_multiplier,
                list(range(records + 1)),
                _binomial(records, r.rate),
                value_discretization_interval=h,
            )
            total = total.compose(one.self_compose(r.times))
    with np.errstate(over="ignore"):
        return float(total.get_epsilon_for_delta(delta - ROUNDING)) if found else 0.0


def worst_group(event: PrivacyEvent, records: int) -> PrivacyEvent:
    """An event that costs at least what ``group`` finds, for accountants that know no mixtures.

    Guarantee: dominates: whenever one of the k records is sampled, all of them are taken to be, so
    the rate is 1 - (1 - q)^k and the sensitivity k.

    >>> releases(worst_group(Gaussian(4.0), 2))
    (Release(rate=1.0, noise_multiplier=2.0, times=1),)
    """
    if (found := releases(event)) is None:
        return Unbounded()
    parts = []
    for r in found:
        rate = min(1.0, -math.expm1(records * math.log1p(-r.rate))) if r.rate < 1 else 1.0
        parts.append(Repeated(Sampled(rate, Gaussian(r.noise_multiplier / records)), r.times))
    return Composed(tuple(parts))


def _binomial(k: int, q: float) -> list[float]:
    """Chances of 0..k successes; no entry underflows to zero."""
    chances = [math.comb(k, i) * q**i * (1 - q) ** (k - i) for i in range(k + 1)]
    total = math.fsum(chances)
    return [max(chance, 1e-300) / total for chance in chances]
