"""What a federated brand computes from its rows does not change when another brand's rows do.

Checked on what training reads (encoded splits, and the shared schema behind them) for the whole
road from table to tensors; and an encoder that does peek is caught by the same check.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from experiments.prepare import Prepared, Tables, encode, shared_schema
from experiments.runtimes import Runtime
from fl.contracts import Examples
from fl.data.dataset import DataSet, Provenance
from fl.data.divide import Preparation, divide
from fl.data.partition import Natural
from fl.data.schema import Hashed, Number, Schema
from fl.data.table import Table
from fl.models import MODELS
from fl.privacy import PlainSum
from fl.tasks.conversion import Conversion
from fl.tasks.ranges import Ranges
from tests import crm, worlds

Encode = Callable[[Conversion, Tables, str], Prepared]
Change = Callable[[pd.DataFrame], pd.DataFrame]
HOW = SimpleNamespace(variants=(), summing=PlainSum(), runtime=Runtime(debug=True))


def set_cells(**values: object) -> Change:
    return lambda rows: rows.assign(**values)


CHANGES: dict[str, Change] = {
    "larger numbers": lambda rows: rows.assign(visits=rows["visits"] * 1000, age=99),
    "fractions": lambda rows: rows.assign(visits=rows["visits"] + 0.5),
    "other categories": set_cells(channel="fax", city="Rom"),
    "numbers for categories": set_cells(channel=1.5, city=7.25),
    "empty categories": set_cells(channel=None, city=None),
    "swapped labels": lambda rows: rows.assign(converted=1 - rows["converted"]),
    "half the rows": lambda rows: rows[::2],
    "one row less": lambda rows: rows[1:],
    "twice the rows": lambda rows: pd.concat([rows, rows.assign(age=rows["age"] + 0.25)]),
    "reversed rows": lambda rows: rows[::-1],
    "customers of the other brand": lambda rows: rows.assign(
        customer=[f"a{i // 2}" for i in range(len(rows))]
    ),
}


def world(change: Change, *, customer: str | None, split: str | None) -> DataSet:
    """Brand ``b`` stands before brand ``a`` in the table, and is changed."""
    tables = []
    for brand in ("b", "a", "c"):
        rows = worlds.table(brand, 80, 2)
        rows["customer"] = [f"{brand}{i}" for i in rows["customer"]]
        rows["part"] = np.where(np.arange(len(rows)) % 4 == 0, "test", "train")
        tables.append(change(rows) if brand == "b" else rows)
    rows = pd.concat(tables, ignore_index=True)
    source = Provenance("t", "p", "l", "n")
    return DataSet("w", rows, worlds.SCHEMA, "brand", customer, source, split=split)


def prepared(data: DataSet, encoder: Encode, scaling: str = "bounds") -> Mapping[str, Examples]:
    """What brand ``a`` trains and is scored on."""
    tables = divide(data, Natural(), Preparation(scaling=scaling), 0)
    schema = shared_schema(data, tables, HOW, 0)  # type: ignore[arg-type]
    task = Conversion(schema, MODELS["logistic"]())
    return encoder(task, tables, scaling).brands["a"]


def assert_same(one: Mapping[str, Examples], other: Mapping[str, Examples]) -> None:
    assert one.keys() == other.keys() == {"train", "validation", "test"}
    for split in one:
        for name in ("x_bf", "c_bg", "y_b", "customer_b"):
            left, right = getattr(one[split], name), getattr(other[split], name)
            assert torch.equal(left, right), (split, name)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize(
    ("customer", "split", "scaling"),
    [("customer", None, "bounds"), (None, None, "bounds"), (None, "part", "own")],
    ids=["customers", "rows", "published-split"],
)
def test_a_brand_is_the_same_whatever_another_brand_holds(
    change: Change, customer: str | None, split: str | None, scaling: str
) -> None:
    before = world(lambda rows: rows, customer=customer, split=split)
    after = world(change, customer=customer, split=split)
    assert_same(prepared(before, encode, scaling), prepared(after, encode, scaling))


def peeking(task: Conversion, tables: Tables, scaling: str) -> Prepared:
    """Bounds from everybody's rows: what a careless benchmark does."""
    rows = pd.concat([table.rows for table in tables.values()])
    bounds = (
        Number(c.name, float(rows[c.name].min()), float(rows[c.name].max()))
        for c in task.schema.numbers
    )
    schema = replace(task.schema, columns=(*bounds, *task.schema.codes))
    return encode(replace(task, schema=schema), tables, scaling)


def test_an_encoder_that_peeks_is_caught() -> None:
    before = world(lambda rows: rows, customer="customer", split=None)
    after = world(CHANGES["larger numbers"], customer="customer", split=None)
    with pytest.raises(AssertionError, match="x_bf"):
        assert_same(prepared(before, peeking), prepared(after, peeking))


