"""Which customer belongs to which brand: natural, Dirichlet label skew, quantity skew, i.i.d.

All but the natural partition are made by the benchmark, customer by customer: a customer's rows
never part. Each ``divide`` returns one brand id per row.
"""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fl.contracts import Floats, Ints
from fl.data.dataset import DataSet
from fl.errors import InputError
from fl.seeds import Generator


@dataclass(frozen=True, slots=True)
class Natural:
    """The data set's own brands.

    Attributes:
        exclude: brand ids to leave out.
        min_customers: brands with fewer customers are left out, >= 0.
    """

    name: str = "natural"
    exclude: tuple[str, ...] = ()
    min_customers: int = 0

    def divide(self, data: DataSet, rng: Generator) -> pd.Series:
        """The brand column; rows of brands left out become missing."""
        if data.brand is None:
            raise InputError(
                "partition.name",
                f"'natural' needs a brand column, and data={data.name} names none",
                "set data.brand_column=COLUMN, or choose partition=iid, dirichlet or quantity",
            )
        brands = data.rows[data.brand].map(str).astype(object)
        unknown = sorted(set(self.exclude) - set(brands))
        if unknown:
            raise InputError("partition.exclude", f"no brand {unknown[0]!r}", "correct the list")
        sizes = customers(data).groupby(brands).nunique()
        few = {str(b) for b in sizes.index[sizes < self.min_customers]}
        return brands.where(~brands.isin(few | set(self.exclude)))


@dataclass(frozen=True, slots=True)
class Iid:
    """Equal brands drawn at random."""

    name: str = "iid"
    brands: int = 10

    def __post_init__(self) -> None:
        _require_brands(self.brands)

    def divide(self, data: DataSet, rng: Generator) -> pd.Series:
        """Deal shuffled customers round the table."""
        who, rows = _customer_codes(data)
        return _assign(rows, rng.permutation(len(who)) % self.brands, self.brands)


@dataclass(frozen=True, slots=True)
class Quantity:
    """Brands of unequal size: shares of customers drawn from a symmetric Dirichlet(``alpha``).

    Li, Diao, Chen, He, "Federated Learning on Non-IID Data Silos", ICDE 2022, section 3.4.
    """

    name: str = "quantity"
    brands: int = 10
    alpha: float = 0.5

    def __post_init__(self) -> None:
        _require_brands(self.brands)
        _require_alpha(self.alpha)

    def divide(self, data: DataSet, rng: Generator) -> pd.Series:
        """Cut shuffled customers at the cumulated shares."""
        who, rows = _customer_codes(data)
        shares = rng.dirichlet([self.alpha] * self.brands)
        return _assign(rows, _cut(rng.permutation(len(who)), shares), self.brands)


@dataclass(frozen=True, slots=True)
class Dirichlet:
    """Brands of unequal label rates: each class is shared out by its own Dirichlet(``alpha``).

    Yurochkin et al., "Bayesian Nonparametric Federated Learning of Neural Networks", ICML 2019,
    section 4; smaller ``alpha`` means more skew.
    """

    name: str = "dirichlet"
    brands: int = 10
    alpha: float = 0.5

    def __post_init__(self) -> None:
        _require_brands(self.brands)
        _require_alpha(self.alpha)

    def divide(self, data: DataSet, rng: Generator) -> pd.Series:
        """Cut the shuffled customers of each class at that class's cumulated shares."""
        who, rows = _customer_codes(data)
        kind_k = data.schema.targets(data.rows).groupby(rows).max().to_numpy()
        brand = np.zeros(len(who), np.int64)
        for kind in range(len(data.schema.classes) or 2):
            members = np.flatnonzero(kind_k == kind)
            shares = rng.dirichlet([self.alpha] * self.brands)
            brand[members] = _cut(rng.permutation(len(members)), shares)
        return _assign(rows, brand, self.brands)


PARTITIONS = {"natural": Natural, "iid": Iid, "quantity": Quantity, "dirichlet": Dirichlet}


def customers(data: DataSet) -> pd.Series:
    """The customer of each row; where the data set has no customer column, each row is one."""
    if data.customer is None:
        return pd.Series(np.arange(len(data.rows)), index=data.rows.index)
    return data.rows[data.customer]


def _customer_codes(data: DataSet) -> tuple[Sized, Ints]:
    codes, who = pd.factorize(customers(data), sort=True)
    return who, codes.astype(np.int64)


def _cut(order: Ints, shares: Floats) -> Ints:
    """The part of each member: members ranked by ``order`` are cut at the cumulated ``shares``."""
    edges = np.round(np.cumsum(shares)[:-1] * len(order))
    return np.searchsorted(edges, order, side="right").astype(np.int64)


def _assign(rows: Ints, brand: Ints, brands: int) -> pd.Series:
    if empty := sorted(set(range(brands)) - set(brand.tolist())):
        raise InputError(
            "partition.brands",
            f"brand {empty[0]} of {brands} is empty: it got none of {len(brand)} customers",
            "ask for fewer brands, or for less skew (a larger partition.alpha)",
        )
    width = len(str(brands - 1))
    return pd.Series([f"brand-{b:0{width}d}" for b in brand[rows]], dtype=object)


def _require_brands(brands: int) -> None:
    if brands < 1:
        raise ValueError(f"Expected brands={brands} >= 1.")


def _require_alpha(alpha: float) -> None:
    if not 0 < alpha < float("inf"):
        raise ValueError(f"Expected alpha={alpha} > 0.")
