"""The feature space all brands share: columns with public bounds, category lists or hash buckets.

Encoding reads a row and this schema, nothing else: no mean, no quantile and no category map of
anybody's rows. That is what lets a brand encode alone and still agree with every other brand.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from fl.data.campaign import Campaign
from fl.data.columns import (
    MISSING,
    OTHER,
    Category,
    Column,
    Hashed,
    Number,
    Text,
    column,
    text_cells,
)
from fl.errors import InputError

__all__ = [
    "MISSING",
    "OTHER",
    "Category",
    "Column",
    "Encoded",
    "Hashed",
    "Number",
    "Schema",
    "Text",
    "column",
]


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
        classes: the label's values, as text, where there are not two but several: a label's code
            is its place here, and ``positive`` and ``negative`` play no part.
        campaign: who was treated, for tasks that ask what that changed; no feature is of it.
    """

    columns: tuple[Column, ...]
    label: str
    positive: str = "1"
    negative: tuple[str, ...] = ("0",)
    classes: tuple[str, ...] = ()
    campaign: Campaign | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names):
            raise ValueError(f"Expected distinct column names, got {names}.")
        if self.label in names:
            raise ValueError(f"Expected the label {self.label!r} not to be a feature.")
        if len(set(self.classes)) != len(self.classes) or len(self.classes) == 1:
            raise ValueError(f"Expected at least two distinct classes, got {self.classes}.")
        of_campaign = set(self.campaign.columns) if self.campaign else set()
        if clash := sorted(of_campaign & {*names, self.label}):
            raise ValueError(f"Expected the campaign's column {clash[0]!r} to be nothing else.")

    @property
    def numbers(self) -> tuple[Number, ...]:
        """The numeric features, in order."""
        return tuple(c for c in self.columns if isinstance(c, Number))

    @property
    def codes(self) -> tuple[Category | Hashed, ...]:
        """The categorical features, in order."""
        return tuple(c for c in self.columns if isinstance(c, Category | Hashed))

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
            InputError: a missing column, a column of messages, a cell that is no finite number, an
                unknown label.
        """
        self.require_columns(table, where, self.label)
        labels = self.positives(table, where)
        return Encoded(*self.features(table, where), labels.to_numpy(np.float32))

    def features(
        self, table: pd.DataFrame, where: str = "table"
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Encode the features of rows, each by itself; no label is looked at.

        Returns:
            ``x`` and ``c`` of :class:`Encoded`.

        Raises:
            InputError: see :meth:`encode`.
        """
        if messages := [column.name for column in self.columns if isinstance(column, Text)]:
            raise InputError(
                f"{where}, column {messages[0]}", "this task reads no messages", "choose task=text"
            )
        self.require_columns(table, where)
        numbers = [c.scale(numeric_cells(table[c.name], c, where)) for c in self.numbers]
        codes = [c.encode(text_cells(table[c.name])) for c in self.codes]
        n = len(table)
        x = np.stack(numbers, 1) if numbers else np.zeros((n, 0))
        c = np.stack(codes, 1) if codes else np.zeros((n, 0), np.int64)
        return x.astype(np.float32), c

    def positives(self, table: pd.DataFrame, where: str = "table") -> pd.Series:
        """Whether each row's label is the positive one, bool ``[n]`` on the table's index.

        Raises:
            InputError: a label that is neither positive nor negative.
        """
        values = text_cells(table[self.label])
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

    def targets(self, table: pd.DataFrame, where: str = "table") -> pd.Series:
        """Each row's class, int64 ``[n]`` on the table's index: its place in ``classes``, or 0, 1.

        Raises:
            InputError: a label that is none of the classes.
        """
        if not self.classes:
            return self.positives(table, where).astype(np.int64)
        values = text_cells(table[self.label])
        codes = values.map({value: code for code, value in enumerate(self.classes)})
        if (unknown := codes.isna().to_numpy()).any():
            at = int(np.argmax(unknown))
            raise InputError(
                f"{where}, label {self.label}, row {_row(values, at)}",
                f"value {values.iloc[at]!r} is none of the {len(self.classes)} classes "
                f"({int(unknown.sum())} such rows)",
                "correct the row, or name its class in the schema (data.classes)",
            )
        return codes.astype(np.int64)

    def require_columns(self, table: pd.DataFrame, where: str, *others: str) -> None:
        """Refuse a table that lacks a feature, or one of ``others`` (InputError)."""
        needed = [*(column.name for column in self.columns), *others]
        missing = [name for name in needed if name not in table.columns]
        if missing:
            raise InputError(
                f"{where}, column {missing[0]}",
                f"not among the columns {list(map(str, table.columns))}",
                "add the column, or correct its name in the schema (data.label, data.columns)",
            )


def numeric_cells(values: pd.Series, column: Number, where: str) -> npt.NDArray[np.float64]:
    """Float64 cells of a column of numbers; an empty one counts as ``column.missing``.

    Raises:
        InputError: a cell that is no finite number.
    """
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