def test_a_split_that_peeks_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that draws by the row's place in the whole table."""

    def by_place(own: pd.Series, *rest: object) -> np.ndarray:
        return np.array(["train", "validation", "test"], object)[own.index.to_numpy() % 3]

    monkeypatch.setattr("fl.data.split.by_hash", by_place)
    before = world(lambda rows: rows, customer="customer", split=None)
    after = world(CHANGES["one row less"], customer="customer", split=None)
    with pytest.raises(AssertionError):
        assert_same(prepared(before, encode), prepared(after, encode))


# --- the user's own table -------------------------------------------------------------------------

STATED = {
    "session_duration": {"low": 0, "high": 3600, "log": True},
    "message_count": {"values": [str(i) for i in range(10)]},
    "product_views": {"buckets": 16},
}
WILD: dict[str, Change] = {
    "larger": lambda rows: rows * {**dict.fromkeys(STATED, 1000), "conversion_flag": 1, "shop": 1},
    "text": lambda rows: rows.assign(message_count="many", product_views="none"),
    "fewer": lambda rows: rows[::3],
}


def own_file(path: Path, change: Change, columns: Mapping[str, Mapping[str, object]]) -> DataSet:
    rows = crm.table().replace({"shop": {"west": "a"}})
    north = rows["shop"] == "north"
    pd.concat([change(rows[north]), rows[~north]]).to_csv(path, index=False)
    return Table(
        path=str(path), label="conversion_flag", brand_column="shop", columns=columns
    ).load()


@pytest.mark.parametrize("change", WILD.values(), ids=WILD)
def test_with_stated_columns_a_table_is_encoded_by_them_alone(
    change: Change, tmp_path: Path
) -> None:
    before = own_file(tmp_path / "a.csv", lambda rows: rows, STATED)
    after = own_file(tmp_path / "b.csv", change, STATED)
    assert_same(prepared(before, encode), prepared(after, encode))


def test_without_stated_columns_the_schema_is_read_from_summed_counts_alone(
    tmp_path: Path,
) -> None:
    data = own_file(tmp_path / "a.csv", lambda rows: rows, {})
    tables = divide(data, Natural(), Preparation(), 0)
    features = tuple(c for c in crm.table() if c not in ("conversion_flag", "shop"))
    asked = Ranges(features, "conversion_flag")
    known = [t.rows[t.split != "test"] for t in tables.values()]
    counts = sum(
        asked.evaluate(torch.nn.Module(), asked.examples(rows, np.zeros(len(rows), np.int64), "b"))[
            "cells"
        ].sum(0)
        for rows in known
    )
    expected = asked.read({"cells": counts / sum(map(len, known))})
    assert shared_schema(data, tables, HOW, 0) == expected  # type: ignore[arg-type]
    assert [type(column) for column in expected.columns] == [Number] * 3


def test_without_stated_columns_what_leaves_the_counts_alone_changes_nothing(
    tmp_path: Path,
) -> None:
    """Another brand's numbers move inside their bucket (the powers of two), and nobody sees it."""

    def inside(rows: pd.DataFrame) -> pd.DataFrame:
        seconds = rows["session_duration"].clip(lower=1)
        return rows.assign(session_duration=2.0 ** np.floor(np.log2(seconds)) * 1.25)

    def clipped(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(session_duration=rows["session_duration"].clip(lower=1))

    before = own_file(tmp_path / "a.csv", clipped, {})
    after = own_file(tmp_path / "b.csv", inside, {})
    assert not before.rows.equals(after.rows)
    assert_same(prepared(before, encode), prepared(after, encode))


def test_test_rows_have_no_say_in_the_schema(tmp_path: Path) -> None:
    data = own_file(tmp_path / "a.csv", lambda rows: rows, {})
    tables = divide(data, Natural(), Preparation(), 0)
    moved = {
        brand: replace(
            table,
            rows=table.rows.assign(
                session_duration=table.rows["session_duration"].where(table.split != "test", 1e9)
            ),
        )
        for brand, table in tables.items()
    }
    assert shared_schema(data, tables, HOW, 0) == shared_schema(data, moved, HOW, 0)  # type: ignore[arg-type]


def test_a_text_column_is_hashed_even_where_a_brand_has_numbers_only(tmp_path: Path) -> None:
    data = own_file(tmp_path / "a.csv", lambda rows: rows.assign(product_views="n/k"), {})
    tables = divide(data, Natural(), Preparation(), 0)
    schema: Schema = shared_schema(data, tables, HOW, 0)  # type: ignore[arg-type]
    assert schema.columns[2] == Hashed("product_views", 64)
