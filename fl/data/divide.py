"""From one table to the brands' own tables: partition, duplicates, checks, split.

This is the benchmark's side of the fence: it sees all rows because it plays all brands. What a
brand computes from its rows (encoding) happens after it, brand by brand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import pandas as pd

from fl.contracts import Ints
from fl.data import split
from fl.data.dataset import DataSet
from fl.data.partition import customers
from fl.data.scaling import SCALINGS
from fl.errors import InputError
from fl.seeds import Generator, numpy_generator

SPLITS = ("train", "validation", "test")
_GROUPS = ("mean", "worst", "pooled", "(all)")  # what results call groups of brands


class Partition(Protocol):
    """One of ``fl/data/partition.py``."""

    def divide(self, data: DataSet, rng: Generator) -> pd.Series:
        """One brand id per row; missing where a row belongs to no brand."""


@dataclass(frozen=True, slots=True)
class Preparation:
    """What is done to rows before a brand sees them.

    Attributes:
        test: share of customers held out, in (0, 1).
        validation: share of the other customers that tuning may look at, in [0, 1).
        duplicates: ``drop`` repeated rows before the split (one would sit on both sides of it),
            ``keep`` them where repeats are real, or ``refuse`` them, and a customer at two brands.
        one_class: ``refuse`` a brand whose labels are all alike, or ``keep`` it.
        scaling: ``bounds`` (the schema's), or ``own``: each brand by its own known rows, which
            only plan ``none`` allows.
        folds: 0: every seed draws test customers anew; else seeds are folds, and ``folds`` seeds
            in a row test every customer once (``test`` is then one of them, 1 / ``folds``).
    """

    test: float = 0.3
    validation: float = 0.25
    duplicates: str = "drop"
    one_class: str = "refuse"
    scaling: str = "bounds"
    folds: int = 0

    def __post_init__(self) -> None:
        split.Fractions(self.test, self.validation, self.folds)
        if self.duplicates not in ("drop", "keep", "refuse"):
            raise ValueError(f"Expected duplicates={self.duplicates!r}: drop, keep or refuse.")
        if self.one_class not in ("refuse", "keep"):
            raise ValueError(f"Expected one_class={self.one_class!r}: refuse or keep.")
        if self.scaling not in SCALINGS:
            raise ValueError(f"Expected scaling={self.scaling!r}: bounds or own.")


@dataclass(frozen=True, slots=True)
class BrandTable:
    """One brand's rows.

    Attributes:
        rows: as they came.
        customers: int64 [n], equal for the rows of one customer of this brand.
        split: ``train``, ``validation`` or ``test`` of each row.
    """

    rows: pd.DataFrame
    customers: Ints
    split: split.Names

    def part(self, name: str) -> tuple[pd.DataFrame, Ints]:
        """The rows of one split, and their customers."""
        chosen = self.split == name
        return self.rows[chosen], self.customers[chosen]


def divide(
    data: DataSet, partition: Partition, how: Preparation, seed: int
) -> Mapping[str, BrandTable]:
    """The brands' tables, by id, sorted.

    Raises:
        InputError: no brand, an empty brand or split, a brand of one class, refused duplicates.
    """
    data.schema.targets(data.rows, f"data {data.name}")  # a wrong label shows here, by its row
    data = _unique_rows(data, how)
    brand = partition.divide(data, numpy_generator(seed, "partition")).to_numpy(object)
    who = customers(data)
    ids = _ids(brand)
    if how.duplicates == "refuse" and data.customer is not None:
        _refuse_shared(brand, who)
    tables = {}
    for name in ids:
        mine = brand == name
        rows, own = data.rows[mine], who[mine]
        if data.customer is None:
            own = pd.Series(range(len(rows)), rows.index)  # not the place among others' rows
        _check_brand(rows, data, name, how)
        names = _split(data, rows, own, name, how, seed)
        codes = pd.factorize(own, sort=True)[0].astype(np.int64)
        tables[name] = BrandTable(rows, codes, names)
        _check_splits(names, name, how)
    return tables


def undivided(data: DataSet, partition: Partition, seed: int) -> Mapping[str, BrandTable]:
    """The brands' tables, by id, sorted, without splits: for questions that learn nothing.

    Raises:
        InputError: no brand is left.
    """
    brand = partition.divide(data, numpy_generator(seed, "partition")).to_numpy(object)
    who = customers(data)
    tables = {}
    for name in _ids(brand):
        mine = brand == name
        rows, own = data.rows[mine], who[mine]
        codes = pd.factorize(own, sort=True)[0].astype(np.int64)
        tables[name] = BrandTable(rows, codes, np.full(len(rows), "all", object))
    return tables


def _ids(brand: split.Names) -> list[str]:
    """The brands' ids, sorted."""
    ids = sorted({str(b) for b in brand if isinstance(b, str)})
    if not ids:
        raise InputError("partition", "no brand is left", "loosen partition.min_customers")
    if clash := [name for name in ids if name in _GROUPS or name.startswith("tier:")]:
        raise InputError(
            f"brand {clash[0]}", "is what results call a group of brands", "rename the brand"
        )
    return ids


def _unique_rows(data: DataSet, how: Preparation) -> DataSet:
    repeated = data.rows.duplicated()
    if how.duplicates == "keep" or not repeated.any():
        return data
    if how.duplicates == "refuse":
        raise InputError(
            "preparation.duplicates",
            f"{int(repeated.sum())} rows of data={data.name} repeat an earlier row",
            "remove them, or choose preparation.duplicates=drop (or keep, if repeats are real)",
        )
    return replace(data, rows=data.rows[~repeated])  # the index still counts the file's rows


def _refuse_shared(brand: split.Names, who: pd.Series) -> None:
    known = pd.Series(brand, who.index).dropna()
    brands = known.groupby(who.loc[known.index]).nunique()
    if (several := brands[brands > 1]).any():
        raise InputError(
            "preparation.duplicates",
            f"customer {str(several.index[0])!r} is at {several.iloc[0]} brands, and so are "
            f"{len(several) - 1} others",
            "give every customer one brand, or choose preparation.duplicates=drop: a shared "
            "customer then falls into the same split at every brand",
        )


def _split(
    data: DataSet,
    rows: pd.DataFrame,
    own: pd.Series,
    name: str,
    how: Preparation,
    seed: int,
) -> split.Names:
    fractions = split.Fractions(how.test, how.validation, how.folds)
    if data.split is not None:
        if how.folds:
            raise InputError(
                "preparation.folds",
                f"{how.folds}, and the publisher of data={data.name} has fixed the test rows",
                "set preparation.folds=0",
            )
        ids = own if data.customer is not None else own.map(lambda i: f"{name}|{i}")
        return split.validation_only(rows[data.split], ids, fractions, seed)
    if data.customer is not None:
        return split.by_hash(own, fractions, seed)
    return split.by_stratum(own, data.schema.targets(rows), fractions, seed, name)


def _check_brand(rows: pd.DataFrame, data: DataSet, name: str, how: Preparation) -> None:
    labels = rows[data.schema.label]
    if data.schema.targets(rows).nunique() == 1 and how.one_class == "refuse":
        raise InputError(
            f"brand {name}",
            f"all {len(rows)} labels are like {str(labels.iloc[0])!r}: it has one class only",
            f"leave it out (partition.exclude=[{name}]), merge it with another brand, or choose "
            "preparation.one_class=keep",
        )


def _check_splits(names: split.Names, name: str, how: Preparation) -> None:
    needed = ("train", "test", "validation") if how.validation else ("train", "test")
    for part in needed:
        if not (names == part).any():
            raise InputError(
                f"brand {name}",
                f"is empty: no {part} rows among its {len(names)}",
                "leave small brands out (partition.min_customers=50) or change preparation.test "
                "and preparation.validation",
            )
