"""From an event log to customers' portraits: what was done strictly before a cut-off.

One row per customer, made of that customer's own events and public constants alone, so that a brand
encodes by itself and no other customer's row shows in it. Everything is a weighted count over
customers (``numpy.bincount``), so a million events take a second or two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from fl.data.portrait import OTHER, PURCHASE, Portrait

_DAY = np.timedelta64(1, "D")

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def portraits(
    events: pd.DataFrame, customers: int, cutoff: pd.Timestamp, how: Portrait
) -> pd.DataFrame:
    """One row per customer, in order of their number.

    Args:
        events: ``customer`` (int64 in [0, customers)), ``time`` (datetime64), and, where known,
            ``order`` (any), ``kind``, ``category``, ``channel``, ``quantity``, ``amount`` (paid),
            ``discount`` (what was taken off, >= 0). Without ``kind`` every event is a purchase.
        customers: m.
        cutoff: only events before it are read, none older than ``how.history_days``.
        how: the features.

    Returns:
        float64 features named as in ``how.columns()``; index 0 to m - 1. A customer without
        purchases has a recency, tenure and gap of ``history_days`` and zeros.
    """
    time = events["time"].to_numpy("datetime64[s]")
    end = cutoff.to_datetime64().astype("datetime64[s]")
    seen = (time < end) & (time >= end - how.history_days * _DAY)
    events, age = events[seen], (end - time[seen]) / _DAY
    kind = events["kind"].to_numpy(object) if "kind" in events else None
    bought = np.ones(len(events), bool) if kind is None else kind == PURCHASE
    lines = _Lines.of(events[bought], age[bought], customers)
    columns = dict(_value(lines, how))
    columns |= _shares(lines, how)
    for name in how.kinds:
        of_kind = np.zeros(len(events), bool) if kind is None else kind == name
        who, ago = events["customer"].to_numpy(np.int64)[of_kind], age[of_kind]
        for days in (*how.windows_days, how.history_days):
            columns[f"{name}_{days}"] = _count(who[ago <= days], customers)
    return pd.DataFrame({number.name: columns[number.name] for number in how.columns()})


def population_shares(events: pd.DataFrame, how: Portrait) -> dict[str, float]:
    """Share of all customers' spend in each category: for the brand's own eyes.

    It is a sum over customers: what may become ``Portrait.population`` of a run is a released one.
    """
    amount = _numbers(events, "amount", 0.0)
    codes = _codes(events, "category", how.categories)
    spent = _sum(codes, np.maximum(amount, 0), len(how.categories) + 1)
    total = spent.sum()
    names = (*how.categories, OTHER)
    return {n: float(s / total) if total > 0 else 0.0 for n, s in zip(names, spent, strict=True)}


@dataclass(frozen=True, slots=True)
class _Lines:
    """Purchase lines as arrays, and the orders they make up.

    Attributes:
        lines: as they were given; their categories and channels are coded where they are used.
        customers: how many there are.
        customer, age, amount, discount, quantity: of each line; age in days, > 0.
        order: of each line, the number of its order.
        who, when, cut: of each order: customer, age of its newest line, discount.
    """

    lines: pd.DataFrame
    customers: int
    customer: Ints
    age: Floats
    amount: Floats
    discount: Floats
    quantity: Floats
    order: Ints
    who: Ints
    when: Floats
    cut: Floats

    @classmethod
    def of(cls, lines: pd.DataFrame, age: Floats, customers: int) -> _Lines:
        customer = lines["customer"].to_numpy(np.int64)
        raw = np.arange(len(lines))  # a line without an order is one
        if "order" in lines:
            codes, _ = pd.factorize(lines["order"].to_numpy())
            raw = np.where(codes < 0, raw, len(lines) + codes)
        order, keys = pd.factorize(raw.astype(np.int64) * max(customers, 1) + customer)
        who = (keys % max(customers, 1)).astype(np.int64)
        when = np.full(len(keys), np.inf)
        np.minimum.at(when, order, age)
        discount = np.maximum(_numbers(lines, "discount", 0.0), 0)
        return cls(
            lines,
            customers,
            customer,
            age,
            _numbers(lines, "amount", 0.0),
            discount,
            _numbers(lines, "quantity", 1.0),
            order.astype(np.int64),
            who,
            when,
            _sum(order, discount, len(keys)),
        )

    def total(self, weight: Floats) -> Floats:
        """Sum of a line's ``weight`` for each customer."""
        return _sum(self.customer, weight, self.customers)


