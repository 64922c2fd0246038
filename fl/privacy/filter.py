"""Refusing before a budget is exceeded, when events are chosen after seeing earlier results.

A PLD or PRV figure holds for events fixed in advance. Where the next event may depend on what the
last one released (a person decides on another run after reading a report), only a *filter* is safe.
For a fixed Renyi order a running sum is one (Feldman and Zrnic, NeurIPS 2021, arXiv 2008.11193;
Lecuyer 2021, arXiv 2103.01379). For several orders at once, delta is shared out: the
transcripts that end within order alpha's budget are those of the filter at that order alone, so the
hockey-stick divergences of the orders add up to at most delta.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fl.events import Composed, PrivacyEvent
from fl.privacy.accounting import check_delta, rdp_curve

FILTER_ORDERS = (1.6, 2.2, 3.0, 4.5, 6.0, 8.0, 11.0, 15.0, 22.0, 32.0)


@dataclass(frozen=True, slots=True)
class RdpFilter:
    """A budget of one customer, and what is spent of it. State in, state out.

    Guarantee: whatever events are admitted, in whatever dependence on earlier releases, together
    they are (epsilon, delta)-DP for adding or removing one unit.
    A run is admitted by a budget of 1.2 to 1.45 times its PLD figure: the price of deciding late.

    Attributes:
        epsilon: the budget, > 0.
        delta: in [1e-9, 1).
        spent: Renyi divergences at ``FILTER_ORDERS``, >= 0.
    """

    epsilon: float
    delta: float
    spent: tuple[float, ...] = (0.0,) * len(FILTER_ORDERS)

    def __post_init__(self) -> None:
        if not 0 < self.epsilon < math.inf:
            raise ValueError(f"Expected epsilon={self.epsilon} > 0.")
        check_delta(self.delta)
        if len(self.spent) != len(FILTER_ORDERS) or not all(s >= 0 for s in self.spent):
            raise ValueError(f"Expected {len(FILTER_ORDERS)} sums >= 0 in spent={self.spent}.")

    def after(self, event: PrivacyEvent) -> RdpFilter:
        """The filter with ``event`` spent, whether or not it fits: a crash counts as spent."""
        curve = rdp_curve(event, FILTER_ORDERS)
        return replace(self, spent=tuple(s + c for s, c in zip(self.spent, curve, strict=True)))

    @property
    def within(self) -> bool:
        """Whether the budget of at least one order still covers what is spent at that order."""
        return any(s <= b for s, b in zip(self.spent, self.budget, strict=True))

    @property
    def budget(self) -> tuple[float, ...]:
        """What may be spent at each order (arXiv 2004.00010, Proposition 12, solved for it)."""
        share = self.delta / len(FILTER_ORDERS)
        return tuple(
            self.epsilon - math.log1p(-1 / a) + math.log(share * a) / (a - 1) for a in FILTER_ORDERS
        )

    def admits(self, event: PrivacyEvent) -> bool:
        """Whether ``event`` may be released now.

        >>> from fl.events import Gaussian
        >>> RdpFilter(1.0, 1e-5).admits(Gaussian(10.0)), RdpFilter(1.0, 1e-5).admits(Gaussian(1.0))
        (True, False)
        """
        return self.after(event).within


def filter_epsilon(events: Sequence[PrivacyEvent], delta: float) -> float:
    """The smallest budget whose filter admits ``events``: what a ledger compares with its own.

    Guarantee: refusing where it exceeds a budget keeps that budget under adaptive choice.

    Raises:
        ValueError: ``delta`` outside [1e-9, 1).

    >>> from fl.events import Gaussian, Repeated
    >>> 2.9 < filter_epsilon([Repeated(Gaussian(10.0), 36)], 1e-5) <= 3.0
    True
    """
    check_delta(delta)
    share = delta / len(FILTER_ORDERS)
    curve = rdp_curve(Composed(tuple(events)), FILTER_ORDERS)
    return max(
        0.0,
        min(
            c + math.log1p(-1 / a) - math.log(share * a) / (a - 1)
            for a, c in zip(FILTER_ORDERS, curve, strict=True)
        ),
    )
