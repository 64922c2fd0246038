"""Rows of the grocery panel: what a household did before the cut-off, and whether it bought after.

Every feature is computed from that household's own purchases strictly before the cut-off; the label
from the weeks after it. The functions are pure: frames in, frame out.

Three groups of features: ``OWN`` (the household and this brand), ``KIND`` (the household and the
product categories that this brand is mainly in), ``HOUSEHOLD`` (all its shopping).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from fl.data.schema import Number

_MAIN_CATEGORIES = 3  # of a brand: those with most of its products before the cut-off
_DEPARTMENTS = {
    "grocery": ("GROCERY", "GRO BAKERY", "FROZEN GROCERY"),
    "fresh": ("PRODUCE", "MEAT", "MEAT-PCKGD", "DELI", "SEAFOOD", "SEAFOOD-PCKGD", "SALAD BAR"),
    "household": ("DRUG GM", "COSMETICS", "NUTRITION", "FLORAL"),
}


def brand_rows(lines: pd.DataFrame, brands: list[int], cutoff: int, horizon: int) -> pd.DataFrame:
    """One row per brand and household that bought it before the cut-off."""
    before, after = _cut(lines, cutoff, horizon)
    own = before[before["manufacturer_id"].isin(brands)]
    keys = ["manufacturer_id", "household_id"]
    rows = _features(own, before, keys, cutoff)
    rows = rows.merge(_kind(own, before, cutoff), on=keys, how="left")
    rows["kind_share"] = rows["spend"] / rows["kind_spend"].clip(lower=0.01)
    bought = after[keys].drop_duplicates().assign(converted=1)
    rows = rows.merge(bought, on=keys, how="left")
    rows["brand"] = "m" + rows.pop("manufacturer_id").astype(str)
    return _finished(rows)


def store_rows(
    lines: pd.DataFrame, departments: tuple[str, ...], cutoff: int, horizon: int, smallest: int
) -> pd.DataFrame:
    """One row per household at its home store; own history = the label's departments."""
    before, after = _cut(lines, cutoff, horizon)
    baskets = before.drop_duplicates("basket_id").groupby(["household_id", "store_id"]).size()
    counted = baskets.rename("baskets").reset_index()
    counted = counted.sort_values(
        ["household_id", "baskets", "store_id"], ascending=[True, False, True]
    )
    home = counted.drop_duplicates("household_id").set_index("household_id")["store_id"]
    sizes = home.value_counts()
    home = home[home.isin(sizes.index[sizes >= smallest])]
    before = before[before["household_id"].isin(home.index)]
    own = before[before["department"].isin(departments)]
    rows = _features(own, before, ["household_id"], cutoff, everybody=True)
    chosen = after[after["department"].isin(departments)]
    bought = chosen[["household_id"]].drop_duplicates().assign(converted=1)
    rows = rows.merge(bought, on="household_id", how="left")
    rows["brand"] = "s" + rows["household_id"].map(home).astype(str)
    return _finished(rows)


