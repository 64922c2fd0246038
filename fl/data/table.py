"""The user's own file: one table, its label column, and, if it has them, brands and customers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from fl.data.campaign import Campaign
from fl.data.dataset import DataSet, Provenance
from fl.data.schema import Schema, column
from fl.data.sources import read
from fl.errors import InputError

_USUAL = {
    "1": "1",
    "1.0": "1",
    "true": "1",
    "yes": "1",
    "0": "0",
    "0.0": "0",
    "false": "0",
    "no": "0",
}


@dataclass(frozen=True, slots=True)
class Table:
    """A CSV or Parquet file.

    Attributes:
        path: the file.
        label: the column to predict.
        brand_column: names each row's brand; None where the partition makes brands.
        customer_column: names the customer; None where each row is a customer.
        positive: the label's value that counts as 1.
        negative: the label's values that count as 0. Where ``positive`` and ``negative`` are left
            at "1" and "0", true/false, yes/no and 1/0 in any case are understood as well.
        columns: features by name, ``{low, high, log, missing}``, ``{values}`` or ``{buckets}``.
            Empty: the schema comes out without columns, and the framework asks the brands what the
            columns look like by a counted query over training rows.
        drop: columns that are no features; with ``columns`` given, anything not listed is none.
        campaign: who was treated, for tasks that ask what that changed.
    """

    name: str = "table"
    path: str = ""
    label: str = ""
    brand_column: str | None = None
    customer_column: str | None = None
    positive: str = "1"
    negative: tuple[str, ...] = ("0",)
    columns: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    campaign: Campaign | None = None

    def __post_init__(self) -> None:
        if self.positive in self.negative:
            raise ValueError(f"Expected positive={self.positive!r} not to be a negative value.")
        if not self.negative:
            raise ValueError("Expected negative to name at least one value.")
        if self.brand_column is not None and self.brand_column == self.customer_column:
            raise ValueError(
                f"Expected customer_column={self.customer_column!r} not to be the brand_column."
            )
        special = {self.label, self.brand_column, self.customer_column} - {"", None}
        if dropped := special & set(self.drop):
            raise ValueError(f"Expected drop not to name {sorted(map(str, dropped))[0]!r}.")
        if self.columns and (clash := special & set(self.columns)):
            raise ValueError(f"Expected columns not to name {sorted(map(str, clash))[0]!r}.")
        of_campaign = set(self.campaign.columns) if self.campaign else set()
        for where, names in (("columns", list(self.columns)), ("label", [self.label])):
            if both := sorted(of_campaign.intersection(names)):
                raise InputError(
                    "data.campaign",
                    f"column {both[0]!r} is the campaign's and data.{where}'s too",
                    "who was treated is no feature and no label: take it out of one of the two",
                )

    def load(self) -> DataSet:
        """Read the file and check that the named columns are in it.

        Raises:
            InputError: no path, no such file, a column that is not there, an empty brand cell.
        """
        rows = self._read()
        for name, where in (
            (self.label, "label"),
            (self.brand_column, "brand_column"),
            (self.customer_column, "customer_column"),
            *((c, "campaign") for c in (self.campaign.columns if self.campaign else ())),
        ):
            if name is not None:
                _require_column(rows, name, f"data.{where}")
        for name in self.drop:
            _require_column(rows, name, "data.drop")
        rows = rows.drop(columns=list(self.drop))
        for name, where in ((self.brand_column, "brand"), (self.customer_column, "customer")):
            if name is not None:
                _require_filled(rows[name], name, where)
        if self.positive == "1" and self.negative == ("0",):
            rows = rows.assign(**{self.label: _usual(rows[self.label])})
        columns = tuple(column(name, spec) for name, spec in self.columns.items())
        if not columns:
            special = {self.label, self.brand_column, self.customer_column}
            special |= set(self.campaign.columns) if self.campaign else set()
            rows = rows.apply(lambda cells: cells if cells.name in special else _undeclared(cells))
        return DataSet(
            self.name,
            rows,
            Schema(columns, self.label, self.positive, self.negative, campaign=self.campaign),
            self.brand_column,
            self.customer_column,
            Provenance(Path(self.path).name, "the user's own file", "the user's own", _NOTE),
        )

    def _read(self) -> pd.DataFrame:
        if not self.path:
            raise InputError(
                "data.path", "no file is named", "set data.path=FILE.csv and data.label=COLUMN"
            )
        rows = read(self.path)
        rows.columns = pd.Index([str(name).strip() for name in rows.columns])
        if repeated := sorted(rows.columns[rows.columns.duplicated()]):
            raise InputError("data.path", f"two columns are called {repeated[0]!r}", "rename one")
        if not self.label:
            raise InputError(
                "data.label", "no label column is named", f"set it to one of {_listed(rows)}"
            )
        return rows


_NOTE = "Read as it is; nothing is known of how it was made."


def _require_column(rows: pd.DataFrame, name: str, where: str) -> None:
    if name not in rows.columns:
        raise InputError(where, f"no column {name!r} in the file", f"name one of {_listed(rows)}")


def _listed(rows: pd.DataFrame) -> str:
    names = [str(name) for name in rows.columns]
    return ", ".join(names[:30]) + (f" and {len(names) - 30} more" if len(names) > 30 else "")


def _require_filled(cells: pd.Series, name: str, where: str) -> None:
    empty = cells.isna().to_numpy()
    if empty.any():
        raise InputError(
            f"data.{where}_column",
            f"column {name!r} is empty in {int(empty.sum())} rows, first in row "
            f"{int(empty.argmax()) + 1}",
            f"fill in the {where} or remove the rows",
        )


def _undeclared(cells: pd.Series) -> pd.Series:
    """A column whose kind nobody stated: numbers if all filled cells are, else text as it is.

    Raises:
        InputError: an infinite number, or an empty cell among numbers.
    """
    if cells.dtype.kind in "mM":  # a moment or a duration
        return cells.map(str, na_action="ignore")
    try:
        numbers = pd.to_numeric(cells)
    except (ValueError, TypeError):
        return cells
    filled = numbers.notna().to_numpy()
    bad = np.isinf(numbers.to_numpy(np.float64, na_value=np.nan))
    bad |= ~filled if filled.any() else False
    if bad.any():
        at = int(bad.argmax())
        raise InputError(
            f"data, column {cells.name}, row {at + 1}",
            f"value {float(numbers.iloc[at])} is not a finite number ({int(bad.sum())} such rows)",
            "correct or drop the rows, leave the column out (data.drop), or state every column "
            "and what an empty cell counts as: "
            f"data.columns={{{cells.name}: {{low: ..., high: ..., missing: ...}}, ...}}",
        )
    return numbers


def _usual(labels: pd.Series) -> pd.Series:
    """``1`` and ``0`` for the usual pairs; other cells stay, for the schema to refuse."""
    texts = labels.map(lambda cell: _USUAL.get(str(cell).strip().lower()), na_action="ignore")
    return texts.astype(object).where(texts.notna(), labels)
