"""What the released sums of :class:`~fl.tasks.statistics.Statistics` say, cell by cell.

Everything here is made of released sums and public constants; a brand uses the same functions to
find its own place among all customers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fl.arrays import Arrays
from fl.contracts import Floats
from fl.tasks import tree
from fl.tasks.statistics import Statistics

BARS = 16  # of a histogram


@dataclass(frozen=True, slots=True)
class Cell:
    """One released cell.

    Attributes:
        name: of the segment, or ``all``.
        customers: how many, noised where a plan noises; never rounded.
        means: of each number, in its unit, and the rate of the label; NaN if nobody was counted.
        rising: of each number, the counts up to each bin's upper edge, from 0.
        correlations: of pairs of scaled numbers, in [-1, 1]; of all customers only.
    """

    name: str
    customers: float
    means: Mapping[str, float]
    rising: Mapping[str, Floats]
    correlations: Mapping[tuple[str, str], float]


def cells(task: Statistics, totals: Floats, entries: Floats, released: Floats) -> list[Cell | None]:
    """Every cell, in order; None where it is suppressed.

    Args:
        totals: float64 ``[cells, values]``, as summed.
        entries: float64 ``[sum(task.widths)]``, as summed.
        released: bool ``[cells]``.
    """
    parts = np.split(np.asarray(entries, np.float64), np.cumsum(task.widths)[:-1])
    return [
        _cell(task, i, totals[i], parts[i]) if released[i] else None for i in range(len(task.cells))
    ]


def exact(task: Statistics, sums: Arrays) -> list[Cell | None]:
    """The same from exact sums, for comparison: what pooling all rows would give."""
    totals, entries = (np.asarray(sums[name], np.float64) for name in ("totals", "cells"))
    return cells(task, totals, entries, np.ones(len(task.cells), np.bool_))


def value_at(task: Statistics, number: int, place: float) -> float:
    """A place in [0, 1] of the bins as a value of that number, in its unit; NaN stays NaN."""
    return task.numbers[number].unscale(2 * place - 1) if math.isfinite(place) else place


def quantile(task: Statistics, cell: Cell, number: int, q: float) -> float:
    """The value that a share ``q`` of the cell's customers is below, in its unit."""
    return value_at(task, number, tree.quantile(cell.rising[task.numbers[number].name], q))


def rank(task: Statistics, cell: Cell, number: int, value: float) -> float:
    """The share of the cell's customers below ``value``: where a brand finds its own place."""
    column = task.numbers[number]
    place = float((column.scale(np.array([value]))[0] + 1) / 2)
    return tree.share_below(cell.rising[column.name], place)


def histogram(task: Statistics, cell: Cell, number: int) -> tuple[Floats, Floats]:
    """Bars over equal parts of the scaled range: edges ``[BARS + 1]`` in its unit, shares."""
    rising = cell.rising[task.numbers[number].name]
    at = np.linspace(0, 1, BARS + 1)
    edges = np.array([value_at(task, number, place) for place in at])
    below = np.interp(at * (len(rising) - 1), np.arange(len(rising)), rising)
    return edges, np.diff(below) / max(float(rising[-1]), 1e-12)


def _cell(task: Statistics, index: int, totals: Floats, entries: Floats) -> Cell:
    m, levels = len(task.numbers), tree.COARSE if index else tree.FINE
    weight = task.segment_weight if index else task.tree_weight
    trees = entries[: m * sum(levels)].reshape(m, -1) / weight
    counted = tree.counts(trees, levels)
    rising = {n.name: tree.cumulative(counted[i]) for i, n in enumerate(task.numbers)}
    customers = float(totals[0] / task.count_weight)
    shares = totals[1:] / task.value_weight / customers if customers > 0 else np.full(m + 1, np.nan)
    shares = np.clip(shares, 0.0, 1.0)  # noise may lead out of what is possible
    means = {
        n.name: n.low + float(shares[i]) * (n.high - n.low) for i, n in enumerate(task.numbers)
    }
    if task.labelled:
        means[task.labelled.label] = float(shares[m])
    products = entries[m * sum(levels) :] / task.product_weight
    return Cell(
        task.cells[index], customers, means, rising, _correlations(task, customers, products)
    )


def _correlations(
    task: Statistics, customers: float, products: Floats
) -> Mapping[tuple[str, str], float]:
    """Pearson's, of scaled numbers; NaN where noise leaves no positive variance."""
    m, names = len(task.numbers), [n.name for n in task.numbers]
    if not len(products) or not customers > 0:
        return {}
    mean, square = products[:m] / customers, products[m : 2 * m] / customers
    variance = square - mean**2
    found = {}
    for at, (i, j) in enumerate(zip(*np.triu_indices(m, 1), strict=True)):
        covariance = products[2 * m + at] / customers - mean[i] * mean[j]
        spread = variance[i] * variance[j]
        known = variance[i] > 0 and variance[j] > 0
        value = float(covariance / math.sqrt(spread)) if known else float("nan")
        found[names[i], names[j]] = float(np.clip(value, -1.0, 1.0))
    return found
