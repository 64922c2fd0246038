"""Level 2 of three: whether a batch of tables is whole, and whether its tables fit together.

Rows that contradict another table are set aside like those that failed by themselves; what concerns
a whole table (too old, too short, too much of it set aside) stops the run by ``[limits]``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fl.data.contract import REASONS, Checked
from fl.errors import InputError


@dataclass(frozen=True, slots=True)
class Limits:
    """``[limits]``: what stops a run.

    Attributes:
        rejected_share: of a table's rows, in [0, 1].
        wrong_share: of the rows that the manual check may find wrong, by the upper end of its 95 %
            interval, in (0, 1].
        stale_days: age of the newest event, > 0.
        shrink_share: by which a table may be shorter than at the last accepted reading, in [0, 1].
        min_rows: of every table, >= 1.
    """

    rejected_share: float = 0.05
    wrong_share: float = 0.1
    stale_days: float = math.inf
    shrink_share: float = 0.5
    min_rows: int = 1

    def __post_init__(self) -> None:
        if not (0 <= self.rejected_share <= 1 and 0 <= self.shrink_share <= 1):
            raise ValueError("Expected rejected_share and shrink_share in [0, 1].")
        if not 0 < self.wrong_share <= 1 or not self.stale_days > 0 or self.min_rows < 1:
            raise ValueError("Expected wrong_share in (0, 1], stale_days > 0 and min_rows >= 1.")


def unique(table: Checked, key: Sequence[str]) -> Checked:
    """One row for each ``key``: equal rows count once, of different ones none is believed.

    >>> from fl.data.contract import fresh
    >>> rows = pd.DataFrame({"id": ["a", "a", "b", "b"], "age": [1, 1, 2, 3]})
    >>> unique(fresh("customers", rows), ["id"]).rows["id"].tolist()
    ['a']
    """
    again = table.rows.duplicated(list(key), keep=False).to_numpy()
    same = table.rows.duplicated(keep="first").to_numpy()
    several = table.rows[~same].duplicated(list(key), keep=False)
    different = np.zeros(len(table.rows), bool)
    different[~same] = several.to_numpy()
    copies = again & same
    named = " and ".join(key)
    # a copy of a row that is not believed is not believed either
    torn = table.rows.loc[different, list(key)].drop_duplicates()
    if len(torn):
        keys = pd.MultiIndex.from_frame(table.rows[list(key)])
        different |= keys.isin(pd.MultiIndex.from_frame(torn))
    return table.reject(
        {
            f"another row has the same {named} and other cells": different,
            f"repeats a row ({named})": copies & ~different,
        }
    )


def known(table: Checked, column: str, other: Checked, key: str) -> Checked:
    """Rows whose ``column`` is a ``key`` of another table."""
    strange = ~table.rows[column].isin(other.rows[key]).to_numpy(bool)
    return table.reject({f"{column} is not in {other.name}": strange})


def dated(table: Checked, earliest: pd.Timestamp, now: pd.Timestamp) -> Checked:
    """Rows whose ``time`` is in [earliest, now]."""
    time = table.rows["time"]
    return table.reject(
        {
            f"time is before {earliest:%Y-%m-%d}": (time < earliest).to_numpy(bool),
            "time is in the future": (time > now).to_numpy(bool),
        }
    )


def recent(table: Checked, now: pd.Timestamp, limits: Limits) -> Checked:
    """A finding that stops where the newest event is older than the limit allows."""
    if math.isinf(limits.stale_days) or table.rows.empty:
        return table
    days = (now - table.rows["time"].max()).total_seconds() / 86_400
    if days <= limits.stale_days:
        return table
    return table.found(
        f"the newest event is {days:.0f} days old, limits.stale_days = {limits.stale_days:g}",
        0,
        stops=True,
    )


def one_customer_an_order(table: Checked) -> Checked:
    """Events whose ``order`` belongs to one customer."""
    order = table.rows["order"]
    filled = order.notna()
    owners = table.rows[filled].groupby("order")["customer"].nunique()
    torn = order.isin(owners.index[owners > 1]).to_numpy(bool)
    return table.reject({"its order has lines of several customers": torn})


def totals(table: Checked, orders: Checked, tolerance: float) -> Checked:
    """Events whose order's lines add up to the order's ``total``, within ``tolerance``.

    Lines of an order that is not in ``orders`` are set aside too.
    """
    order, sums = table.rows["order"], table.rows.groupby("order")["amount"].sum()
    stated = orders.rows.set_index("order")["total"]
    off = (sums - stated.reindex(sums.index)).abs()
    wrong = order.isin(off.index[off > tolerance]).to_numpy(bool)
    strange = order.notna().to_numpy(bool) & ~order.isin(stated.index).to_numpy(bool)
    checked = table.reject(
        {"its order's lines do not add up to the total": wrong, "order is not in orders": strange}
    )
    bare = int((~orders.rows["order"].isin(order)).sum())
    return checked.found("orders without any line", bare)


def repeated(table: Checked) -> Checked:
    """A finding about equal rows, which may be right (two equal lines of one order)."""
    rows = table.rows
    if any(name in rows and rows[name].is_unique for name in ("customer", "order")):
        return table
    return table.found("rows repeat another row", int(rows.duplicated().sum()))


@dataclass(frozen=True, slots=True)
class Batch:
    """All tables of one reading after their checks."""

    tables: tuple[Checked, ...] = ()

    def require(self, limits: Limits, before: Mapping[str, int]) -> None:
        """Stop where a limit is passed.

        Args:
            limits: of the mapping file.
            before: rows of each table at the last accepted reading.

        Raises:
            InputError: the first reason to stop; says no more than names, counts and limits.
        """
        for table in self.tables:
            where, read, bad = f"data, table {table.name}", table.read, len(table.rejected)
            if read < limits.min_rows:
                raise InputError(
                    where,
                    f"has {read} rows, fewer than limits.min_rows = {limits.min_rows}",
                    "check the table and what the user may see of it",
                )
            if bad > limits.rejected_share * read:
                first = table.rejected[REASONS].str.split("; ").str[0]
                raise InputError(
                    where,
                    f"{bad} of {read} rows are rejected, more than limits.rejected_share = "
                    f"{limits.rejected_share:g}; the commonest reason: {first.mode().iloc[0]}",
                    "look at the quarantine file; mend the rows, the mapping or the limit",
                )
            if read < before.get(table.name, 0) * (1 - limits.shrink_share):
                raise InputError(
                    where,
                    f"has {read} rows where there were {before[table.name]}, a loss beyond "
                    f"limits.shrink_share = {limits.shrink_share:g}",
                    "check the export; if it is right, run fl-node check --accept-shorter",
                )
            for finding in table.findings:
                if finding.stops:
                    raise InputError(where, finding.problem, "see fl-node check")