def _value(of: _Lines, how: Portrait) -> Iterator[tuple[str, Floats]]:
    """Recency, frequency, monetary value, price level and discounts."""
    m, history = of.customers, float(how.history_days)
    orders = _count(of.who, m)
    recency, tenure = np.full(m, history), np.zeros(m)
    np.minimum.at(recency, of.who, of.when)
    np.maximum.at(tenure, of.who, of.when)
    tenure = np.where(orders > 0, tenure, history)
    day = np.unique(of.who * (how.history_days + 1) + of.when.astype(np.int64))
    active = _count(day // (how.history_days + 1), m)
    spend, quantity = of.total(of.amount), of.total(of.quantity)
    full = np.maximum(spend, 0) + of.total(of.discount)
    gap = np.where(active > 1, (tenure - recency) / np.maximum(active - 1, 1), history)
    half = history / 2
    late, early = _count(of.who[of.when <= half], m), _count(of.who[of.when > half], m)
    yield "recency_days", recency
    yield "tenure_days", tenure
    yield "orders", orders
    yield "active_days", active
    yield "spend", spend
    yield "quantity", quantity
    yield "order_value", _ratio(spend, orders)
    yield "gap_days", gap
    yield "due", _ratio(recency, np.maximum(gap, 1)) * (orders > 0)
    yield "trend", _ratio(late - early, orders)
    yield "discount_share", np.clip(_ratio(of.total(of.discount), full), 0, 1)
    cut = of.cut > 0
    yield "discounted_orders", _ratio(_count(of.who[cut], m), orders)
    yield "discount_response", _response(of, cut, orders)
    yield "price_level", _price_level(of, how)
    for days in how.windows_days:
        yield f"orders_{days}", _count(of.who[of.when <= days], m)
        yield f"spend_{days}", of.total(np.where(of.age <= days, of.amount, 0))


def _response(of: _Lines, cut: npt.NDArray[np.bool_], orders: Floats) -> Floats:
    """How much more an order with a discount is worth than one without, in [-1, 1]; 0 without both.

    ``(a - b) / (a + b)`` for the mean values ``a`` with and ``b`` without.
    """
    value = np.maximum(_sum(of.order, of.amount, len(of.who)), 0)
    with_cut, m = _count(of.who[cut], of.customers), of.customers
    a = _ratio(_sum(of.who[cut], value[cut], m), with_cut)
    b = _ratio(_sum(of.who[~cut], value[~cut], m), orders - with_cut)
    return np.where((with_cut > 0) & (with_cut < orders), _ratio(a - b, a + b), 0.0)


def _price_level(of: _Lines, how: Portrait) -> Floats:
    """Mean price of a unit; relative to public prices (of the categories that have one) if any."""
    if not how.prices:
        return _ratio(np.maximum(of.total(of.amount), 0), of.total(of.quantity))
    usual = np.array([how.prices.get(c, np.nan) for c in how.categories] + [np.nan])
    at = usual[_codes(of.lines, "category", how.categories)] * of.quantity
    known = np.isfinite(at)
    paid = of.total(np.where(known, np.maximum(of.amount, 0), 0))
    return _ratio(paid, of.total(np.where(known, at, 0)))


def _shares(of: _Lines, how: Portrait) -> dict[str, Floats]:
    """Category share of spend, against the population, and channel mix."""
    columns: dict[str, Floats] = {}
    paid = np.maximum(of.amount, 0)
    spent = of.total(paid)
    category = _codes(of.lines, "category", how.categories)
    kinds = np.zeros(of.customers)
    for code, name in enumerate((*how.categories, OTHER)):
        share = _ratio(of.total(np.where(category == code, paid, 0)), spent)
        kinds += share > 0
        columns[f"share_{name}"] = share
        if name in how.population:
            columns[f"index_{name}"] = share / how.population[name]
    channel = np.zeros(len(of.who), np.int64)
    channel[of.order] = _codes(of.lines, "channel", how.channels)
    orders, ways = _count(of.who, of.customers), np.zeros(of.customers)
    for code, name in enumerate((*how.channels, OTHER)):
        mixed = _ratio(_count(of.who[channel == code], of.customers), orders)
        ways += mixed > 0
        columns[f"via_{name}"] = mixed
    return {**columns, "category_count": kinds, "channel_count": ways}


def _codes(lines: pd.DataFrame, column: str, names: tuple[str, ...]) -> Ints:
    """The position of each line's value among ``names``; one more for any other."""
    if column not in lines:
        return np.full(len(lines), len(names), np.int64)
    codes, values = pd.factorize(lines[column].to_numpy(object))
    at = {name: i for i, name in enumerate(names)}
    table: Ints = np.array([*(at.get(v, len(names)) for v in values), len(names)], np.int64)
    found: Ints = table[codes]
    return found


def _numbers(lines: pd.DataFrame, column: str, default: float) -> Floats:
    if column not in lines:
        return np.full(len(lines), default)
    cells = lines[column].to_numpy(np.float64)
    return np.where(np.isnan(cells), default, cells)


def _sum(who: Ints, weight: Floats, size: int) -> Floats:
    return np.asarray(np.bincount(who, weight, size), np.float64)


def _count(who: Ints, customers: int) -> Floats:
    return np.bincount(who, minlength=customers).astype(np.float64)


def _ratio(a: Floats, b: Floats) -> Floats:
    """``a / b``; 0 where b is 0."""
    return np.divide(a, b, out=np.zeros_like(a, np.float64), where=b > 0)
