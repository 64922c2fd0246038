"""Encoding: a row and the schema decide, nothing else does, in any process."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl.data.schema import MISSING, Category, Hashed, Number, Schema, column
from fl.errors import InputError
from tests import worlds

ROOT = Path(__file__).resolve().parents[2]
finite = st.floats(-1e9, 1e9)


def encode(cells: object, of: Number | Category | Hashed) -> list[float]:
    """One column's encoding, with labels that are right."""
    table = pd.DataFrame({of.name: cells})
    encoded = Schema((of,), "y").encode(table.assign(y=1))
    values = encoded.x if isinstance(of, Number) else encoded.c
    return [float(value) for value in values[:, 0]]


# --- numbers ----------------------------------------------------------------------------------


@given(
    low=finite, width=st.floats(1e-3, 1e9), log=st.booleans(), values=st.lists(finite, min_size=1)
)
@settings(max_examples=100)
def test_scaling_keeps_order_and_stays_within_one(
    low: float, width: float, log: bool, values: list[float]
) -> None:
    scaled = Number("x", low, low + width, log).scale(np.sort(np.array(values)))
    assert (np.abs(scaled) <= 1).all()
    assert (np.diff(scaled) >= 0).all()


@given(share=st.floats(0, 1), log=st.booleans())
@settings(max_examples=50)
def test_unscaling_is_the_inverse_of_scaling(share: float, log: bool) -> None:
    number = Number("x", -3, 500, log)
    value = -3 + 503 * share
    assert number.unscale(float(number.scale(np.array([value]))[0])) == pytest.approx(value)


def test_bounds_map_to_the_ends_and_what_is_outside_to_them() -> None:
    for log in (False, True):
        number = Number("x", 10, 1000, log)
        assert number.scale(np.array([-5.0, 10, 1000, 1e9])).tolist() == [-1, -1, 1, 1]


def test_the_logarithm_counts_from_the_low_bound() -> None:
    middle = math.expm1(math.log1p(1000) / 2) - 20  # half way up in log(1 + value - low)
    assert Number("x", -20, 980, log=True).scale(np.array([middle]))[0] == pytest.approx(0)


def test_an_empty_cell_is_what_the_schema_says_or_a_mistake() -> None:
    assert encode([5.0, None], Number("x", 0, 10, missing=10)) == [0, 1]
    with pytest.raises(InputError, match="column x, row 2: value 'nan' is not a finite number"):
        encode([5.0, None], Number("x", 0, 10))


@pytest.mark.parametrize("cell", [math.inf, -math.inf, "12a", "inf"])
def test_a_cell_that_is_no_finite_number_is_named(cell: object) -> None:
    with pytest.raises(InputError, match=r"column x, row 3.*1 such row"):
        encode([1, 2, cell], Number("x", 0, 10, missing=0))


@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, 1), (math.nan, 1), (0, math.inf)])
def test_bounds_that_are_none_are_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="x"):
        Number("x", low, high)


# --- categories -------------------------------------------------------------------------------


def test_what_is_not_listed_has_code_0_and_an_empty_cell_is_a_value_of_its_own() -> None:
    listed = Category("x", ("web", "app", MISSING))
    assert encode(["app", "fax", None, "web"], listed) == [2, 0, 3, 1]
    assert encode([None, "web"], Category("x", ("web",))) == [0, 1]


def test_the_same_value_has_the_same_code_in_every_type_that_may_hold_it() -> None:
    numbers = Category("x", ("1", "2", "2.5"))
    assert encode([1, 2], numbers) == encode([1.0, 2.0], numbers) == encode(["1", "2"], numbers)
    assert encode([1.0, None, 2.5], numbers) == encode([1, None, "2.5"], numbers) == [1, 0, 3]
    truth = Category("x", ("true", "false"))
    assert encode([True, False], truth) == encode(["true", "false"], truth) == [1, 2]
    assert encode([True, None, False], truth) == [1, 0, 2]
    assert encode(np.array([1, 2], np.int8), Hashed("x", 64)) == encode([1.0, 2.0], Hashed("x", 64))


