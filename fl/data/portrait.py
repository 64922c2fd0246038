"""A customer's portrait: which features it has, with public bounds. Computed in
``portrait_features.py``.

Recency, frequency and monetary value as in Bult & Wansbeek, "Optimal Selection for Direct Mail",
Marketing Science 1995; then category share of spend, share against the population, price level,
discount response, channel mix, and counts along the trajectory (views, carts, purchases, returns:
any kinds of events).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from fl.data.schema import Number

OTHER = "other"
PURCHASE = "purchase"
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Portrait:
    """What a portrait has; public, and the same at every brand of a run.

    Attributes:
        categories: of goods, in public names; what is none of them is ``other``.
        channels: of sale, in public names; what is none of them is ``other``.
        kinds: of events other than purchases that are counted (``view``, ``cart``, ``return``).
        windows_days: lengths of the recent past, ascending, >= 1.
        history_days: how far back events are read, > the longest window.
        most_orders, most_spend, most_price: public bounds of a customer's orders, spend and unit
            price within the history; features are clipped to them.
        population: public share of spend of each category in the population (a released figure or
            a published one), in (0, 1). A category named here gets a feature that compares.
        prices: public usual unit price of each category, > 0. If any is given, the price level is
            relative to them.
    """

    categories: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    windows_days: tuple[int, ...] = (30, 90)
    history_days: int = 365
    most_orders: float = 200.0
    most_spend: float = 10_000.0
    most_price: float = 1_000.0
    population: Mapping[str, float] = field(default_factory=dict)
    prices: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for names in (self.categories, self.channels, self.kinds):
            if bad := [n for n in names if not _NAME.fullmatch(n) or n in (OTHER, PURCHASE)]:
                raise ValueError(
                    f"Expected a public name of small letters, digits and _, got {bad[0]!r}."
                )
            if len(set(names)) != len(names):
                raise ValueError(f"Expected distinct names, got {list(names)}.")
        days = self.windows_days
        if not days or days[0] < 1 or list(days) != sorted(set(days)):
            raise ValueError(f"Expected windows_days={list(days)} to ascend from 1 or more.")
        if self.history_days <= days[-1]:
            raise ValueError(f"Expected history_days={self.history_days} > {days[-1]}.")
        if not all(0 < x < math.inf for x in (self.most_orders, self.most_spend, self.most_price)):
            raise ValueError("Expected most_orders, most_spend and most_price > 0.")
        for constants, highest in ((self.population, 1.0), (self.prices, math.inf)):
            if unknown := sorted(set(constants) - set(self.categories)):
                raise ValueError(f"Expected {unknown[0]!r} to be one of categories.")
            if not all(0 < x < highest for x in constants.values()):
                raise ValueError("Expected population in (0, 1) and prices > 0.")

    def columns(self) -> tuple[Number, ...]:
        """The features with their public bounds, in the order of ``portraits``."""
        history, orders = self.history_days, self.most_orders
        first = [
            Number("recency_days", 0, history),
            Number("tenure_days", 0, history),
            Number("orders", 0, orders, log=True),
            Number("active_days", 0, orders, log=True),
            Number("spend", 0, self.most_spend, log=True),
            Number("quantity", 0, self.most_spend, log=True),
            Number("order_value", 0, self.most_spend, log=True),
            Number("gap_days", 0, history, log=True),
            Number("due", 0, 4),
            Number("trend", -1, 1),
            Number("price_level", 0, 4 if self.prices else self.most_price, log=not self.prices),
            Number("discount_share", 0, 1),
            Number("discounted_orders", 0, 1),
            Number("discount_response", -1, 1),
            Number("category_count", 0, max(1, len(self.categories) + 1)),
            Number("channel_count", 0, max(1, len(self.channels) + 1)),
        ]
        recent = [
            number
            for days in self.windows_days
            for number in (
                Number(f"orders_{days}", 0, orders, log=True),
                Number(f"spend_{days}", 0, self.most_spend, log=True),
            )
        ]
        shares = [Number(f"share_{c}", 0, 1) for c in (*self.categories, OTHER)]
        against = [Number(f"index_{c}", 0, 4) for c in self.population]
        mix = [Number(f"via_{c}", 0, 1) for c in (*self.channels, OTHER)]
        walked = [
            Number(f"{kind}_{days}", 0, 10 * orders, log=True)
            for kind in self.kinds
            for days in (*self.windows_days, history)
        ]
        return (*first, *recent, *shares, *against, *mix, *walked)
