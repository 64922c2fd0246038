"""Beer at the stores of a grocery chain, week by week: the unit is a store-week, not a person."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fl.data.columns import Number
from fl.data.dataset import DataSet, Provenance
from fl.data.prepared import kept
from fl.data.schema import Schema
from fl.data.sources import filed
from fl.errors import InputError

_TITLE = "Dominick's, beer"
_PUBLISHER = "Kilts Center for Marketing, University of Chicago Booth School of Business"
_SIX_PACK = 72.0  # ounces
_CUT = 0.95  # of last week's price


@dataclass(frozen=True, slots=True)
class DominicksBeer:
    """Brand = store; one row per store and week in which it sold beer."""

    name: str = "dominicks_beer"

    def load(self) -> DataSet:
        """Read the publisher's three tables and sum up every store-week, once (``prepared.py``)."""
        path = filed("dominicks_beer", "dominicks-beer.rda", _TITLE, _PUBLISHER)
        return DataSet(
            self.name,
            kept(path, Path(__file__), lambda: store_weeks(**_read(path))),
            Schema(_COLUMNS, "price_cut"),
            "store",
            None,
            Provenance(
                _TITLE,
                _PUBLISHER,
                "research use",
                "1,600,572 rows of store, week and product, summed up to store-weeks: units sold, "
                "mean price of 72 ounces (a six-pack) weighted by what was sold, products sold, "
                "income of the store's area (logarithm of dollars, 1990 census). A row is a "
                "store-week: no row is about a person, and epsilon is for one store-week. Label: "
                "the mean price is at least 5 % below that of the store's week before.",
            ),
        )


def store_weeks(movement: pd.DataFrame, upc: pd.DataFrame, demo: pd.DataFrame) -> pd.DataFrame:
    """One row per store and week, from rows of store, product and week.

    ``units`` sold, ``price`` of 72 ounces in dollars, ``products`` sold, ``income`` of the store's
    area, ``price_cut`` (1 or 0; 0 in a store's first week).
    """
    sold = movement[(movement["MOVE"] > 0) & (movement["PRICE"] > 0)]
    ounces = sold["UPC"].astype(str).map(upc["OZ"])
    lines = pd.DataFrame(
        {
            "store": sold["STORE"].astype(str).to_numpy(),
            "week": sold["WEEK"].astype(str).astype(int).to_numpy(),
            "units": sold["MOVE"].astype(float).to_numpy(),
            "dollars": (sold["PRICE"] * sold["MOVE"].astype(float)).to_numpy(),
            "ounces": (ounces.astype(float) * sold["MOVE"].astype(float)).to_numpy(),
        }
    ).dropna()
    rows = (
        lines.assign(products=1)
        .groupby(["store", "week"], sort=True)[["units", "dollars", "ounces", "products"]]
        .sum()
        .reset_index()
    )
    rows["price"] = rows.pop("dollars") / rows.pop("ounces") * _SIX_PACK
    income = {str(store): float(value) for store, value in demo["income"].dropna().items()}
    rows["income"] = rows["store"].map(income)
    before = rows.groupby("store")["price"].shift()
    consecutive = rows.groupby("store")["week"].diff() == 1
    rows["price_cut"] = (consecutive & (rows["price"] < _CUT * before)).astype(int)
    rows["store"] = "store-" + rows["store"].str.zfill(3)
    return rows


def _read(path: Path) -> dict[str, pd.DataFrame]:
    """The tables of the publisher's file, by the names that :func:`store_weeks` knows them by.

    Raises:
        InputError: it is another file.
    """
    import rdata

    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # on encodings; it has three million texts, so this takes a while
            read = rdata.read_rda(path, default_encoding="ascii")
        return {"movement": read["wber"], "upc": read["upc"], "demo": read["demo"]}
    except (ValueError, KeyError, NotImplementedError, OSError) as error:
        raise InputError(
            "data.name", f"{path.name!r} is not the publisher's file", "copy it again"
        ) from error


_MISSING_INCOME = float(np.log(40000))  # of an area that the census does not describe
_COLUMNS = (
    Number("units", 0, 5000, log=True),
    Number("price", 0, 12),  # dollars for 72 ounces
    Number("products", 0, 300, log=True),
    Number("income", 9, 12, missing=_MISSING_INCOME),
)
