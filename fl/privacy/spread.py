"""How much noise is in a released sum: public numbers only, for intervals that include it.

A plan's noise multiplier, the number of brands in the sum and the lattice are public, so whoever
receives a sum can say how far its noise may have moved it. It tells nothing of the data.
"""

from __future__ import annotations

import math

from fl.privacy import lattice
from fl.privacy.brand import BrandPrivacy
from fl.privacy.customer import CustomerPrivacy
from fl.privacy.none import NoPrivacy
from fl.privacy.statistics import scales


def std_of_sum(
    plan: NoPrivacy | CustomerPrivacy | BrandPrivacy,
    *,
    limit: float,
    entries: int,
    brands: int,
    share: float = 1.0,
) -> float:
    """Standard deviation of the noise on each entry of a sum of ``Of.RECORDS`` in one part.

    ``local``: every brand adds all of the noise, so ``brands`` of them add up. ``distributed``:
    every brand adds a share that is as large as if only ``plan.shares`` brands did.

    Guarantee: post-processing; depends on what the ledgers' events and the transcript say anyway.

    Args:
        plan: in force, with its noise.
        limit: of the part, as in ``Task.limits``.
        entries: numbers in it.
        brands: in the sum.
        share: of the run's budget, as in ``Statistic.share``.

    Raises:
        ValueError: a plan whose unit is a brand: it does not noise what customers add.
    """
    if isinstance(plan, NoPrivacy):
        return 0.0
    if isinstance(plan, BrandPrivacy):
        raise ValueError("Expected a plan whose unit is a customer.")
    std = plan.sigma / math.sqrt(share) * scales({"": limit})[""]
    if plan.name == "local":
        return std * math.sqrt(brands)
    return std * lattice.inflated(1.0, entries) * math.sqrt(brands / plan.shares)
