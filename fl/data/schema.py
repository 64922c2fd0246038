"""The feature space all brands share: columns with public bounds, category lists or hash buckets.

Encoding reads a row and this schema, nothing else: no mean, no quantile and no category map of
anybody's rows. That is what lets a brand encode alone and still agree with every other brand.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

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


Column = Number | Category | Hashed


@dataclass(frozen=True, slots=True)
class Encoded:
    """Rows as numbers: ``x`` float32 [n, f] in [-1, 1], ``c`` int64 [n, g], ``y`` float32 [n]."""

    x: npt.NDArray[np.float32]
    c: npt.NDArray[np.int64]
    y: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Schema:
    """What every brand's table must offer.

    Attributes:
        columns: the features, in order.
        label: the label's column.
        positive: the label's value, as text, that counts as 1.
        negative: the label's values, as text, that count as 0; anything else is refused.
    """

    columns: tuple[Column, ...]
    label: str
    positive: str = "1"
    negative: tuple[str, ...] = ("0",)

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names):
            raise ValueError(f"Expected distinct column names, got {names}.")
        if self.label in names:
            raise ValueError(f"Expected the label {self.label!r} not to be a feature.")

    @property
    def numbers(self) -> tuple[Number, ...]:
        """The numeric features, in order."""
        return tuple(c for c in self.columns if isinstance(c, Number))

    @property
    def codes(self) -> tuple[Category | Hashed, ...]:
        """The categorical features, in order."""
        return tuple(c for c in self.columns if not isinstance(c, Number))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of codes of each categorical feature."""
        return tuple(c.size for c in self.codes)

    def encode(self, table: pd.DataFrame, where: str = "table") -> Encoded:
        """Encode rows, each by itself.

        Args:
            table: has every feature and the label.
            where: how messages call the table, such as ``brand 4``.

        Raises:
            InputError: a missing column, a cell that is no finite number, an unknown label.
        """
        self._require_columns(table, where)
        labels = self.positives(table, where)
        numbers = [c.scale(_numeric(table[c.name], c, where)) for c in self.numbers]
        codes = [c.encode(_text(table[c.name])) for c in self.codes]
        n = len(table)
        x = np.stack(numbers, 1) if numbers else np.zeros((n, 0))
        c = np.stack(codes, 1) if codes else np.zeros((n, 0), np.int64)
        return Encoded(x.astype(np.float32), c, labels.to_numpy(np.float32))

    def positives(self, table: pd.DataFrame, where: str = "table") -> pd.Series:
        """Whether each row's label is the positive one, bool ``[n]`` on the table's index.

        Raises:
            InputError: a label that is neither positive nor negative.
        """
        values = _text(table[self.label])
        known = values.isin([self.positive, *self.negative])
        if not known.all():
            at = int(np.argmax(~known.to_numpy()))
            raise InputError(
                f"{where}, label {self.label}, row {_row(values, at)}",
                f"value {values.iloc[at]!r} is neither the positive {self.positive!r} "
                f"nor a negative {self.negative} ({int((~known).sum())} such rows)",
                "correct the row, or set data.positive and data.negative",
            )
        return values == self.positive

    def _require_columns(self, table: pd.DataFrame, where: str) -> None:
        needed = [column.name for column in self.columns] + [self.label]
        missing = [name for name in needed if name not in table.columns]
        if missing:
            raise InputError(
                f"{where}, column {missing[0]}",
                f"not among the columns {list(map(str, table.columns))}",
                "add the column, or correct its name in the schema (data.label, data.columns)",
            )


def _numeric(values: pd.Series, column: Number, where: str) -> npt.NDArray[np.float64]:
    cells = values.to_numpy()
    if cells.dtype.kind in "biuf":
        numbers = cells.astype(np.float64)
    else:
        numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64)
    if column.missing is not None:
        numbers = np.where(values.isna().to_numpy(), column.missing, numbers)
    bad = ~np.isfinite(numbers)
    if bad.any():
        at = int(np.argmax(bad))
        raise InputError(
            f"{where}, column {column.name}, row {_row(values, at)}",
            f"value {str(values.iloc[at])!r} is not a finite number ({int(bad.sum())} such rows)",
            "correct or drop the row, or state in the schema what an empty cell counts as "
            "(missing: VALUE)",
        )
    return numbers


def _row(values: pd.Series, at: int) -> str:
    """The row at position ``at``, as a reader of the file counts: from 1, below the header."""
    label = values.index[at]
    return str(label + 1 if isinstance(label, int | np.integer) else label)


def _text(values: pd.Series) -> pd.Series:
    """Cells as text; an empty one reads ``(missing)``."""
    texts = values.astype(object).map(_cell, na_action="ignore")
    return texts.astype(object).where(values.notna(), MISSING)


def _cell(value: object) -> str:
    """One cell as text, whatever the others hold: whole floats lose ``.0``, booleans are lower.

    >>> [_cell(value) for value in (1, 1.0, 1.5, True, "yes")]
    ['1', '1', '1.5', 'true', 'yes']
    """
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating):
        number = float(value)
        return f"{number:.0f}" if number.is_integer() else repr(number)
    return str(value)


def _bucket(value: str, buckets: int) -> int:
    digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") % buckets


def column(name: str, spec: Mapping[str, object]) -> Column:
    """A column from its YAML entry: ``{low, high, log, missing}``, ``{values}`` or ``{buckets}``.

    >>> column("visits", {"low": 0, "high": 50, "log": True})
    Number(name='visits', low=0.0, high=50.0, log=True, missing=None)

    Raises:
        InputError: the entry is none of the three, or holds a wrong value.
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
                return Category(name, tuple(_cell(v) for v in values))
            case {"buckets": buckets, **rest} if not rest:
                return Hashed(name, int(str(buckets)))
    except ValueError as error:
        raise InputError(f"data.columns.{name}", str(error), "correct the entry") from error
    raise InputError(
        f"data.columns.{name}",
        f"{dict(spec)} is not a column",
        "write {low: 0, high: 10} for a number (log: true for heavy tails, missing: VALUE for "
        "empty cells), {values: [a, b]} for a category, {buckets: 64} for free text",
    )