def _cut(lines: pd.DataFrame, cutoff: int, horizon: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    week = lines["week"]
    return lines[week < cutoff], lines[(week >= cutoff) & (week < cutoff + horizon)]


def _finished(rows: pd.DataFrame) -> pd.DataFrame:
    rows["converted"] = rows["converted"].fillna(0).astype(int)
    return rows.sort_values(["brand", "household_id"]).reset_index(drop=True)


# --- features ---------------------------------------------------------------------------------

OWN = (
    Number("recency_weeks", 0, 52),
    Number("baskets", 0, 60, log=True),
    Number("baskets_4", 0, 8, log=True),
    Number("baskets_8", 0, 16, log=True),
    Number("baskets_16", 0, 32, log=True),
    Number("weeks_active", 0, 45, log=True),
    Number("spend", 0, 500, log=True),
    Number("quantity", 0, 200, log=True),
    Number("price", 0, 20, log=True),
    Number("discount_share", 0, 1),
    Number("coupon_baskets", 0, 10, log=True),
    Number("products", 0, 40, log=True),
    Number("tenure_weeks", 0, 52),
    Number("gap_weeks", 0, 52, log=True),
    Number("due", 0, 4),
    Number("trend", -1, 1),
    Number("rate", 0, 1),
    Number("share_of_spend", 0, 0.2, log=False),
    Number("share_of_baskets", 0, 1),
    Number("basket_spend", 0, 200, log=True),
    Number("basket_lines", 0, 60, log=True),
)
KIND = (
    Number("kind_recency_weeks", 0, 52, missing=52),
    Number("kind_baskets", 0, 100, log=True, missing=0),
    Number("kind_baskets_8", 0, 20, log=True, missing=0),
    Number("kind_spend", 0, 1000, log=True, missing=0),
    Number("kind_share", 0, 1, missing=0),
)
HOUSEHOLD = (
    Number("home_recency_weeks", 0, 12, log=True),
    Number("home_baskets", 0, 300, log=True),
    Number("home_baskets_4", 0, 30, log=True),
    Number("home_spend", 0, 8000, log=True),
    Number("home_trend", -1, 1),
    Number("home_discount_share", 0, 0.5),
    Number("home_coupon_share", 0, 0.5),
    *(Number(f"share_{kind}", 0, 1) for kind in _DEPARTMENTS),
    Number("home_brands", 0, 300, log=True),
)


def _features(
    own: pd.DataFrame, before: pd.DataFrame, keys: list[str], cutoff: int, everybody: bool = False
) -> pd.DataFrame:
    """Features of each household's own-brand lines, and of all its lines, before the cut-off."""
    home = _household(before, cutoff)
    brand = _brand(own, before, keys, cutoff)
    if everybody:
        brand = home[["household_id"]].merge(brand, on=keys, how="left")
        brand["recency_weeks"] = brand["recency_weeks"].fillna(52)
        brand["gap_weeks"] = brand["gap_weeks"].fillna(52)
        brand = brand.fillna(0)
    rows = brand.merge(home, on="household_id")
    rows["share_of_spend"] = rows["spend"] / rows["home_spend"].clip(lower=1)
    rows["share_of_baskets"] = rows["baskets"] / rows["home_baskets"].clip(lower=1)
    rows["due"] = rows["recency_weeks"] / rows["gap_weeks"].clip(lower=1)
    return rows


def _brand(own: pd.DataFrame, before: pd.DataFrame, keys: list[str], cutoff: int) -> pd.DataFrame:
    ago = cutoff - own["week"]
    lines = own.assign(
        ago=ago, discount=own["retail_disc"].abs(), couponed=own["coupon_disc"].ne(0)
    )
    baskets = (
        lines.groupby([*keys, "basket_id"], sort=True)
        .agg(ago=("ago", "first"), couponed=("couponed", "any"))
        .reset_index()
    )
    for weeks in (4, 8, 16):
        baskets[f"in_{weeks}"] = baskets["ago"] <= weeks
    size = before.groupby("basket_id").agg(
        basket_spend=("sales_value", "sum"), basket_lines=("product_id", "size")
    )
    baskets = baskets.merge(size, left_on="basket_id", right_index=True)
    by_basket = baskets.groupby(keys).agg(
        recency_weeks=("ago", "min"),
        tenure_weeks=("ago", "max"),
        baskets=("basket_id", "size"),
        weeks_active=("ago", "nunique"),
        baskets_4=("in_4", "sum"),
        baskets_8=("in_8", "sum"),
        baskets_16=("in_16", "sum"),
        coupon_baskets=("couponed", "sum"),
        basket_spend=("basket_spend", "mean"),
        basket_lines=("basket_lines", "mean"),
    )
    by_line = lines.groupby(keys).agg(
        spend=("sales_value", "sum"),
        quantity=("quantity", "sum"),
        discount=("discount", "sum"),
        products=("product_id", "nunique"),
    )
    rows = by_basket.join(by_line).reset_index()
    rows["price"] = rows["spend"] / rows["quantity"].clip(lower=1)
    full = (rows["spend"] + rows["discount"]).clip(lower=0.01)
    rows["discount_share"] = rows.pop("discount") / full
    span = rows["tenure_weeks"] - rows["recency_weeks"]
    rows["gap_weeks"] = np.where(
        rows["weeks_active"] > 1, span / (rows["weeks_active"] - 1).clip(lower=1), 52.0
    )
    earlier = rows["baskets_16"] - rows["baskets_8"]
    rows["trend"] = (rows["baskets_8"] - earlier) / (rows["baskets_16"]).clip(lower=1)
    rows["rate"] = rows["weeks_active"] / rows["tenure_weeks"].clip(lower=1)
    return rows


def _kind(own: pd.DataFrame, before: pd.DataFrame, cutoff: int) -> pd.DataFrame:
    """What a brand's households bought, of anybody, in the brand's main product categories."""
    products = own.drop_duplicates("product_id").groupby(["manufacturer_id", "product_category"])
    counted = products.size().rename("products").reset_index()
    order = ["manufacturer_id", "products", "product_category"]
    counted = counted.sort_values(order, ascending=[True, False, True])
    main = counted.groupby("manufacturer_id").head(_MAIN_CATEGORIES).drop(columns="products")
    keys = ["manufacturer_id", "household_id"]
    lines = before[["household_id", "product_category", "basket_id", "week", "sales_value"]]
    lines = lines.merge(main, on="product_category").merge(own[keys].drop_duplicates(), on=keys)
    spend = lines.groupby(keys)["sales_value"].sum().rename("kind_spend")
    baskets = lines.drop_duplicates(["manufacturer_id", "basket_id"])
    ago = cutoff - baskets["week"]
    counts = (
        baskets.assign(ago=ago, recent=ago <= 8)
        .groupby(keys)
        .agg(
            kind_recency_weeks=("ago", "min"),
            kind_baskets=("ago", "size"),
            kind_baskets_8=("recent", "sum"),
        )
    )
    return counts.join(spend).reset_index()


def _household(before: pd.DataFrame, cutoff: int) -> pd.DataFrame:
    lines = before.assign(
        ago=cutoff - before["week"],
        discount=before["retail_disc"].abs(),
        couponed=before["coupon_disc"].ne(0),
    )
    for kind, departments in _DEPARTMENTS.items():
        lines[f"share_{kind}"] = lines["sales_value"].where(
            lines["department"].isin(departments), 0
        )
    baskets = lines.groupby("basket_id").agg(
        household_id=("household_id", "first"), ago=("ago", "first"), couponed=("couponed", "any")
    )
    for weeks in (4, 8):
        baskets[f"in_{weeks}"] = baskets["ago"] <= weeks
    by_basket = baskets.groupby("household_id").agg(
        home_recency_weeks=("ago", "min"),
        home_baskets=("ago", "size"),
        home_baskets_4=("in_4", "sum"),
        recent=("in_8", "sum"),
        home_coupon_share=("couponed", "mean"),
    )
    sums = {f"share_{kind}": (f"share_{kind}", "sum") for kind in _DEPARTMENTS}
    by_line = lines.groupby("household_id").agg(
        home_spend=("sales_value", "sum"),
        discount=("discount", "sum"),
        home_brands=("manufacturer_id", "nunique"),
        **sums,
    )
    rows = by_basket.join(by_line).reset_index()
    spend = rows["home_spend"].clip(lower=0.01)
    rows["home_discount_share"] = rows.pop("discount") / (spend + 0.01)
    for kind in _DEPARTMENTS:
        rows[f"share_{kind}"] = rows[f"share_{kind}"] / spend
    expected = rows["home_baskets"] * 8 / (cutoff - 1)
    recent = rows.pop("recent")
    rows["home_trend"] = (recent - expected) / (recent + expected).clip(lower=1)
    return rows