def test_stated_values_may_be_written_in_any_yaml_type() -> None:
    assert column("x", {"values": [True, False, 1, 2.0, "a"]}) == Category(
        "x", ("true", "false", "1", "2", "a")
    )


def test_hash_buckets_are_the_same_in_every_process() -> None:
    """Python's own hash of text differs from process to process; SHA-256 does not."""
    cities = ["Ulm", "Bonn", "Köln", "上海"]
    asked = (
        "import json, pandas as pd; from fl.data.schema import Hashed;"
        f"print(json.dumps(Hashed('x', 64).encode(pd.Series({cities!a})).tolist()))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", asked],
            cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert [json.loads(each) for each in found] == [encode(cities, Hashed("x", 64))]


def test_a_bucket_is_the_first_eight_bytes_of_sha256() -> None:
    """By hand: ``printf Ulm | sha256sum`` begins 8fb9... ; int(first 16 hex digits, 16) % 8."""
    import hashlib

    digits = hashlib.sha256(b"Ulm").hexdigest()[:16]
    assert encode(["Ulm"], Hashed("x", 8)) == [int(digits, 16) % 8]


# --- labels and tables --------------------------------------------------------------------------


@pytest.mark.parametrize("label", [2, "maybe", None, "", "1 "])
def test_an_unknown_label_is_named_with_its_row(label: object) -> None:
    table = worlds.table("b0", 5).astype({"converted": object})
    table.loc[3, "converted"] = label
    with pytest.raises(InputError, match=r"brand b0, label converted, row 4: value .* \(1 such"):
        worlds.SCHEMA.encode(table, "brand b0")


@pytest.mark.parametrize("kind", [int, float, bool, str, np.int8])
def test_labels_are_understood_in_any_type(kind: type) -> None:
    positive = "true" if kind is bool else "1"
    schema = Schema((), "y", positive, ("false" if kind is bool else "0",))
    table = pd.DataFrame({"y": pd.Series([1, 0, 1]).astype(kind)})
    assert schema.encode(table).y.tolist() == [1, 0, 1]
    assert schema.positives(table).tolist() == [True, False, True]


def test_a_missing_column_is_named_with_what_there_is() -> None:
    with pytest.raises(InputError, match=r"column city: not among the columns .*channel"):
        worlds.SCHEMA.encode(worlds.table("b0").drop(columns="city"))


def test_encoded_rows_have_the_promised_types_and_ranges() -> None:
    encoded = worlds.SCHEMA.encode(worlds.table("b0", 200))
    assert (encoded.x.dtype, encoded.c.dtype, encoded.y.dtype) == (np.float32, np.int64, np.float32)
    assert np.abs(encoded.x).max() <= 1
    assert ((encoded.c >= 0) & (encoded.c < worlds.SCHEMA.sizes)).all()


cells = st.fixed_dictionaries(
    {
        "visits": st.integers(-5, 90) | st.floats(0, 60),
        "age": st.floats(0, 100),
        "channel": st.sampled_from(["web", "app", "fax", "", 1, 1.0, True, None]),
        "city": st.text(max_size=4) | st.floats(allow_nan=False) | st.booleans() | st.none(),
        "converted": st.sampled_from([0, 1]),
    }
)


@given(rows=st.lists(cells, min_size=1, max_size=6), data=st.data())
@settings(max_examples=60)
def test_a_row_is_encoded_alike_whatever_the_other_rows_are(
    rows: list[dict[str, object]], data: st.DataObject
) -> None:
    one = data.draw(st.integers(0, len(rows) - 1))
    together = worlds.SCHEMA.encode(pd.DataFrame(rows))
    alone = worlds.SCHEMA.encode(pd.DataFrame(rows[one : one + 1]))
    assert (together.x[one] == alone.x[0]).all()
    assert (together.c[one] == alone.c[0]).all()


@pytest.mark.parametrize(
    "entry",
    [{}, {"low": 0}, {"low": 0, "high": 1, "hihg": 2}, {"values": "ab"}, {"buckets": 1},
     {"low": "a", "high": 1}, {"low": 2, "high": 1}, {"values": [1], "buckets": 3}],
)  # fmt: skip
def test_an_entry_that_is_no_column_is_refused(entry: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"data\.columns\.x"):
        column("x", entry)
