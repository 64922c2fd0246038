"""What a brand's rows must be before they are used. Level 1 of three: one cell at a time.

Level 2 (``consistency.py``) looks at a table and at how tables fit together, level 3 is a person
with a sample (``manual.py``). A row that fails is set aside with its reasons, never mended
and never lost; what concerns a whole batch is a finding. Too much of either stops the run.

Tables here have the names and columns of the mapping (``events.amount``), not the brand's own.
Nothing in a message is a cell: reasons and findings hold names, counts and limits only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from fl.data.columns import texts

Mask = npt.NDArray[np.bool_]
REASONS = "reasons"
_OFFSET = r"\d:\d\d.*(?:Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)$"  # a time that says its zone


@dataclass(frozen=True, slots=True)
class Field:
    """``[fields.TABLE.COLUMN]``: what a cell may be.

    Attributes:
        kind: ``text``, ``number`` or ``time``.
        required: whether a row without it is rejected.
        low, high: of a number, inclusive.
        values: of a text, if there is a list.
        longest: of a text, in characters, >= 1.
    """

    kind: str = "text"
    required: bool = False
    low: float = -math.inf
    high: float = math.inf
    values: tuple[str, ...] = ()
    longest: int = 200

    def __post_init__(self) -> None:
        if self.kind not in ("text", "number", "time"):
            raise ValueError(f"Expected kind={self.kind!r} to be text, number or time.")
        if not self.low < self.high:
            raise ValueError(f"Expected low={self.low:g} < high={self.high:g}.")
        if self.longest < 1:
            raise ValueError(f"Expected longest={self.longest} >= 1.")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a batch.

    Attributes:
        table: which one.
        problem: what was found, without any cell.
        rows: how many it concerns.
        stops: whether the run must not go on.
    """

    table: str
    problem: str
    rows: int
    stops: bool = False


@dataclass(frozen=True, slots=True)
class Checked:
    """One table after its checks.

    Attributes:
        name: of the table.
        rows: that passed, with their first index.
        rejected: that did not, with a column ``reasons``.
        read: how many there were.
        findings: about the table.
    """

    name: str
    rows: pd.DataFrame
    rejected: pd.DataFrame
    read: int
    findings: tuple[Finding, ...] = ()

    def reject(self, reasons: Mapping[str, Mask]) -> Checked:
        """Set aside the rows that any mask over :attr:`rows` marks, each with all its reasons.

        >>> table = fresh("events", pd.DataFrame({"amount": [1.0, -2.0]}))
        >>> checked = table.reject({"amount is below 0": np.array([False, True])})
        >>> checked.rejected["reasons"].tolist(), len(checked.rows)
        (['amount is below 0'], 1)
        """
        bad = np.zeros(len(self.rows), bool)
        for mask in reasons.values():
            bad |= mask
        if not bad.any():
            return self
        told = np.full(int(bad.sum()), "", object)
        for reason, mask in reasons.items():
            hit = mask[bad]
            told[hit] = [f"{t}; {reason}" if t else reason for t in told[hit]]
        failed = self.rows[bad].assign(**{REASONS: told})
        rejected = pd.concat([self.rejected, failed]) if len(self.rejected) else failed
        return replace(self, rows=self.rows[~bad], rejected=rejected)

    def found(self, problem: str, rows: int, *, stops: bool = False) -> Checked:
        """With one more finding, if it concerns any row or stops."""
        if not rows and not stops:
            return self
        finding = Finding(self.name, problem, rows, stops)
        return replace(self, findings=(*self.findings, finding))


def fresh(name: str, rows: pd.DataFrame) -> Checked:
    """A table before its checks."""
    rows = rows.reset_index(drop=True)
    return Checked(name, rows, rows.iloc[:0].assign(**{REASONS: ""}), len(rows))


# --- level 1: fields ----------------------------------------------------------------------------


