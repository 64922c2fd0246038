"""What a table's columns look like, asked of the brands by one counted query.

A user's own file comes without public bounds. Nobody may compute them from pooled rows, so every
brand counts its cells into buckets that are the same for everybody (powers of two, both signs),
the secure sum adds the counts, and the schema is read from the totals. One customer's row adds at
most 1 to one bucket per column, which is what a private plan would bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from fl.arrays import Arrays
from fl.contracts import Examples, Floats, Ints, Limits
from fl.data.schema import Column, Hashed, Number, Schema
from fl.errors import InputError

_POWERS = np.arange(-8, 41)  # 2^-8 .. 2^40
_EDGES = np.concatenate([-(2.0 ** _POWERS[::-1]), [0.0], 2.0**_POWERS])
_BUCKETS = len(_EDGES) + 1  # below the first edge, between edges, above the last
_TEXT, _EMPTY, _SIZE = _BUCKETS, _BUCKETS + 1, _BUCKETS + 2


@dataclass(frozen=True, slots=True)
class Ranges:
    """A task without a model: one histogram per column.

    Attributes:
        columns: the columns to describe.
        label: passed on to the schema that comes out.
        positive, negative: as in ``Schema``.
    """

    columns: tuple[str, ...]
    label: str
    positive: str = "1"
    negative: tuple[str, ...] = ("0",)
    name: str = "ranges"

    @property
    def schema(self) -> Schema:
        """No features are known yet."""
        return Schema((), self.label, self.positive, self.negative)

    def model(self, rng: torch.Generator) -> nn.Module:
        """Nothing is learned."""
        return nn.Module()

    def examples(self, table: pd.DataFrame, customers: Ints, where: str) -> Examples:
        """The bucket of every cell, int64 ``[b, columns]``."""
        codes = [_buckets(table[name], f"{where}, column {name}") for name in self.columns]
        labels = self.schema.encode(table, where).y
        return Examples(
            torch.zeros(len(table), 0),
            torch.from_numpy(np.stack(codes, 1)),
            torch.from_numpy(labels),
            torch.from_numpy(customers.copy()),
        )

    def losses(self, model: nn.Module, batch: Examples) -> Tensor:
        """There is nothing to lose."""
        return torch.zeros(len(batch))

    def evaluate(self, model: nn.Module, batch: Examples) -> Arrays:
        """One-hot buckets, float64 ``[b, columns, buckets]``."""
        hot = nn.functional.one_hot(batch.c_bg, _SIZE).numpy().astype(np.float64)
        return {"cells": hot}

    def statistics(self) -> Arrays:
        """Zeros ``[columns, buckets]``."""
        return {"cells": np.zeros((len(self.columns), _SIZE))}

    def limits(self) -> Limits:
        """A row has one bucket a column."""
        return {"cells": math.sqrt(len(self.columns))}

    def read(self, answer: Arrays) -> Schema:
        """The schema that the summed (or mean) counts describe.

        A column of numbers is bounded by the buckets of its 0.1 % and 99.9 % quantiles, and scaled
        by its logarithm when half of its values lie below 1/16 of the range. Any other column is
        hashed into 64 buckets.
        """
        cells = np.asarray(answer["cells"], np.float64)
        columns = [_column(name, cells[i]) for i, name in enumerate(self.columns)]
        return Schema(tuple(columns), self.label, self.positive, self.negative)


def _buckets(values: pd.Series, where: str) -> Ints:
    """Text stays text, even where a cell of it reads like a number."""
    numbers = np.full(len(values), np.nan)
    if pd.api.types.is_numeric_dtype(values):
        numbers = values.to_numpy(np.float64, na_value=np.nan)
    if np.isinf(numbers).any():
        row = int(np.argmax(np.isinf(numbers)))
        raise InputError(f"{where}, row {row + 1}", "value is infinite", "correct or drop the row")
    empty = values.isna().to_numpy()
    code = np.searchsorted(_EDGES, np.nan_to_num(numbers), side="right")
    return np.where(empty, _EMPTY, np.where(np.isnan(numbers), _TEXT, code)).astype(np.int64)


def _column(name: str, counts: Floats) -> Column:
    numbers, texts = counts[:_BUCKETS], counts[_TEXT]
    if texts > 0 or numbers.sum() <= 0:
        return Hashed(name, 64)
    if counts[_EMPTY] > 0:
        raise InputError(
            f"column {name}",
            "a column of numbers has empty cells (NaN)",
            f"fill them, drop the rows, or say what they count as: "
            f"+data.columns.{name}='{{low: ..., high: ..., missing: ...}}' (for all columns)",
        )
    share = numbers.cumsum() / numbers.sum()
    first = int(np.searchsorted(share, 0.001, side="right"))
    last = int(np.searchsorted(share, 0.999, side="left"))
    low = _EDGES[max(first - 1, 0)]
    high = _EDGES[min(last, len(_EDGES) - 1)]
    if not low < high:
        low, high = low - 1, high + 1
    middle = _EDGES[max(int(np.searchsorted(share, 0.5)) - 1, 0)]
    return Number(name, float(low), float(high), log=bool(middle - low < (high - low) / 16))
