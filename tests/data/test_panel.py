"""The grocery panel: three tiers of brands, and features that end where the outcome begins."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from fl.data import panel
from fl.data.dataset import DataSet
from fl.data.divide import Preparation, divide
from fl.data.panel import Panel, PanelStores, transactions
from fl.data.partition import Natural

Lines = pd.DataFrame
Change = Callable[[Lines], Lines]
CUTOFF, HORIZON = Panel().cutoff_week, Panel().horizon_weeks


@pytest.fixture(scope="module")
def lines() -> Lines:
    """A fifth of the households: enough for every tier, and quick."""
    whole = transactions()
    return whole[whole["household_id"] % 5 == 0].reset_index(drop=True)


@pytest.fixture(scope="module")
def whole() -> DataSet:
    return Panel().load()


def test_there_are_thirty_brands_or_more_in_three_tiers(whole: DataSet) -> None:
    tiers = pd.Series(whole.tiers).value_counts()
    assert set(tiers.index) == {"large", "medium", "small"}
    assert tiers.sum() >= 30 and tiers.min() >= 10
    assert set(whole.rows["brand"]) == set(whole.tiers)
    sizes = whole.rows.groupby("brand")["household_id"].nunique()
    by_tier = sizes.groupby(whole.tiers).agg(["min", "max"])
    assert by_tier.loc["large", "min"] > by_tier.loc["medium", "max"]
    assert by_tier.loc["medium", "min"] > by_tier.loc["small", "max"]
    assert by_tier.loc["small"].between(100, 450).all()


def test_a_row_is_one_household_at_one_brand_and_fits_the_schema(whole: DataSet) -> None:
    assert not whole.rows.duplicated(["brand", "household_id"]).any()
    encoded = whole.schema.encode(whole.rows)
    assert np.isfinite(encoded.x).all()
    assert 0.05 < encoded.y.mean() < 0.6
    for number in whole.schema.numbers:
        cells = whole.rows[number.name].dropna()
        outside = (cells < number.low) | (cells > number.high)
        assert outside.mean() < 0.2, number  # ratios are clipped on purpose


def test_the_panel_is_called_a_fixture_and_never_real(whole: DataSet) -> None:
    said = f"{whole.provenance.title} {whole.provenance.note}".lower()
    assert "fixture" in said and "simulated" in said
    assert "real data" not in said.replace("not real data", "")


def test_a_households_split_is_the_same_at_every_brand(whole: DataSet) -> None:
    sides: dict[int, set[str]] = {}
    for table in divide(whole, Natural(), Preparation(), 0).values():
        for who, side in zip(table.rows["household_id"], table.split, strict=True):
            sides.setdefault(who, set()).add(side)
    assert all(len(each) == 1 for each in sides.values())


def test_a_stores_households_shop_nowhere_else() -> None:
    data = PanelStores().load()
    assert data.rows["household_id"].is_unique
    assert data.rows.groupby("brand").size().min() >= PanelStores().min_households
    assert data.rows["brand"].nunique() >= 2
    assert np.isfinite(data.schema.encode(data.rows).x).all()


# --- nothing from the outcome's weeks is in a feature ---------------------------------------------


def shuffled(lines: Lines) -> Lines:
    """Who bought what for how much after the cut-off, dealt anew."""
    late = lines["week"] >= CUTOFF
    changed = lines.copy()
    for at, name in enumerate(("household_id", "manufacturer_id", "sales_value", "department")):
        order = np.roll(np.flatnonzero(late), 17 * (at + 1))
        changed.loc[late, name] = lines.loc[order, name].to_numpy()
    return changed


LATE: dict[str, Change] = {
    "deleted": lambda lines: lines[lines["week"] < CUTOFF],
    "moved to the last week": lambda lines: lines.assign(
        week=lines["week"].where(lines["week"] < CUTOFF, 53)
    ),
    "hundredfold": lambda lines: lines.assign(
        sales_value=lines["sales_value"].where(lines["week"] < CUTOFF, lines["sales_value"] * 100)
    ),
    "shuffled": shuffled,
}


def load(
    of: Panel | PanelStores, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> tuple[pd.DataFrame, pd.Series]:
    """Features and labels, from these lines instead of the package's."""
    monkeypatch.setattr(panel, "transactions", lambda: lines)
    rows = of.load().rows
    return rows.drop(columns="converted"), rows["converted"]


@pytest.mark.parametrize("change", LATE.values(), ids=LATE)
def test_lines_after_the_cutoff_change_labels_only(
    change: Change, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, labels = load(Panel(), lines, monkeypatch)
    after, other = load(Panel(), change(lines), monkeypatch)
    pd.testing.assert_frame_equal(features, after, check_exact=True)
    same_labels = change is LATE["hundredfold"]  # who bought is the same, whatever it cost
    assert labels.any() and (labels.equals(other) == same_labels)


def test_the_stores_features_end_at_the_cutoff_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = transactions()
    features, labels = load(PanelStores(), whole, monkeypatch)
    after, other = load(PanelStores(), LATE["deleted"](whole), monkeypatch)
    pd.testing.assert_frame_equal(features, after, check_exact=True)
    assert labels.any() and not other.any()


def test_lines_of_the_last_week_before_the_cutoff_do_count(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the check above can fail: one week earlier, the same deletion shows."""
    features, _ = load(Panel(), lines, monkeypatch)
    after, _ = load(Panel(), lines[lines["week"] != CUTOFF - 1], monkeypatch)
    assert not features.equals(after)


def test_the_label_is_a_purchase_within_the_horizon(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, labels = load(Panel(), lines, monkeypatch)
    window = lines[lines["week"].between(CUTOFF, CUTOFF + HORIZON - 1)]
    bought = set(
        zip("m" + window["manufacturer_id"].astype(str), window["household_id"], strict=True)
    )
    pairs = zip(features["brand"], features["household_id"], strict=True)
    assert labels.tolist() == [int(pair in bought) for pair in pairs]
