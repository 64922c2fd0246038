"""Portraits: each feature against the slow and obvious way, and nothing from after the cut-off."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.data.portrait import Portrait
from fl.data.portrait_features import population_shares, portraits
from fl.data.schema import Schema
from fl.seeds import numpy_generator

CUT = pd.Timestamp("2026-01-31")
HOW = Portrait(
    categories=("dairy", "bakery"),
    channels=("web",),
    kinds=("view",),
    windows_days=(7, 30),
    history_days=100,
    population={"dairy": 0.5},
    prices={"dairy": 2.0, "bakery": 4.0},
)


def log(n: int = 400, customers: int = 12, seed: int = 0) -> pd.DataFrame:
    rng = numpy_generator(seed, "portrait test")
    order = rng.integers(0, n // 3, n)
    return pd.DataFrame(
        {
            "customer": order % customers,
            "time": CUT + pd.to_timedelta(rng.integers(-130 * 24, 20 * 24, n), unit="h"),
            "order": [f"o{o}" for o in order],
            "kind": rng.choice(["purchase", "view", "return"], n, p=[0.7, 0.2, 0.1]),
            "category": rng.choice(["dairy", "bakery", "tools"], n),
            "channel": rng.choice(["web", "store"], n),
            "quantity": rng.integers(1, 5, n).astype(float),
            "amount": rng.integers(1, 40, n) / 2.0,
            "discount": rng.choice([0.0, 0.0, 1.0], n),
        }
    )


def slow(events: pd.DataFrame, customer: int) -> dict[str, float]:
    """One customer, feature by feature, line by line."""
    own = events[(events["customer"] == customer) & (events["time"] < CUT)]
    own = own[own["time"] >= CUT - pd.Timedelta(days=HOW.history_days)]
    age = (CUT - own["time"]).dt.total_seconds() / 86_400
    views = age[own["kind"] == "view"]
    out = {f"view_{d}": float((views <= d).sum()) for d in (7, 30, 100)}
    lines, age = own[own["kind"] == "purchase"], age[own["kind"] == "purchase"]
    spend = lines["amount"].sum()
    order_age = age.groupby(lines["order"]).min()
    count = len(order_age)
    days = order_age.astype(int).nunique()
    tenure, recency = order_age.max(), order_age.min()
    cut = lines.groupby("order")["discount"].sum() > 0
    value = lines.groupby("order")["amount"].sum()
    a, b = value[cut].mean(), value[~cut].mean()
    shares = lines.groupby("category")["amount"].sum() / spend
    via = lines.groupby("order")["channel"].last().value_counts(normalize=True)
    usual = lines["category"].map(HOW.prices) * lines["quantity"]
    priced = lines["amount"][usual.notna()].sum()
    late = (order_age <= 50).sum()
    gap = (tenure - recency) / (days - 1) if days > 1 else 100.0
    return out | {
        "recency_days": recency,
        "tenure_days": tenure,
        "orders": count,
        "active_days": days,
        "spend": spend,
        "quantity": lines["quantity"].sum(),
        "order_value": spend / count,
        "gap_days": gap,
        "due": recency / max(gap, 1),
        "trend": (2 * late - count) / count,
        "price_level": priced / usual.sum() if usual.sum() else 0.0,
        "discount_share": lines["discount"].sum() / (spend + lines["discount"].sum()),
        "discounted_orders": cut.mean(),
        "discount_response": (a - b) / (a + b) if cut.any() and not cut.all() else 0.0,
        "category_count": lines["category"].nunique(),
        "channel_count": via.size,
        **{f"orders_{d}": (order_age <= d).sum() for d in (7, 30)},
        **{f"spend_{d}": lines["amount"][age <= d].sum() for d in (7, 30)},
        "share_dairy": shares.get("dairy", 0.0),
        "share_bakery": shares.get("bakery", 0.0),
        "share_other": shares.get("tools", 0.0),
        "index_dairy": shares.get("dairy", 0.0) / 0.5,
        "via_web": via.get("web", 0.0),
        "via_other": via.get("store", 0.0),
    }


def test_every_feature_is_what_the_slow_way_gives() -> None:
    events = log()
    fast = portraits(events, 12, CUT, HOW)
    assert list(fast.columns) == [c.name for c in HOW.columns()]
    for customer in range(12):
        expected = slow(events, customer)
        assert set(expected) == set(fast.columns)
        for name, value in expected.items():
            assert fast.loc[customer, name] == pytest.approx(value, abs=1e-9), (customer, name)


def test_nothing_from_the_cutoff_on_changes_a_portrait() -> None:
    events = log()
    after = events["time"] >= CUT
    assert after.any()
    changed = events.assign(
        amount=events["amount"].where(~after, 1e6), customer=events["customer"].where(~after, 3)
    )
    at_cut = pd.concat([events, events.head(1).assign(time=CUT)])
    whole = portraits(events, 12, CUT, HOW)
    for other in (events[~after], changed, at_cut):
        pd.testing.assert_frame_equal(portraits(other, 12, CUT, HOW), whole)


@given(st.integers(0, 11), st.integers(0, 1000))
def test_no_other_customer_shows_in_a_portrait(customer: int, seed: int) -> None:
    events = log(120, 12, seed)
    alone = events[events["customer"] == customer]
    both = portraits(events, 12, CUT, HOW).loc[customer]
    pd.testing.assert_series_equal(portraits(alone, 12, CUT, HOW).loc[customer], both)


def test_the_order_of_events_does_not_matter() -> None:
    events = log().drop(columns="channel")  # the channel of an order is that of its last line
    turned = portraits(events.iloc[::-1], 12, CUT, HOW)
    pd.testing.assert_frame_equal(turned, portraits(events, 12, CUT, HOW))


def test_a_customer_without_purchases_is_defined_and_encodes() -> None:
    fast = portraits(log().iloc[:0], 2, CUT, HOW)
    assert np.isfinite(fast.to_numpy()).all()
    assert fast.loc[0, "recency_days"] == fast.loc[0, "gap_days"] == 100
    assert fast.loc[0, "orders"] == fast.loc[0, "due"] == 0
    schema = Schema(HOW.columns(), "converted")
    x = schema.encode(fast.assign(converted=0)).x
    assert (np.abs(x) <= 1).all()


def test_only_customer_and_time_are_needed() -> None:
    events = log()[["customer", "time"]]
    fast = portraits(events, 12, CUT, Portrait())
    assert (
        fast["orders"].sum()
        == ((events["time"] < CUT) & (events["time"] >= CUT - pd.Timedelta(days=365))).sum()
    )
    assert np.isfinite(fast.to_numpy()).all()
    assert (fast["share_other"] == 0).all()


def test_returns_and_missing_numbers_leave_features_finite() -> None:
    events = log()
    events["amount"] = -events["amount"]
    events.loc[::2, ["amount", "quantity", "discount"]] = np.nan
    assert np.isfinite(portraits(events, 12, CUT, HOW).to_numpy()).all()


def test_population_shares_sum_to_one() -> None:
    shares = population_shares(log(), HOW)
    assert set(shares) == {"dairy", "bakery", "other"}
    assert sum(shares.values()) == pytest.approx(1)
    assert set(population_shares(log().iloc[:0], HOW).values()) == {0.0}


@pytest.mark.parametrize(
    "values",
    [
        {"categories": ("Dairy",)},
        {"categories": ("a", "a")},
        {"channels": ("other",)},
        {"kinds": ("purchase",)},
        {"windows_days": ()},
        {"windows_days": (30, 7)},
        {"windows_days": (0,)},
        {"history_days": 90},
        {"most_spend": 0.0},
        {"population": {"tools": 0.5}},
        {"categories": ("a",), "population": {"a": 1.5}},
        {"categories": ("a",), "prices": {"a": 0.0}},
    ],
)
def test_a_portrait_out_of_range_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="Expected"):
        Portrait(**values)  # type: ignore[arg-type]
