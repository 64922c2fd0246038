"""Customers as they are counted: numbers within public bounds, and the segment they are in.

One row is one customer (or whatever the unit is): a brand sums up its own lines before it answers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from torch import Tensor

from fl.arrays import Array
from fl.contracts import Floats, Ints
from fl.data.columns import Category, Number, text_cells
from fl.data.schema import numeric_cells
from fl.errors import InputError
from fl.rows import each, joined


@dataclass(frozen=True, slots=True)
class Records:
    """Rows of customers.

    Attributes:
        x_bm: float64 ``[b, m]`` numbers in their own units, clipped to their public bounds.
        y_b: float64 ``[b]``, 1 for a positive label, else 0.
        segment_b: int64 ``[b]``, the place of the row's segment among all segments.
        customer_b: int64 ``[b]``, every row another.
    """

    x_bm: Tensor
    y_b: Tensor
    segment_b: Tensor
    customer_b: Tensor

    def __len__(self) -> int:
        return len(self.customer_b)

    def rows(self, index: Tensor) -> Records:
        """The rows at ``index`` (int64), in that order."""
        return each(self, lambda x: x[index])

    def span(self, start: int, stop: int) -> Records:
        """The rows from ``start`` up to ``stop``, without copying."""
        return each(self, lambda x: x[start:stop])

    def renumbered(self, customer_b: Tensor) -> Records:
        """The same rows under other numbers of customers."""
        return replace(self, customer_b=customer_b)

    def followed_by(self, others: Sequence[Records]) -> Records:
        """These rows, then those of ``others``, in order."""
        return joined([self, *others])


@dataclass(frozen=True, slots=True)
class Segments:
    """Which of a few public groups a customer is in.

    Attributes:
        column: a category with a public list, or a number.
        edges: of a number: rising cut points in its unit; a value on an edge is above it.
    """

    column: Number | Category
    edges: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.column, Number) != bool(self.edges):
            raise ValueError(f"Expected edges={list(self.edges)} for a column of numbers only.")
        if list(self.edges) != sorted(set(self.edges)):
            raise ValueError(f"Expected edges={list(self.edges)} to rise.")

    @property
    def levels(self) -> tuple[str, ...]:
        """The segments' names, in order.

        >>> Segments(Number("spend", 0, 100), (10.0, 50.0)).levels
        ('spend < 10', 'spend 10 to 50', 'spend >= 50')
        """
        if isinstance(self.column, Category):
            return tuple(self.column.levels())
        name, ends = self.column.name, [f"{edge:g}" for edge in self.edges]
        between = [f"{name} {a} to {b}" for a, b in itertools.pairwise(ends)]
        return (f"{name} < {ends[0]}", *between, f"{name} >= {ends[-1]}")

    def codes(self, table: pd.DataFrame, where: str) -> Ints:
        """Each row's segment, int64 ``[n]``. A value that is not on the list is ``(other)``."""
        cells = cells_of(table, self.column.name, where)
        if isinstance(self.column, Category):
            return self.column.encode(text_cells(cells))
        numbers = numeric_cells(cells, self.column, where)
        return np.searchsorted(np.array(self.edges), numbers, side="right").astype(np.int64)


class OnDemand(Mapping[str, Array]):
    """Statistics by name, computed when they are looked at: a round asks for one of them."""

    def __init__(self, made_by: Mapping[str, Callable[[], Array]]) -> None:
        self._made_by = made_by

    def __getitem__(self, name: str) -> Array:
        return self._made_by[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._made_by)

    def __len__(self) -> int:
        return len(self._made_by)


def numbers_of(columns: Sequence[Number], table: pd.DataFrame, where: str) -> Floats:
    """Numbers clipped to their public bounds, float64 ``[n, m]``.

    Raises:
        InputError: a column that is missing, a cell that is no finite number (an empty cell counts
            as the column's ``missing``, if it states one).
    """
    read = [
        np.clip(numeric_cells(cells_of(table, c.name, where), c, where), c.low, c.high)
        for c in columns
    ]
    return np.stack(read, 1) if read else np.zeros((len(table), 0))


def cells_of(table: pd.DataFrame, name: str, where: str) -> pd.Series:
    """A column.

    Raises:
        InputError: it is not there.
    """
    if name not in table.columns:
        raise InputError(
            f"{where}, column {name}",
            f"not among the columns {list(map(str, table.columns))}",
            "add the column, or correct its name",
        )
    return table[name]


def one_row_each(customers: Ints, where: str) -> None:
    """Refuse a customer with several rows: whose sum would not be one customer's statistic.

    Raises:
        InputError: there is one.
    """
    rows = np.unique(customers, return_counts=True)[1]  # a node's numbers have up to 60 bits
    if (rows > 1).any():
        raise InputError(
            where,
            f"{int((rows > 1).sum())} customers have several rows (up to {int(rows.max())}), and a "
            "statistic counts every customer once",
            "sum up each customer's rows first (one row a customer), or leave the customer column "
            "out where a row is the unit",
        )
