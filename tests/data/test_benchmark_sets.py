"""The sets that benchmarks describe: one row a customer, or a store-week."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fl.data.beer import DominicksBeer, store_weeks
from fl.data.dataset import DataSet
from fl.data.schema import Number
from fl.data.shops import OnlineRetailCustomers, customer_rows
from fl.errors import InputError
from tests.filed import load


@pytest.mark.parametrize("entry", [OnlineRetailCustomers(), DominicksBeer()])
def test_a_missing_set_names_its_publisher(
    entry: OnlineRetailCustomers | DominicksBeer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSBRAND_DATA", str(tmp_path))
    with pytest.raises(InputError, match=r"(UCI|Kilts).*CROSSBRAND_DATA=FOLDER"):
        entry.load()


def test_customers_of_the_online_shop_are_summed_up() -> None:
    lines = pd.DataFrame(
        [
            ("1", 2, 3.0, "2010-01-01 10:00", 7.0, "France"),
            ("1", 1, 4.0, "2010-01-01 10:00", 7.0, "France"),
            ("1", 1, 4.0, "2010-01-01 10:00", 7.0, "France"),  # repeated: dropped
            ("2", 1, 5.0, "2010-01-11 10:00", 7.0, "France"),
            ("C3", -1, 5.0, "2010-01-12 10:00", 7.0, "France"),  # cancelled
            ("4", 1, 5.0, "2010-01-12 10:00", np.nan, "France"),  # nobody's
            ("5", 1, 9.0, "2010-01-21 10:00", 8.0, "Spain"),
        ],
        columns=["Invoice", "Quantity", "Price", "InvoiceDate", "Customer ID", "Country"],
    )
    rows = customer_rows(lines).set_index("Customer ID")
    assert rows.loc[7, ["spend", "baskets", "basket_lines", "recency_days", "repeat"]].tolist() == [
        15.0, 2, 1.5, 10, 1,
    ]  # fmt: skip
    assert rows.loc[8, ["spend", "repeat", "Country"]].tolist() == [9.0, 0, "Spain"]


def test_online_retail_customers() -> None:
    data = load("online_retail_customers")
    assert (
        len(data.rows) == 4312 == data.rows["Customer ID"].nunique()
        and data.rows["Country"].nunique() == 37
    )
    assert (data.rows["Country"] == "United Kingdom").mean() == pytest.approx(0.92, abs=0.01)
    _in_bounds(data)


def test_store_weeks_are_summed_up_and_price_cuts_are_of_the_week_before() -> None:
    movement = pd.DataFrame(
        {
            "STORE": ["5"] * 5, "UPC": ["1", "2", "1", "1", "1"],
            "WEEK": pd.Categorical(["9", "9", "10", "12", "13"]),
            "PRICE": [3.0, 6.0, 2.0, 1.0, 0.0], "MOVE": [10, 5, 10, 1, 4],
        }
    )  # fmt: skip
    upc = pd.DataFrame({"OZ": [72.0, 144.0]}, index=["1", "2"])
    demo = pd.DataFrame({"income": [10.5]}, index=["5"])
    rows = store_weeks(movement, upc, demo)
    assert rows["units"].tolist() == [15.0, 10.0, 1.0]  # nothing was sold in week 13
    assert rows["price"].tolist() == [3.0, 2.0, 1.0] and rows["products"].tolist() == [2, 1, 1]
    assert rows["price_cut"].tolist() == [0, 1, 0]  # week 11 is missing before week 12
    assert rows["store"].tolist() == ["store-005"] * 3 and rows["income"].tolist() == [10.5] * 3


@pytest.mark.slow
def test_dominicks_beer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSBRAND_CACHE", str(tmp_path))  # read from the publisher's file
    data = load("dominicks_beer")
    assert len(data.rows) == 19_511 and data.rows["store"].nunique() == 68
    assert data.rows["price_cut"].mean() == pytest.approx(0.106, abs=0.001)
    assert "store-week" in data.provenance.note and data.provenance.licence == "research use"
    _in_bounds(data)


def _in_bounds(data: DataSet) -> None:
    for column in data.schema.columns:
        assert isinstance(column, Number)
        cells = data.rows[column.name].dropna()
        assert ((cells < column.low) | (cells > column.high)).mean() < 0.01, column
