"""The kinds of columns: numbers with public bounds, listed or hashed categories, messages.

Each encodes a cell by itself and by what is public, so that brands agree without telling anything.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import numpy.typing as npt
import pandas as pd

from fl.errors import InputError

MISSING = "(missing)"
OTHER = "(other)"


@dataclass(frozen=True, slots=True)
class Number:
    """A numeric column with public bounds.

    Attributes:
        name: the column.
        low, high: public bounds in the column's unit; values outside are clipped to them.
        log: scale ``log(1 + value - low)`` instead of ``value``, for heavy tails.
        missing: what an empty cell counts as; None refuses empty cells.
    """

    name: str
    low: float
    high: float
    log: bool = False
    missing: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"Expected finite low={self.low} < high={self.high} for {self.name}.")

    def scale(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Into [-1, 1].

        >>> Number("age", 0, 100).scale(np.array([0.0, 50.0, 120.0])).tolist()
        [-1.0, 0.0, 1.0]
        """
        clipped = np.clip(values, self.low, self.high) - self.low
        width = self.high - self.low
        share = np.log1p(clipped) / math.log1p(width) if self.log else clipped / width
        return np.clip(2 * share - 1, -1, 1)  # the two logarithms may differ in the last bit

    def unscale(self, scaled: float) -> float:
        """The value that scaling puts at ``scaled`` in [-1, 1]."""
        share, width = (scaled + 1) / 2, self.high - self.low
        return self.low + (math.expm1(share * math.log1p(width)) if self.log else share * width)


@dataclass(frozen=True, slots=True)
class Category:
    """A column with a public list of values; code 0 is everything that is not in the list.

    Attributes:
        name: the column.
        values: the public list. An empty cell is the value ``(missing)``, listed or not.
    """

    name: str
    values: tuple[str, ...]

    @property
    def size(self) -> int:
        """Number of codes."""
        return len(self.values) + 1

    def levels(self) -> list[str]:
        """The value of each code."""
        return [OTHER, *self.values]

    def encode(self, values: pd.Series) -> npt.NDArray[np.int64]:
        """Codes in [0, size)."""
        codes = {value: code for code, value in enumerate(self.values, start=1)}
        return np.asarray(values.map(codes).fillna(0), np.int64)


@dataclass(frozen=True, slots=True)
class Hashed:
    """A column of free values, hashed into ``buckets`` (SHA-256, so every brand agrees)."""

    name: str
    buckets: int

    def __post_init__(self) -> None:
        if self.buckets < 2:
            raise ValueError(f"Expected buckets={self.buckets} >= 2 for {self.name}.")

    @property
    def size(self) -> int:
        """Number of codes."""
        return self.buckets

    def levels(self) -> list[str]:
        """The name of each bucket."""
        return [f"#{bucket}" for bucket in range(self.buckets)]

    def encode(self, values: pd.Series) -> npt.NDArray[np.int64]:
        """Codes in [0, buckets)."""
        codes = {value: _bucket(value, self.buckets) for value in values.unique()}
        return values.map(codes).to_numpy(np.int64)


@dataclass(frozen=True, slots=True)
class Text:
    """A column of messages, for a task that reads them."""

    name: str


Column = Number | Category | Hashed | Text


def text_cells(values: pd.Series) -> pd.Series:
    """Cells as text; an empty one reads ``(missing)``."""
    return texts(values).astype(object).where(values.notna(), MISSING)


def texts(values: pd.Series) -> pd.Series:
    """Cells as text, each by :func:`cell_text`; an empty one stays empty.

    >>> texts(pd.Series([12.0, None])).tolist(), texts(pd.Series([True, "x", 2.0])).tolist()
    (['12', nan], ['true', 'x', '2'])
    """
    if isinstance(values.dtype, pd.StringDtype):
        return values
    if isinstance(values.dtype, np.dtype) and values.dtype.kind in "iu":
        return values.astype("str")
    return values.astype(object).map(cell_text, na_action="ignore").astype("str")


def cell_text(value: object) -> str:
    """One cell as text, whatever the others hold: whole numbers lose ``.0``, booleans are lower.

    A float of 2**53 or more has lost digits, and none are made up for it.

    >>> [cell_text(value) for value in (1, 1.0, 1.5, True, "yes", Decimal("12.00"), 2.0**60)]
    ['1', '1', '1.5', 'true', 'yes', '12', '1.152921504606847e+18']
    """
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating):
        number = float(value)
        whole = number.is_integer() and abs(number) < 2**53
        return f"{number:.0f}" if whole else repr(number)
    if isinstance(value, Decimal) and value.is_finite():
        return str(int(value)) if value == value.to_integral_value() else f"{value:f}"
    return str(value)


def _bucket(value: str, buckets: int) -> int:
    digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") % buckets


def column(name: str, spec: Mapping[str, object]) -> Column:
    """A column from its YAML entry: ``{low, high, log, missing}``, ``{values}``, ``{buckets}``
    or ``{text: true}``.

    >>> column("visits", {"low": 0, "high": 50, "log": True})
    Number(name='visits', low=0.0, high=50.0, log=True, missing=None)

    Raises:
        InputError: the entry is none of them, or holds a wrong value.
    """
    try:
        match dict(spec):
            case {"low": low, "high": high, **rest} if set(rest) <= {"log", "missing"}:
                fill = rest.get("missing")
                return Number(
                    name,
                    float(str(low)),
                    float(str(high)),
                    bool(rest.get("log", False)),
                    None if fill is None else float(str(fill)),
                )
            case {"values": list() | tuple() as values, **rest} if not rest:
                return Category(name, tuple(cell_text(v) for v in values))
            case {"buckets": buckets, **rest} if not rest:
                return Hashed(name, int(str(buckets)))
            case {"text": True, **rest} if not rest:
                return Text(name)
    except ValueError as error:
        raise InputError(f"data.columns.{name}", str(error), "correct the entry") from error
    raise InputError(
        f"data.columns.{name}",
        f"{dict(spec)} is not a column",
        "write {low: 0, high: 10} for a number (log: true for heavy tails, missing: VALUE for "
        "empty cells), {values: [a, b]} for a category, {buckets: 64} for free values, "
        "{text: true} for messages",
    )
