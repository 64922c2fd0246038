"""What became of customers that were handed over: read back, checked, kept for calibration.

Two Parquet files of the node's owner: ``data/handed_over.parquet`` (who was handed to which team,
with which score, when) and ``data/outcomes.parquet`` (who did, and who did not, do it then).
"""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd

from clients.data_folder import DataFolder, quarantine, unquoted
from fl.data.consistency import Batch, Limits, unique
from fl.data.contract import Checked, Field, by_clocks, check_fields, fresh
from fl.data.mapping import Mapped
from fl.data.sources import read
from fl.errors import InputError
from fl.report.files import atomic_write

HANDED = ("customer", "team", "model", "at", "score", "probability")
KEPT = ("customer", "outcome", "date", "model", "score", "probability")
_ANSWER = ["customer", "date"]  # of which there is one
_FIELDS = {
    "customer": Field("text", required=True),
    "outcome": Field("text", required=True, values=("0", "1")),
    "date": Field("time", required=True),
}


def require_names(mapped: Mapped) -> None:
    """Refuse to hand over, or to take outcomes, where a customer is called by the row's number.

    After the next export that number is another row's, and its outcome would be taken for theirs.

    Raises:
        InputError: rows name no customer.
    """
    if mapped.rows is not None and not mapped.rows.customer:
        raise InputError(
            "mapping, rows.customer",
            "is empty, and the number of a row, which changes with every export, is no name under "
            "which a customer is handed over and an outcome comes back",
            "name the column of the customer, or score without teams and outcomes",
        )


def handed_over(folder: DataFolder) -> pd.DataFrame:
    """Everybody who was ever handed over, with the columns ``HANDED``."""
    return _read(folder.file("handed_over.parquet"), HANDED)


def remember(folder: DataFolder, rows: pd.DataFrame) -> None:
    """Add a hand-over list (columns ``HANDED``) to those before; handed over twice is twice."""
    _add(folder.file("handed_over.parquet"), rows, HANDED)


def outcomes(folder: DataFolder) -> pd.DataFrame:
    """All outcomes that were accepted, with the columns ``KEPT``; ``outcome`` is 0 or 1."""
    return _read(folder.file("outcomes.parquet"), KEPT)


def accept(
    folder: DataFolder, path: Path, now: pd.Timestamp, limits: Limits, zone: str = "UTC"
) -> Checked:
    """Check an outcome file and keep what is right of it; the rest goes to the quarantine.

    Args:
        folder: the node's.
        path: CSV or Parquet with ``customer`` (as in the hand-over list), ``outcome`` (1: did it,
            0: did not) and ``date`` (when that was known, ISO 8601).
        now: naive, in UTC; what is later is in the future.
        limits, zone: of the mapping file.

    Raises:
        InputError: no such file, a missing column, or more rejected rows than the limits allow;
            nothing is kept then.
    """
    rows = read(path, "outcomes", empty=True, text=["customer", "outcome"])
    for column in _FIELDS:
        if column not in rows.columns:
            raise InputError(
                "outcomes",
                f"{path.name!r} has no column {column!r}",
                "give customer, outcome, date",
            )
    rows = rows[list(_FIELDS)]
    rows["customer"] = unquoted(rows["customer"].astype("str"))
    checked = check_fields(fresh("outcomes", rows), _FIELDS, zone=zone)
    before = handed_over(folder)
    before = before.assign(at=by_clocks(before["at"], zone))
    now = by_clocks(pd.Series([now]), zone).iloc[0]
    first = before.groupby("customer")["at"].min()
    handed = checked.rows["customer"].map(first)
    checked = checked.reject(
        {
            "customer was never handed over": handed.isna().to_numpy(bool),
            "date is before the customer was handed over": (
                checked.rows["date"] < handed.dt.normalize()
            ).to_numpy(bool),
            "date is in the future": (checked.rows["date"] > now).to_numpy(bool),
        }
    )
    checked = unique(checked, _ANSWER)
    checked = checked.found("outcomes that replace earlier ones", _changed(folder, checked.rows))
    batch = Batch((checked,))
    quarantine(folder, batch, reading=False)
    batch.require(limits, {})
    kept = _matched(checked.rows, before)
    _add(folder.file("outcomes.parquet"), kept, KEPT, same=_ANSWER)
    return checked


def _changed(folder: DataFolder, rows: pd.DataFrame) -> int:
    """How many customers' answers for a day were kept before with the other outcome."""
    now = rows.assign(outcome=rows["outcome"].astype("int64"))[[*_ANSWER, "outcome"]]
    both = outcomes(folder)[[*_ANSWER, "outcome"]].merge(now, on=_ANSWER)
    return int((both["outcome_x"] != both["outcome_y"]).sum())


def _matched(rows: pd.DataFrame, before: pd.DataFrame) -> pd.DataFrame:
    """Each outcome with the last score that its customer was handed over with by then."""
    rows = rows.assign(outcome=rows["outcome"].astype("int64")).sort_values("date")
    at = before["at"].dt.normalize().astype("datetime64[s]")
    day = before.assign(day=at).sort_values("day")
    return pd.merge_asof(
        rows,
        day[["customer", "day", "model", "score", "probability"]],
        left_on="date",
        right_on="day",
        by="customer",
    )


def _read(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    if not path.exists():
        empty = pd.DataFrame({name: pd.Series(dtype=object) for name in columns})
        times = {
            name: empty[name].astype("datetime64[s]") for name in ("at", "date") if name in empty
        }
        return empty.assign(**times)
    try:
        return pd.read_parquet(path)[list(columns)]
    except (ValueError, KeyError, OSError) as error:
        raise InputError(
            f"data, {path.name}", "cannot be read", "restore it from your backup"
        ) from error


def _add(
    path: Path, rows: pd.DataFrame, columns: tuple[str, ...], same: list[str] | None = None
) -> None:
    """Add rows in one step; of those alike in ``same`` (None: in everything) the newest stays."""
    rows = rows[list(columns)]
    if path.exists():
        rows = pd.concat([_read(path, columns), rows], ignore_index=True)
        rows = rows.drop_duplicates(same, keep="last")
    out = io.BytesIO()
    rows.reset_index(drop=True).to_parquet(out)
    atomic_write(path, out.getvalue(), private=True)
