"""The experiment's rows, as each brand would hold them; test rows stay aside to be scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from experiments.settings import Settings
from fl.data.divide import BrandTable, divide
from fl.data.schema import Schema


@dataclass(frozen=True, slots=True)
class Shares:
    """Each brand's rows, and what is the same for all.

    Attributes:
        known: rows for training, with a column ``customer``.
        tables: all rows with their splits.
        schema: the shared one.
        task: in it.
    """

    known: Mapping[str, pd.DataFrame]
    tables: Mapping[str, BrandTable]
    schema: Schema
    task: Any


def shares(how: Settings) -> Shares:
    """Divide the experiment's data as ``fl-run`` does."""
    data = how.source.load()
    tables = divide(data, how.partition, how.preparation, how.seeds[0])
    known = {}
    for brand, table in tables.items():
        mine = table.split != "test"
        names = [*(c.name for c in data.schema.columns), data.schema.label]
        rows = table.rows[mine][names].copy()
        rows["customer"] = table.customers[mine]
        known[brand] = rows.reset_index(drop=True)
    return Shares(known, tables, data.schema, how.task(data.schema))
