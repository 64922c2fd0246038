"""Gains with intervals over customers: by hand, by simulation, and as a report shows them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from fl.report.html import page
from fl.report.recommended import over_brands, over_customers, recommending_plot, recommending_table
from fl.report.table import MINUS


def entry(value: float, customers: int, **more: float) -> dict[str, Any]:
    return {
        "value": value, "low": value - 0.1, "high": value + 0.1, "error": 0.05, "freedom": 9.0,
        "customers": customers, "alone": 0.1, "together": 0.1 + value, **more,
    }  # fmt: skip


RUN: dict[str, Any] = {
    "data": {"tiers": {"big": "large", "a": "small", "b": "small", "c": "small"}},
    "recommending": {
        "brands": {
            "a": entry(0.04, 6), "b": entry(-0.01, 9), "big": entry(0.001, 900),
            "c": entry(0.0, 5),
        }
    },
}  # fmt: skip


def test_one_row_a_customer_is_the_usual_interval_of_a_mean() -> None:
    from scipy import stats

    gain = np.array([0.0, 0.1, 0.5, -0.2, 0.3])
    found = over_customers(gain, np.arange(5))
    low, high = stats.t.interval(0.95, 4, gain.mean(), stats.sem(gain))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_rows_of_one_customer_count_as_one_draw() -> None:
    gain = np.array([0.0, 0.1, 0.5])
    apart = over_customers(gain, np.arange(3))
    again = over_customers(np.repeat(gain, 4), np.repeat(np.arange(3), 4))
    assert again.error == pytest.approx(apart.error)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """12 customers with 1 to 5 rows each that resemble each other, 1,000 times."""
    rng, inside = np.random.default_rng(5), 0
    for _ in range(1000):
        rows = rng.integers(1, 6, 12)
        who = np.repeat(np.arange(12), rows)
        gain = 0.2 + np.repeat(rng.normal(0, 0.3, 12), rows) + rng.normal(0, 0.2, len(who))
        found = over_customers(gain, who)
        inside += found.low <= 0.2 <= found.high
    assert 0.91 <= inside / 1000 <= 0.98


def test_one_customer_says_nothing_of_others_and_none_says_nothing() -> None:
    one = over_customers(np.array([0.2, 0.4]), np.array([7, 7]))
    assert one.value == pytest.approx(0.3) and math.isnan(one.low)
    assert math.isnan(over_customers(np.zeros(0), np.zeros(0, np.int64)).value)
    assert math.isnan(over_brands([one]).value)


def test_a_mean_of_brands_has_the_error_of_independent_brands() -> None:
    a = over_customers(np.array([0.0, 0.2, 0.4]), np.arange(3))
    b = over_customers(np.array([0.1, 0.1, 0.7]), np.arange(3))
    both = over_brands([a, b])
    assert both.value == pytest.approx(0.25)
    assert both.error == pytest.approx(math.hypot(a.error, b.error) / 2)
    assert 2 <= both.freedom <= 4 and both.customers == 6


def test_the_table_counts_small_brands_above_below_and_equal() -> None:
    table = recommending_table(RUN)
    assert table is not None
    assert [line[0] for line in table.lines] == ["big", "b", "a", "c", "Mean of 3 small"]
    assert "Of 3 small, together is better for 1, worse for 1, equal for 1." in table.note
    assert table.lines[2][-1] == f"+0.040 [{MINUS}0.060, +0.140]"


def test_the_report_shows_table_and_chart_and_other_tasks_have_neither() -> None:
    html = page((), RUN)
    assert html.count("Whose recommendations get better") >= 2
    assert recommending_plot({}) is None and recommending_table({"recommending": None}) is None
    assert "Whose recommendations" not in page((), {})


def test_of_many_brands_the_largest_are_listed_and_all_are_in_the_mean() -> None:
    many = {f"s{n}": entry(0.01, 100 - n) for n in range(60)}
    run = {"recommending": {"brands": many}}
    table, plot = recommending_table(run), recommending_plot(run)
    assert table is not None and plot is not None
    assert len(table.lines) == 26 and table.lines[-1][0] == "Mean of 60 brands"
    assert "The 25 largest of 60 brands" in table.note and "25 largest of 60" in plot.caption
