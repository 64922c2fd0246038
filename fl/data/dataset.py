"""A table that is ready to be divided among brands: rows, schema, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from fl.data.schema import Schema

UCI = "UCI Machine Learning Repository"
CC_BY = "CC BY 4.0"


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a report must say about a data set.

    Attributes:
        title: the data set's name.
        publisher: who offers it.
        licence: as known.
        note: how it was made, its traps, what was done to it; never calls simulated data real.
    """

    title: str
    publisher: str
    licence: str
    note: str


@dataclass(frozen=True, slots=True)
class DataSet:
    """All rows of an experiment, before partition and split.

    Attributes:
        name: the catalogue's name, such as ``panel``.
        rows: has the schema's columns, ``brand`` and ``customer`` (both by those names below).
        schema: the shared feature space.
        brand: column that names each row's natural brand (text), or None if there is none.
        customer: column that identifies the customer, or None where each row is a customer.
        provenance: what a report says.
        tiers: size tier of each brand, in report order; empty where brands have none.
        split: column holding ``train`` or ``test`` where the publisher fixed the split, or None.
    """

    name: str
    rows: pd.DataFrame
    schema: Schema
    brand: str | None
    customer: str | None
    provenance: Provenance
    tiers: Mapping[str, str] = field(default_factory=dict)
    split: str | None = None


def one_of(option: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuse a value of ``option`` that is not among ``allowed`` (ValueError)."""
    if value not in allowed:
        raise ValueError(f"Expected {option}={value!r} to be one of {', '.join(allowed)}.")
