"""Whether, and when, an online wholesaler's customer buys again; brand = country.

Two tables of the same invoices for ``task=conversion``: churn (one row a customer: no invoice
within 90 days of a date) and time to the next purchase as a discrete-time hazard (Singer and
Willett, "It's About Time: Using Discrete-Time Survival Analysis", 1993): one row for each fortnight
in which a customer could have bought, labelled by whether it was that of the next invoice. The log
loss of that label is the likelihood of the waiting time: any model of a label is a hazard model.
That holds for waits that are chosen before it is known how they end, as the first ones from a date
are; a customer's latest waits would always end with the one that is not over.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from fl.data.dataset import CC_BY, UCI, DataSet, Provenance
from fl.data.histories import BRAND, CUSTOMER
from fl.data.retail import NOTE, TITLE, invoice_lines
from fl.data.schema import Category, Number, Schema

_DAY = pd.Timedelta(days=1)
_START, _END = pd.Timestamp("2009-12-01"), pd.Timestamp("2010-12-10")  # of the file
_FORTNIGHTS = 12  # waiting time from here on is one category
_PAST = (
    Number("recency_days", 0, 365, log=True),
    Number("invoices", 0, 60, log=True),
    Number("gap_days", 0, 365, log=True),
    Number("spend", 0, 20_000, log=True),
    Number("spend_an_invoice", 0, 5_000, log=True),
    Number("products_an_invoice", 0, 200, log=True),
    Number("returns", 0, 20, log=True),
    Number("tenure_days", 0, 365, log=True),
)


@dataclass(frozen=True, slots=True)
class RetailChurn:
    """One row per customer who bought before the cut-off; label 1: no invoice in the days after.

    Attributes:
        cutoff_days: the cut-off in days after 1 December 2009, in [60, 300].
        horizon_days: length of the outcome window, >= 7, ending by 9 December 2010.
    """

    name: str = "retail_churn"
    cutoff_days: int = 280
    horizon_days: int = 90

    def __post_init__(self) -> None:
        if not 60 <= self.cutoff_days <= 300 or self.horizon_days < 7:
            raise ValueError(
                f"Expected cutoff_days={self.cutoff_days} in [60, 300] and "
                f"horizon_days={self.horizon_days} >= 7."
            )
        if self.cutoff_days + self.horizon_days > 374:
            raise ValueError(
                f"Expected horizon_days={self.horizon_days} to end by day 374 of the file."
            )

    def load(self) -> DataSet:
        """Features from invoices before the cut-off, the label from those after it."""
        invoices, cutoff = _invoices(), _START + self.cutoff_days * _DAY
        rows = _past(invoices, cutoff)
        after = invoices[(invoices["time"] >= cutoff) & ~invoices["returned"]]
        after = after[after["time"] < cutoff + self.horizon_days * _DAY]
        rows["churned"] = (~rows[CUSTOMER].isin(after[CUSTOMER])).astype(int)
        note = f"Label: no invoice within {self.horizon_days} days of {cutoff.date()}."
        return _data_set(self.name, rows, Schema(_PAST, "churned"), note)


@dataclass(frozen=True, slots=True)
class RetailHazard:
    """One row per customer and fortnight at risk; label 1: the next invoice falls into it.

    Waiting starts anew with every invoice; what is not over by the end of the file is censored: its
    fortnights all have label 0.

    Attributes:
        period_days: length of a period, in [7, 60].
        spells: waiting times of a customer, the first ones that begin on or after the date, >= 1.
        start_days: that date in days after 1 December 2009, in [0, 300]; invoices before it are
            past.
    """

    name: str = "retail_hazard"
    period_days: int = 14
    spells: int = 3
    start_days: int = 90

    def __post_init__(self) -> None:
        if not 7 <= self.period_days <= 60 or self.spells < 1:
            raise ValueError(
                f"Expected period_days={self.period_days} in [7, 60] and spells={self.spells} >= 1."
            )
        if not 0 <= self.start_days <= 300:
            raise ValueError(f"Expected start_days={self.start_days} in [0, 300].")

    def load(self) -> DataSet:
        """Features are those of the day on which waiting began, and how long it has lasted."""
        invoices = _invoices()
        bought = invoices[~invoices["returned"]].drop_duplicates([CUSTOMER, "day"])
        found = []
        for who, own in bought.groupby(CUSTOMER, sort=True):
            days = own["day"].to_numpy()
            first = int(np.searchsorted(days, self.start_days))
            for i in range(first, min(first + self.spells, len(days))):
                found.append((who, days[i], days[i + 1] if i + 1 < len(days) else -1))
        spells = pd.DataFrame(found, columns=[CUSTOMER, "day", "until"])
        rows = _at_risk(spells, self.period_days).merge(_running(bought), on=[CUSTOMER, "day"])
        waited = Category("waited", tuple(str(i) for i in range(1, _FORTNIGHTS)))
        columns = tuple(c for c in _PAST if c.name not in ("recency_days", "returns"))
        note = (
            f"One row per customer and {self.period_days} days at risk after an invoice, the first "
            f"{self.spells} waits of each customer that begin on or after "
            f"{(_START + self.start_days * _DAY).date()}; label: the next invoice falls into them."
        )
        return _data_set(self.name, rows, Schema((waited, *columns), "bought"), note)


def _invoices() -> pd.DataFrame:
    """Invoices in order of time: brand, customer, time, day, spend, products, returned."""
    lines = invoice_lines()
    lines["spend"] = lines["Quantity"] * lines["Price"]
    keys = [BRAND, CUSTOMER, "Invoice", "returned"]
    of = lines.groupby(keys, sort=False, as_index=False)
    invoices = of.agg(
        time=("time", "min"), spend=("spend", "sum"), products=("StockCode", "nunique")
    )
    invoices["day"] = (invoices["time"].dt.normalize() - _START) // _DAY
    return invoices.sort_values(["time", "Invoice"], kind="stable").reset_index(drop=True)


def _past(invoices: pd.DataFrame, cutoff: pd.Timestamp) -> pd.DataFrame:
    """One row per customer: what is known on the cut-off day."""
    before = invoices[invoices["time"] < cutoff]
    bought = before[~before["returned"]]
    of = bought.groupby([BRAND, CUSTOMER], as_index=False)
    rows = of.agg(
        invoices=("Invoice", "size"),
        first=("time", "min"),
        last=("time", "max"),
        spend=("spend", "sum"),
        products_an_invoice=("products", "mean"),
    )
    rows["recency_days"] = (cutoff - rows["last"]).dt.total_seconds() / 86_400
    rows["tenure_days"] = (cutoff - rows["first"]).dt.total_seconds() / 86_400
    between = rows["tenure_days"] - rows["recency_days"]
    rows["gap_days"] = between / (rows["invoices"] - 1).clip(lower=1)
    rows["spend_an_invoice"] = rows["spend"] / rows["invoices"]
    returned = before[before["returned"]].groupby(CUSTOMER).size()
    rows["returns"] = rows[CUSTOMER].map(returned).fillna(0.0)
    return rows.drop(columns=["first", "last"])


def _running(bought: pd.DataFrame) -> pd.DataFrame:
    """What is known of a customer on the day of each purchase, that purchase included."""
    rows = bought.sort_values([CUSTOMER, "day"], kind="stable").copy()
    of = rows.groupby(CUSTOMER)
    rows["invoices"] = of.cumcount() + 1
    rows["spend"] = of["spend"].cumsum()
    rows["products_an_invoice"] = of["products"].cumsum() / rows["invoices"]
    rows["tenure_days"] = rows["day"] - of["day"].transform("first")
    rows["gap_days"] = rows["tenure_days"] / (rows["invoices"] - 1).clip(lower=1)
    rows["spend_an_invoice"] = rows["spend"] / rows["invoices"]
    kept = [c.name for c in _PAST if c.name in rows.columns]
    return rows[[BRAND, CUSTOMER, "day", *kept]]


def _at_risk(spells: pd.DataFrame, period: int) -> pd.DataFrame:
    """A row for each whole period of each wait, the last with label 1 where a purchase ended it."""
    last_day = (_END - _START) // _DAY
    ended = spells["until"] >= 0
    waited = np.where(ended, spells["until"] - spells["day"], last_day - spells["day"])
    # A purchase in period p is in rows 1..p; a censored wait has only periods that were seen whole.
    periods = np.where(ended, (waited - 1) // period + 1, waited // period)
    rows = spells.loc[spells.index.repeat(periods)].copy()
    at = rows.groupby(level=0).cumcount() + 1
    final = at.to_numpy() == np.repeat(periods, periods)
    rows["bought"] = (final & (rows["until"] >= 0)).astype(int)
    rows["waited"] = np.minimum(at, _FORTNIGHTS).astype(str)
    return rows.drop(columns="until").reset_index(drop=True)


def _data_set(name: str, rows: pd.DataFrame, schema: Schema, note: str) -> DataSet:
    sizes = rows.groupby(BRAND)[CUSTOMER].nunique()
    return DataSet(
        name,
        rows.sort_values([BRAND, CUSTOMER], kind="stable").reset_index(drop=True),
        schema,
        BRAND,
        CUSTOMER,
        Provenance(TITLE, f"{UCI}, no. 502", CC_BY, NOTE + note),
        {str(brand): "large" if n >= 1000 else "small" for brand, n in sizes.items()},
    )
