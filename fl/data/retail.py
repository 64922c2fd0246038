"""An online wholesaler's invoice lines, as histories, as purchases in time, and as churn.

Brand = country: the United Kingdom has 92 % of the customers, the others a handful each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from fl.data.dataset import CC_BY, UCI, DataSet, Provenance
from fl.data.histories import (
    BRAND,
    CUSTOMER,
    NEXT,
    SPLIT,
    Cut,
    catalogue_schema,
    history_rows,
    with_customers,
)
from fl.data.sources import filed

TITLE = "Online Retail II (2009-10)"
_PRODUCT = r"^\d{5}[A-Za-z]*$"  # other codes are postage, bank charges, corrections, tests
NOTE = (
    "525,461 invoice lines, Dec 2009 to Dec 2010. Left out: 20.5 % of lines without a customer, "
    "6,865 repeated lines, returns (C invoices), lines at no price, codes that are no product. "
    "Brand = country, as text of the file; many customers are wholesalers. "
)


@dataclass(frozen=True, slots=True)
class OnlineRetail:
    """What a customer's next invoice holds, from the products of the invoices before.

    Attributes:
        length, windows, targets, new_only, test_from, test_until: see
            :class:`fl.data.histories.Cut`.
        min_repeat: brands with fewer customers to test are left out; with ``test_from``, those
            with fewer to train on, as nobody knows then who will come back; 0 keeps all.
    """

    brands_by_size: ClassVar[bool] = True  # a customer may decide whether a country is kept

    name: str = "online_retail"
    length: int = 50
    windows: int = 1
    targets: int = 20
    new_only: bool = False
    min_repeat: int = 5
    test_from: str = ""
    test_until: str = ""

    def __post_init__(self) -> None:
        self._cut()
        if self.min_repeat < 0:
            raise ValueError(f"Expected min_repeat={self.min_repeat} >= 0.")

    def load(self) -> DataSet:
        """Read the file; the catalogue is what was sold, by the five digits of a product's code.

        With ``test_from``, what was sold before it: a new product is not in the catalogue, and
        whoever wants it is not served.
        """
        lines = products(invoice_lines())
        rows = history_rows(
            lines.rename(columns={"Invoice": "basket"}),
            self._cut(),
        )
        known = lines[lines["time"] < self.test_from] if self.test_from else lines
        catalogue = sorted(known["item"].unique())
        counted = "train" if self.test_from else "test"
        kept = with_customers(rows, self.min_repeat, counted)
        sizes = kept[kept[SPLIT] == counted].groupby(BRAND)[CUSTOMER].nunique()
        return DataSet(
            self.name,
            kept,
            catalogue_schema(catalogue),
            BRAND,
            CUSTOMER,
            Provenance(TITLE, f"{UCI}, no. 502", CC_BY, self._note(rows, kept, catalogue)),
            {str(brand): "large" if n >= 1000 else "small" for brand, n in sizes.items()},
            SPLIT,
        )

    def _note(self, rows: pd.DataFrame, kept: pd.DataFrame, catalogue: Sequence[str]) -> str:
        wanted = "products the customer never bought before" if self.new_only else "all products"
        brands = rows[BRAND].nunique() - kept[BRAND].nunique()
        note = f"{NOTE}Item = product, colours together. Looked for: {wanted}. "
        if not self.test_from:
            return note + (
                f"Catalogue: the {len(catalogue)} products that anybody bought. Left out: {brands} "
                f"countries with fewer than {self.min_repeat} customers to test."
            )
        asked = [item for row in kept[kept[SPLIT] == "test"][NEXT] for item in row]
        share = 1 - pd.Series(asked, dtype=object).isin(catalogue).mean() if asked else 0.0
        until = f", before {self.test_until}" if self.test_until else ""
        return note + (
            f"Tested: every invoice from {self.test_from} on that has one before it{until}. "
            f"Catalogue: the {len(catalogue)} products that anybody bought before that day; "
            f"{share:.1%} of what is looked for came later and counts as missed. Left out: "
            f"{brands} countries with fewer than {self.min_repeat} customers to train on, or with "
            "nobody to test."
        )

    def _cut(self) -> Cut:
        return Cut(
            self.length,
            self.windows,
            self.targets,
            self.new_only,
            self.test_from,
            self.test_until,
        )


def invoice_lines() -> pd.DataFrame:
    """Lines with a customer, once each, in order of time: ``brand``, ``customer``, ``time``, ..."""
    path = filed("online_retail", "online_retail_ii_2009-2010.parquet", TITLE, f"{UCI}, no. 502")
    lines = pd.read_parquet(path).drop_duplicates().dropna(subset=["Customer ID"])
    lines[CUSTOMER] = "c" + lines["Customer ID"].astype(int).astype(str)
    lines[BRAND] = lines["Country"].astype(str)
    lines["time"] = pd.to_datetime(lines["InvoiceDate"])
    lines["returned"] = lines["Invoice"].str.startswith("C")
    return lines.sort_values(["time", "Invoice"], kind="stable").reset_index(drop=True)


def products(lines: pd.DataFrame) -> pd.DataFrame:
    """Purchases of products, with ``item``: the product's five digits."""
    bought = ~lines["returned"] & (lines["Quantity"] > 0) & (lines["Price"] > 0)
    kept = lines[bought & lines["StockCode"].str.match(_PRODUCT)].copy()
    kept["item"] = kept["StockCode"].str[:5]
    return kept
