"""Whether a brand's data are still what they were: population stability of every feature.

The population stability index compares the shares of two samples over bins, ``sum (a_i - b_i)
ln(a_i / b_i)`` (Siddiqi, "Credit Risk Scorecards", 2006; 0.1 is some change, 0.25 much). It grows
by chance in small samples: without any change, ``PSI * n m / (n + m)`` is about chi-squared with
``bins - 1`` degrees of freedom (Yurdakul & Naranjo, "Statistical Properties of the Population
Stability Index", Journal of Risk Model Validation 2020). A feature counts as moved only where both
are passed.

A profile holds counts, no row, and stays at the brand. Legend: ``n`` rows, ``k`` features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fl.data.columns import Number, text_cells
from fl.data.schema import Schema
from fl.errors import InputError

Floats = npt.NDArray[np.float64]
BINS = 10
CHANCE = 0.001  # how rarely an unmoved feature may count as moved, for all features together


@dataclass(frozen=True, slots=True)
class Profile:
    """How the rows of one reading are spread, feature by feature.

    Attributes:
        rows: how many there are.
        edges: of numbers: inner edges of the bins, ascending (deciles of the first reading).
        counts: rows in each bin (numbers; the last is empty cells) or of each level (categories).
    """

    rows: int
    edges: Mapping[str, tuple[float, ...]]
    counts: Mapping[str, tuple[int, ...]]

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "rows": self.rows,
            "edges": {name: list(edges) for name, edges in self.edges.items()},
            "counts": {name: list(counts) for name, counts in self.counts.items()},
        }

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Profile:
        """The inverse of :meth:`plain`.

        Raises:
            InputError: it is no profile.
        """
        try:
            return cls(
                int(values["rows"]),
                {str(k): tuple(map(float, v)) for k, v in values["edges"].items()},
                {str(k): tuple(map(int, v)) for k, v in values["counts"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                "data state",
                "holds no profile",
                "delete data/state.json; the next reading makes one",
            ) from error


@dataclass(frozen=True, slots=True)
class Moved:
    """One feature's change.

    Attributes:
        feature: its name.
        psi: >= 0.
        chance: the largest PSI that so many rows show by chance.
    """

    feature: str
    psi: float
    chance: float


def profile(schema: Schema, rows: pd.DataFrame, like: Profile | None = None) -> Profile:
    """How every feature of ``schema`` is spread, in the bins of ``like`` if given."""
    edges: dict[str, tuple[float, ...]] = {}
    counts: dict[str, tuple[int, ...]] = {}
    for column in schema.columns:
        if isinstance(column, Number):
            x = pd.to_numeric(rows[column.name], errors="coerce").to_numpy(np.float64)
            known = x[np.isfinite(x)]
            own = like.edges.get(column.name) if like is not None else None
            edges[column.name] = own if own is not None else _deciles(known)
            bins = np.searchsorted(edges[column.name], known, side="right")
            filled = np.bincount(bins, minlength=len(edges[column.name]) + 1).tolist()
            counts[column.name] = (*filled, len(x) - len(known))
        elif column in schema.codes:
            codes = column.encode(text_cells(rows[column.name]))
            size = column.size
            counts[column.name] = tuple(np.bincount(codes, minlength=size).tolist())
    return Profile(len(rows), edges, counts)


def compare(before: Profile, after: Profile) -> list[Moved]:
    """Each feature that both know, the most changed first; none where either has no rows."""
    if not before.rows or not after.rows:
        return []
    names = [n for n in before.counts if len(after.counts.get(n, ())) == len(before.counts[n])]
    moved = []
    for name in names:
        a, b = np.array(before.counts[name], float), np.array(after.counts[name], float)
        used = (a + b) > 0
        moved.append(
            Moved(name, psi(a[used], b[used]), _by_chance(a, b, int(used.sum()), len(names)))
        )
    return sorted(moved, key=lambda m: (-m.psi, m.feature))


def psi(before: Floats, after: Floats) -> float:
    """Population stability index of two rows of counts; half a row is added to every bin.

    >>> round(psi(np.array([50.0, 50.0]), np.array([50.0, 50.0])), 6)
    0.0
    >>> round(psi(np.array([5000.0, 5000.0]), np.array([9000.0, 1000.0])), 2)
    0.88
    """
    a, b = before + 0.5, after + 0.5
    a, b = a / a.sum(), b / b.sum()
    return float(((a - b) * np.log(a / b)).sum())


def _by_chance(a: Floats, b: Floats, bins: int, features: int) -> float:
    from scipy.stats import chi2

    if bins < 2:
        return 0.0
    n, m = a.sum(), b.sum()
    return float(chi2.isf(CHANCE / features, bins - 1) * (1 / n + 1 / m))


def _deciles(known: Floats) -> tuple[float, ...]:
    if not len(known):
        return ()
    inner = np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1], method="inverted_cdf")
    return tuple(np.unique(inner).tolist())
