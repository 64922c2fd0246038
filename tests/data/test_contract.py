"""Levels 1 to 3: cells, tables, and a person with a sample."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fl.data.columns import cell_text, text_cells
from fl.data.consistency import Batch, Limits, one_customer_an_order, totals, unique
from fl.data.contract import Field, as_text, check_fields, fresh
from fl.data.handover import Team, assign, nobody_has
from fl.data.manual import RANDOM, judge, mark, sheet
from fl.errors import InputError


def reasons(cells: list[object], rule: Field, time_format: str = "") -> list[str]:
    rows = pd.DataFrame({"x": pd.Series(cells, dtype=object)})
    checked = check_fields(fresh("t", rows), {"x": rule}, time_format)
    found = pd.Series("", index=range(len(cells)))
    found.loc[checked.rejected.index] = checked.rejected["reasons"]
    return found.tolist()


def test_numbers() -> None:
    cells = [1, "2.5", "1e3", None, "", "x", float("nan"), float("inf"), "-inf", -1, 11, True]
    rule = Field("number", required=True, low=0, high=10)
    assert reasons(cells, rule) == [
        "",
        "",
        "x is above 10",
        "x is empty",
        "x is empty",
        "x is no finite number",
        "x is empty",
        "x is no finite number",
        "x is no finite number",
        "x is below 0",
        "x is above 10",
        "",
    ]
    assert reasons([None, ""], Field("number")) == ["", ""]


@pytest.mark.parametrize(
    "cells",
    [
        pd.Series(["2026-05-10T09:30:00", "2026-05-10T09:30:00+08:00", "2026-05-10 01:30Z", ""]),
        pd.Series(["2026-05-10T09:30:00", "2026-05-09T18:30-0700", "2026-05-10T01:30+00", None]),
    ],
)
def test_a_time_without_a_zone_is_of_the_mapping_s_and_all_are_by_its_clocks(
    cells: pd.Series,
) -> None:
    fields = {"x": Field("time")}
    checked = check_fields(fresh("t", pd.DataFrame({"x": cells})), fields, zone="Asia/Shanghai")
    assert checked.rejected.empty
    assert checked.rows["x"][:3].tolist() == [pd.Timestamp("2026-05-10 09:30")] * 3
    aware = pd.Series([pd.Timestamp("2026-05-10 01:30", tz="UTC")])
    checked = check_fields(fresh("t", pd.DataFrame({"x": aware})), fields, zone="Asia/Shanghai")
    assert checked.rows["x"].tolist() == [pd.Timestamp("2026-05-10 09:30")]
    day = check_fields(fresh("t", pd.DataFrame({"x": ["2026-05-10"]})), fields, zone="Asia/Tokyo")
    assert day.rows["x"].tolist() == [pd.Timestamp("2026-05-10")]


def test_times() -> None:
    cells = ["2026-01-31", "2026-01-31T10:00:00+08:00", "31/01/2026", "2026-02-30", None, 20260131]
    bad = "x is no date"
    assert reasons(cells, Field("time")) == ["", "", bad, bad, "", bad]
    ours = reasons(["31/01/2026", "01/31/2026", 31], Field("time"), "%d/%m/%Y")
    assert ours == ["", bad + " like %d/%m/%Y", bad + " like %d/%m/%Y"]
    zoned = pd.DataFrame({"x": ["2026-01-31T10:00:00+08:00"]})
    checked = check_fields(fresh("t", zoned), {"x": Field("time")})
    assert checked.rows["x"].tolist() == [pd.Timestamp("2026-01-31 02:00")]


def test_texts() -> None:
    assert reasons(["a", "b", None, "c" * 9], Field("text", values=("a",), longest=8)) == [
        "",
        "x is not in its list",
        "",
        "x is longer than 8 characters; x is not in its list",
    ]


def test_a_column_of_numbers_is_no_time() -> None:
    rows = pd.DataFrame({"x": [20260131, 20260201]})
    assert len(check_fields(fresh("t", rows), {"x": Field("time")}).rejected) == 2
    made = check_fields(fresh("t", rows), {"x": Field("time")}, "%Y%m%d")
    assert made.rows["x"].tolist() == [pd.Timestamp("2026-01-31"), pd.Timestamp("2026-02-01")]


@pytest.mark.parametrize("cells", [[], [None, None]])
def test_empty_columns_have_every_kind(cells: list[object]) -> None:
    for kind in ("text", "number", "time"):
        assert reasons(cells, Field(kind)) == [""] * len(cells)
        for dtype in ("float64", object):
            rows = pd.DataFrame({"x": pd.Series(cells, dtype=dtype)})
            assert len(check_fields(fresh("t", rows), {"x": Field(kind)}).rows) == len(cells)


def test_text_of_any_dtype_is_the_same() -> None:
    assert as_text(pd.Series([True, False])).tolist() == ["true", "false"]
    for cells in ([7, 8], [7.0, 8.0], ["7", " 8 "], pd.Series([7, 8], dtype="Int64")):
        assert as_text(pd.Series(cells)).tolist() == ["7", "8"]
    assert as_text(pd.Series([1.5, np.inf])).tolist() == ["1.5", "inf"]


def test_reasons_hold_no_cell() -> None:
    secret = "ann@example.com"
    found = reasons([secret, "b" * 300], Field("number", required=True))
    found += reasons([secret], Field("time")) + reasons([secret], Field("text", values=("a",)))
    assert secret not in "".join(found)


def test_three_equal_rows_count_once_and_one_other_row_spoils_all() -> None:
    rows = pd.DataFrame({"id": list("aaabbbc"), "n": [1, 1, 1, 2, 2, 3, 4]})
    checked = unique(fresh("t", rows), ["id"])
    assert checked.rows["id"].tolist() == ["a", "c"]
    assert len(checked.rejected) == 5


def test_lines_without_an_order_are_nobody_s_mistake() -> None:
    rows = pd.DataFrame(
        {"order": [None, None, "1", "1"], "customer": list("abcc"), "amount": [1.0, 2, 3, 4]}
    )
    table = fresh("events", rows)
    assert one_customer_an_order(table).rejected.empty
    orders = fresh("orders", pd.DataFrame({"order": ["1"], "total": [7.004]}))
    assert totals(table, orders, 0.01).rejected.empty
    assert len(totals(table, orders, 0.001).rejected) == 2


def test_limits_stop_a_batch_with_names_and_counts_only() -> None:
    rows = pd.DataFrame({"x": ["1", "private", "3", "4"]})
    table = check_fields(fresh("t", rows), {"x": Field("number")})
    Batch((table,)).require(Limits(rejected_share=0.25), {})
    with pytest.raises(InputError, match=r"1 of 4 rows are rejected") as raised:
        Batch((table,)).require(Limits(rejected_share=0.2), {})
    assert "private" not in str(raised.value)
    with pytest.raises(InputError, match="has 4 rows where there were 10"):
        Batch((table,)).require(Limits(rejected_share=1), {"t": 10})
    with pytest.raises(InputError, match=r"fewer than limits\.min_rows = 5"):
        Batch((table,)).require(Limits(min_rows=5), {})
    with pytest.raises(InputError, match="too old"):
        Batch((table.found("too old", 0, stops=True),)).require(Limits(rejected_share=1), {})


@pytest.mark.parametrize(
    "values",
    [{"rejected_share": 1.1}, {"wrong_share": 0.0}, {"stale_days": -1.0}, {"min_rows": 0}],
)
def test_limits_out_of_range_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="Expected"):
        Limits(**values)  # type: ignore[arg-type]


def sample(rows: int = 300, each: int = 40) -> pd.DataFrame:
    table = fresh("events", pd.DataFrame({"amount": np.arange(rows) / 7, "who": "ann"}))
    return sheet((table,), each, seed=1)


def test_a_sheet_has_random_rows_and_the_odd_ones() -> None:
    made = sample()
    assert made["why"].value_counts()[RANDOM] == 40
    assert {"largest amount", "smallest amount"} <= set(made["why"])
    assert made.equals(sample())
    assert sample(rows=3)["why"].value_counts()[RANDOM] == 3
    assert sample(rows=0).empty


def test_a_judged_sheet_gives_an_upper_bound() -> None:
    made = sample()
    filled = made.assign(verdict=["wrong" if i == 0 else " OK" for i in range(len(made))])
    judged = judge(filled, mark(made))
    assert (judged.rows, judged.wrong, judged.odd) == (40, 1, 0)
    assert judged.upper == pytest.approx(0.1316, abs=1e-4)  # R: binom.test(1, 40)$conf.int[2]
    with pytest.raises(InputError, match="1 of 40 rows are wrong"):
        judged.require(Limits(wrong_share=0.1))
    judged.require(Limits(wrong_share=0.2))
    all_wrong = judge(made.assign(verdict="wrong"), mark(made))
    assert all_wrong.upper == 1.0
    assert all_wrong.odd == 2


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda s: s.assign(verdict=["ok"] * (len(s) - 1) + [""]), "neither ok nor wrong"),
        (lambda s: s.assign(verdict="maybe"), "neither ok nor wrong"),
        (lambda s: s.iloc[1:].assign(verdict="ok"), "not the sheet that was drawn"),
        (lambda s: s.assign(verdict="ok", cells="fine"), "not the sheet that was drawn"),
        (lambda s: s.drop(columns="verdict"), "no column 'verdict'"),
    ],
)
def test_a_sheet_that_is_not_filled_in_is_refused(spoil, problem: str) -> None:  # type: ignore[no-untyped-def]
    made = sample()
    with pytest.raises(InputError, match=problem):
        judge(spoil(made), mark(made))


def test_a_team_finds_its_customers_beside_empty_cells() -> None:
    """Of a feature of numbers with a hole pandas makes floats; 1.0 is still region 1."""
    rows = pd.DataFrame({"region": [1.0, None, 2.0], "new": [True, False, None]})
    priority = np.array([0.1, 0.2, 0.3])
    assert assign(priority, rows, [Team("a", 3, {"region": ("1",)})]).tolist() == ["a", None, None]
    assert assign(priority, rows, [Team("a", 3, {"new": ("true",)})]).tolist() == ["a", None, None]
    assert nobody_has(rows, [Team("a", 3, {"region": ("1", "one")})]) == [
        "team a: no customer has region = 'one'"
    ]


@pytest.mark.parametrize("cells", [[1.0, True, 2.5, "x", None], [7.0, None], [3, 4], [True, False]])
def test_a_cell_reads_the_same_wherever_it_is_read(cells: list[object]) -> None:
    one = pd.Series(cells)
    told = as_text(one)
    assert text_cells(one).tolist() == told.fillna("(missing)").tolist()
    assert [cell_text(x) for x in one.dropna()] == told.dropna().tolist()
