"""Customers of an online shop, one row each: what they spent, how often, how large a basket."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from fl.data.columns import Number
from fl.data.dataset import CC_BY, UCI, DataSet, Provenance
from fl.data.schema import Schema
from fl.data.sources import filed

_TITLE, _PUBLISHER = "Online Retail II, 2009-2010", f"{UCI}, no. 502"


@dataclass(frozen=True, slots=True)
class OnlineRetailCustomers:
    """Brand = country: a federation in which one brand is nearly everything."""

    name: str = "online_retail_customers"

    def load(self) -> DataSet:
        """Read the file and sum up every customer's orders."""
        path = filed("online_retail", "online_retail_ii_2009-2010.parquet", _TITLE, _PUBLISHER)
        return DataSet(
            self.name,
            customer_rows(pd.read_parquet(path)),
            Schema(_COLUMNS, "repeat"),
            "Country",
            "Customer ID",
            Provenance(
                _TITLE,
                _PUBLISHER,
                CC_BY,
                "525,461 invoice lines of a British online wholesaler. Lines without a customer "
                "(20.5 %), cancelled invoices and repeated lines are left out; one row a customer, "
                "in the country of the last order (five ordered from two). Brand = country, of "
                "which the United Kingdom is 92 %. Label: ordered more than once.",
            ),
        )


def customer_rows(lines: pd.DataFrame) -> pd.DataFrame:
    """One row per customer, from invoice lines.

    ``Country`` of the last order, ``spend`` in pounds, ``baskets`` (orders), ``basket_lines`` (mean
    lines of an order), ``recency_days`` before the last day of the data, ``repeat`` (1: more than
    one order).
    """
    lines = lines.drop_duplicates()
    kept = lines["Customer ID"].notna() & ~lines["Invoice"].astype(str).str.startswith("C")
    lines = lines[kept & (lines["Quantity"] > 0) & (lines["Price"] > 0)]
    days = pd.to_datetime(lines["InvoiceDate"]).dt.normalize()
    lines = lines.assign(spend=lines["Quantity"] * lines["Price"], ago=(days.max() - days).dt.days)
    grouped = lines.sort_values("ago", ascending=False, kind="stable").groupby("Customer ID")
    rows = grouped.agg(
        Country=("Country", "last"),
        spend=("spend", "sum"),
        baskets=("Invoice", "nunique"),
        lines=("Invoice", "size"),
        recency_days=("ago", "min"),
    ).reset_index()
    rows["basket_lines"] = rows.pop("lines") / rows["baskets"]
    rows["repeat"] = (rows["baskets"] > 1).astype(int)
    rows["Customer ID"] = rows["Customer ID"].astype(int)
    return rows


_COLUMNS = (
    Number("spend", 0, 50000, log=True),  # pounds; some customers are shops
    Number("baskets", 0, 100, log=True),
    Number("basket_lines", 0, 300, log=True),
    Number("recency_days", 0, 400),
)
