"""What a brand's features look like, for the brand's own eyes: nothing here may leave it.

One line per feature: how many cells are empty, how many lie beyond the schema's public bounds or
outside its list (they will be clipped or count as other), quantiles or the commonest values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fl.data.columns import OTHER, Category, Number, Text, text_cells
from fl.data.schema import Schema

BINS, MOST = 12, 6


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature among n rows.

    Attributes:
        name, kind: ``number``, ``category``, ``hashed`` or ``text``.
        empty: share of empty cells.
        outside: share of filled cells beyond the public bounds, or not in the public list.
        quantiles: of filled numbers: 5, 25, 50, 75, 95 %.
        mean, deviation: of filled numbers; NaN without.
        histogram: rows in equal bins between the bounds (after the schema's log), for numbers.
        values: the commonest values and their shares, for others.
    """

    name: str
    kind: str
    empty: float
    outside: float
    quantiles: tuple[float, ...] = ()
    mean: float = math.nan
    deviation: float = math.nan
    histogram: tuple[int, ...] = ()
    values: tuple[tuple[str, float], ...] = ()

    def plain(self) -> dict[str, Any]:
        """As JSON holds it: NaN is null."""
        return {
            key: None if isinstance(value, float) and math.isnan(value) else value
            for key, value in asdict(self).items()
        }


@dataclass(frozen=True, slots=True)
class Summary:
    """A brand's rows.

    Attributes:
        rows, customers: how many.
        most_rows: of one customer.
        label_rate: share of positive labels; None without labels.
        features: in the schema's order.
        population: share of all customers' spend by category, where portraits were made.
    """

    rows: int
    customers: int
    most_rows: int
    label_rate: float | None
    features: tuple[Feature, ...]
    population: Mapping[str, float]


def summarise(
    schema: Schema,
    rows: pd.DataFrame,
    customer: npt.NDArray[np.int64],
    population: Mapping[str, float],
) -> Summary:
    """Summarise ``rows`` (features, and the schema's label if it is there) of ``customer`` s."""
    counts = np.unique(customer, return_counts=True)[1]
    rate = None
    if schema.label in rows and not schema.classes:
        labels = text_cells(rows[schema.label])
        known = labels[labels.isin([schema.positive, *schema.negative])]
        rate = float((known == schema.positive).mean()) if len(known) else None
    made = tuple(_feature(column, rows[column.name]) for column in schema.columns)
    return Summary(len(rows), len(counts), int(counts.max(initial=0)), rate, made, dict(population))


def spark(histogram: tuple[int, ...]) -> str:
    """A histogram in one line of text.

    >>> spark((0, 1, 4))
    ' ▂█'
    """
    top = max(histogram, default=0)
    bars = " ▁▂▃▄▅▆▇█"
    return "".join(bars[-(-8 * n // top) if top else 0] for n in histogram)


def guessed(rows: pd.DataFrame, label: str) -> Schema:
    """A schema to look at rows with where no run has stated one: bounds from the rows themselves.

    It depends on the data, so it is no schema for a run.
    """
    columns: list[Number | Category] = []
    for name in map(str, rows.columns):
        if name == label:
            continue
        x = rows[name]
        if x.dtype.kind in "biuf" and x.notna().any():
            known = x.dropna().to_numpy(np.float64)
            low, high = float(known.min()), float(known.max())
            columns.append(Number(name, low, high if high > low else low + 1, missing=low))
        else:
            common = text_cells(x).value_counts().index[:50]
            columns.append(Category(name, tuple(map(str, common))))
    return Schema(tuple(columns), label)


def _feature(column: Any, cells: pd.Series) -> Feature:
    empty = float(cells.isna().mean()) if len(cells) else 0.0
    if isinstance(column, Number):
        return _number(column, cells, empty)
    kind = type(column).__name__.lower()
    texts = text_cells(cells)[cells.notna()]
    if isinstance(column, Text):
        return Feature(column.name, kind, empty, 0.0)
    outside = 0.0
    if isinstance(column, Category) and len(texts):
        outside = float((~texts.isin(column.values)).mean())
        texts = texts.where(texts.isin(column.values), OTHER)
    shares = texts.value_counts(normalize=True)
    top = tuple((str(v), float(s)) for v, s in shares.head(MOST).items())
    return Feature(column.name, kind, empty, outside, values=top)


def _number(column: Number, cells: pd.Series, empty: float) -> Feature:
    x = pd.to_numeric(cells, errors="coerce").to_numpy(np.float64)
    x = x[np.isfinite(x)]
    if not len(x):
        return Feature(column.name, "number", empty, 0.0)
    scaled = (column.scale(x) + 1) / 2 * BINS
    histogram = np.bincount(np.minimum(scaled.astype(int), BINS - 1), minlength=BINS)
    return Feature(
        column.name,
        "number",
        empty,
        float(((x < column.low) | (x > column.high)).mean()),
        tuple(np.quantile(x, [0.05, 0.25, 0.5, 0.75, 0.95]).tolist()),
        float(x.mean()),
        float(x.std()),
        tuple(histogram.tolist()),
    )