def check_fields(
    table: Checked, fields: Mapping[str, Field], time_format: str = "", zone: str = "UTC"
) -> Checked:
    """Give every column its kind and set aside the rows whose cells are none of it.

    Numbers become float64, times datetime64 by the clocks of ``zone``, texts ``str``. The rejected
    rows keep their cells as they were read.

    Args:
        table: has every column of ``fields``.
        fields: by column.
        time_format: as ``datetime.strptime`` reads it; empty means ISO 8601.
        zone: IANA name; a time that names no zone or offset is of this one.
    """
    made: dict[str, pd.Series] = {}
    reasons: dict[str, Mask] = {}
    for name, rule in fields.items():
        cells = table.rows[name]
        empty = _empty(cells)
        if rule.kind == "number":
            values, bad = _numbers(cells, empty)
            reasons |= _number_reasons(name, rule, values, bad)
        elif rule.kind == "time":
            values, bad = _times(cells, empty, time_format, zone)
            reasons[f"{name} is no date" + (f" like {time_format}" if time_format else "")] = bad
        else:
            values = as_text(cells)
            reasons |= _text_reasons(name, rule, values, empty)
        if rule.required:
            reasons[f"{name} is empty"] = empty
        made[name] = values
    checked = table.reject({reason: mask for reason, mask in reasons.items() if mask.any()})
    kept = checked.rows.index
    return replace(
        checked, rows=checked.rows.assign(**{name: v.loc[kept] for name, v in made.items()})
    )


def as_text(cells: pd.Series) -> pd.Series:
    """Cells as text without spaces around them; by ``columns.texts``; empty ones are NaN.

    >>> as_text(pd.Series([12.0, None])).tolist(), as_text(pd.Series([" a ", ""])).tolist()
    (['12', nan], ['a', nan])
    """
    stripped = texts(cells).str.strip()
    return stripped.where(stripped != "")


def _empty(cells: pd.Series) -> Mask:
    empty = cells.isna().to_numpy(bool)
    if cells.dtype.kind not in "biufmM":
        empty = empty | cells.astype("str").str.strip().eq("").to_numpy(bool)
    return empty


def _numbers(cells: pd.Series, empty: Mask) -> tuple[pd.Series, Mask]:
    if cells.dtype.kind in "mM":
        return pd.Series(np.nan, cells.index), ~empty
    numbers = pd.to_numeric(cells, errors="coerce").astype(np.float64)
    return numbers, ~empty & ~np.isfinite(numbers.to_numpy())


def _number_reasons(name: str, rule: Field, values: pd.Series, bad: Mask) -> dict[str, Mask]:
    numbers = values.to_numpy()
    return {
        f"{name} is no finite number": bad,
        f"{name} is below {rule.low:g}": ~bad & (numbers < rule.low),
        f"{name} is above {rule.high:g}": ~bad & (numbers > rule.high),
    }


def by_clocks(times: pd.Series, zone: str) -> pd.Series:
    """Times that are naive in UTC, as naive times of ``zone``."""
    local: pd.Series = times.dt.tz_localize("UTC").dt.tz_convert(zone).dt.tz_localize(None)
    return local


def _times(cells: pd.Series, empty: Mask, time_format: str, zone: str) -> tuple[pd.Series, Mask]:
    if cells.dtype.kind == "M":
        offset = np.full(len(cells), isinstance(cells.dtype, pd.DatetimeTZDtype))
        times = pd.to_datetime(cells, utc=True)
    else:
        written = as_text(cells)
        if not time_format:  # digits alone: seconds? days? 20240131? Nobody said
            written = written.where(~written.str.fullmatch("[0-9]+").fillna(False).astype(bool))
        offset = written.str.contains(_OFFSET, regex=True).fillna(False).to_numpy(bool)
        times = pd.to_datetime(written, errors="coerce", utc=True, format=time_format or "ISO8601")
    times = times.dt.tz_localize(None).astype("datetime64[s]")
    times = times.where(~offset, by_clocks(times, zone).astype("datetime64[s]"))
    return times, ~empty & times.isna().to_numpy(bool)


def _text_reasons(name: str, rule: Field, values: pd.Series, empty: Mask) -> dict[str, Mask]:
    reasons = {
        f"{name} is longer than {rule.longest} characters": (
            values.str.len().fillna(0).to_numpy(np.float64) > rule.longest
        )
    }
    if rule.values:
        unknown = ~empty & ~values.isin(rule.values).to_numpy(bool)
        reasons[f"{name} is not in its list"] = unknown
    return reasons
