"""Every catalogued data set is what its entry says: rows, label rate, brands, schema."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fl.data.catalog import DATASETS
from fl.data.dataset import DataSet
from fl.data.divide import BrandTable, Preparation, divide
from fl.data.partition import Natural
from fl.data.schema import Category, Number
from fl.data.table import Table
from tests.filed import load

FILED = ("online_shoppers", "bank_marketing", "invehicle_coupon", "heart_disease", "adult")
MESSAGES = ("reviews", "car_forum", "smp_intents", "banking77")  # tests/data/test_messages.py
ASKED = ("dominicks_beer", "online_retail_customers")  # see test_benchmark_sets.py
TRIALS = ("hillstrom", "karlan_list")  # see test_trials.py
HISTORIES = (  # see tests/preference
    *("online_retail", "panel_histories", "retail_churn", "retail_hazard"),
    *("movielens_100k", "amazon_domains"),
)
FEW = Natural(min_customers=100)  # publishers' tiniest groups cannot be split


def positive_rate(data: DataSet) -> float:
    return float(data.schema.positives(data.rows).mean())


def by_brand(data: DataSet) -> dict[str, BrandTable]:
    return dict(divide(data, Natural(), Preparation(duplicates="keep", validation=0.0), 0))


def test_the_catalogue_names_each_set_as_it_names_itself() -> None:
    others = {"panel", "panel_stores", "table"}
    assert set(DATASETS) == {*FILED, *ASKED, *MESSAGES, *TRIALS, *HISTORIES, *others}
    assert all(DATASETS[name]().name == name for name in DATASETS)


@pytest.mark.parametrize("name", FILED)
def test_a_missing_set_skips_with_its_publisher_and_the_variable_to_set(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSBRAND_DATA", str(tmp_path))
    with pytest.raises(
        pytest.skip.Exception, match=r"UCI Machine Learning.*CROSSBRAND_DATA=FOLDER"
    ):
        load(name)


@pytest.mark.parametrize("name", FILED)
def test_a_filed_set_fits_its_schema(name: str) -> None:
    """Its lists name every value, and its public bounds hold nearly every number."""
    data = load(name)
    encoded = data.schema.encode(data.rows, name)
    assert len(encoded.y) == len(data.rows)
    for at, column in enumerate(data.schema.codes):
        assert isinstance(column, Category)
        unlisted = data.rows[column.name][encoded.c[:, at] == 0]
        assert unlisted.empty, f"{column.name}: {unlisted.unique()[:5]} is not listed"
    for number in data.schema.numbers:
        cells = data.rows[number.name].dropna()
        outside = (cells < number.low) | (cells > number.high)
        assert outside.mean() < 0.01, number
    assert data.brand is not None and data.brand not in {c.name for c in data.schema.columns}


@pytest.mark.parametrize("name", FILED)
def test_a_filed_set_can_be_divided_and_says_where_it_is_from(name: str) -> None:
    data = load(name)
    assert len(divide(data, FEW, Preparation(), 0)) >= 2
    assert "UCI Machine Learning Repository, no. " in data.provenance.publisher
    assert data.provenance.licence == "CC BY 4.0"
    assert data.provenance.note


def test_online_shoppers() -> None:
    data = load("online_shoppers")
    assert len(data.rows) == 12_330
    assert round(positive_rate(data), 4) == 0.1547
    sizes = data.rows["Region"].value_counts()
    assert (len(sizes), sizes.min(), sizes.max()) == (9, 318, 4780)
    assert int(data.rows.duplicated().sum()) == 125
    assert "PageValues" not in {c.name for c in data.schema.columns}
    with_values = load("online_shoppers", page_values=True)
    assert "PageValues" in {c.name for c in with_values.schema.columns}
    by_traffic = load("online_shoppers", partition_by="TrafficType")
    assert by_traffic.rows["TrafficType"].nunique() == 20
    assert "TrafficType" not in {c.name for c in by_traffic.schema.columns}


def test_bank_marketing() -> None:
    data = load("bank_marketing")
    assert len(data.rows) == 45_211
    assert round(positive_rate(data), 4) == 0.1170
    assert data.rows["job"].nunique() == 12
    assert "duration" not in data.rows


def test_invehicle_coupon() -> None:
    data = load("invehicle_coupon")
    assert len(data.rows) == 12_684
    assert round(positive_rate(data), 3) == 0.568
    assert int(data.rows.duplicated().sum()) == 74
    rates = data.rows.groupby("couponType")["Y"].mean().sort_values()
    assert len(rates) == 5
    assert (round(rates.iloc[0], 2), round(rates.iloc[-1], 2)) == (0.41, 0.74)


def test_heart_disease_is_flambys_table() -> None:
    tables = by_brand(load("heart_disease"))
    counts = {
        name: (int((t.split != "test").sum()), int((t.split == "test").sum()))
        for name, t in tables.items()
    }
    assert counts == {
        "cleveland": (199, 104), "hungarian": (172, 89), "switzerland": (30, 16), "va": (85, 45),
    }  # fmt: skip
    assert sum(map(sum, counts.values())) == 740
    assert len(load("heart_disease").schema.numbers) == 13


def test_adult_keeps_the_publishers_split() -> None:
    data = load("adult")
    train = data.rows[data.rows["split"] == "train"]
    assert (len(train), len(data.rows) - len(train)) == (32_561, 16_281)
    assert round(float(train["rich"].mean()), 3) == 0.241
    assert data.rows["occupation"].nunique() == 15
    assert load("adult", partition_by="education").rows["education"].nunique() == 16
    assert "fnlwgt" not in data.rows


def test_options_out_of_range_are_refused() -> None:
    for name, options in (
        ("online_shoppers", {"partition_by": "Month"}),
        ("adult", {"partition_by": "race"}),
        ("panel", {"cutoff_week": 3}),
        ("panel", {"horizon_weeks": 20}),
        ("panel", {"brands_per_tier": 0}),
        ("panel_stores", {"min_households": 1}),
    ):
        with pytest.raises(
            ValueError, match=f"Expected {next(iter(options))}|Expected cutoff_week"
        ):
            DATASETS[name](**options)  # type: ignore[arg-type]


def test_a_frame_of_the_users_own_is_a_data_set_like_any_other(tmp_path: Path) -> None:
    rows = pd.DataFrame({"x": np.arange(40), "y": [0, 1] * 20, "shop": ["a", "b"] * 20})
    rows["y"] = [0, 1, 1, 0] * 10
    rows.to_csv(tmp_path / "a.csv", index=False)
    data = Table(path=str(tmp_path / "a.csv"), label="y", brand_column="shop").load()
    assert (data.brand, data.customer, data.schema.columns) == ("shop", None, ())
    assert positive_rate(data) == 0.5
    assert set(by_brand(data)) == {"a", "b"}
    stated = Table(path=str(tmp_path / "a.csv"), label="y", columns={"x": {"low": 0, "high": 9}})
    assert stated.load().schema.columns == (Number("x", 0, 9),)
