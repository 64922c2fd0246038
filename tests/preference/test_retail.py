"""A wholesaler's catalogue and countries, where time is cut: known on the day before the test."""

from __future__ import annotations

import pandas as pd
import pytest

from fl.data import retail
from fl.data.dataset import DataSet
from fl.data.retail import OnlineRetail

DAY = "2010-06-01"
BEFORE, AFTER = pd.Timestamp("2010-03-01"), pd.Timestamp("2010-09-01")
OLD, NEW = ("10001", "10002", "10003"), "99999"


def bought(country: str, who: str, when: pd.Timestamp, *codes: str) -> pd.DataFrame:
    """One invoice."""
    return pd.DataFrame(
        {
            "brand": country,
            "customer": f"{country}-{who}",
            "Invoice": f"{country}-{who}-{when:%m%d}",
            "returned": False,
            "time": when,
            "Quantity": 1,
            "Price": 2.0,
            "StockCode": list(codes),
        }
    )


def world() -> pd.DataFrame:
    """Large: three customers before, one of whom returns; late: nearly all come after the day."""
    parts = [bought("large", str(n), BEFORE, *OLD[: 2 + n % 2]) for n in range(3)]
    parts += [bought("large", "0", AFTER, OLD[2], NEW)]
    parts += [bought("late", "0", BEFORE, *OLD[:2]), bought("late", "0", AFTER, OLD[2])]
    parts += [bought("late", str(n), AFTER, *OLD[:2]) for n in (1, 2)]
    parts += [bought("late", str(n), AFTER + pd.Timedelta(days=9), OLD[2]) for n in (1, 2)]
    parts += [bought("gone", str(n), BEFORE, *OLD[:2]) for n in range(4)]
    return pd.concat(parts, ignore_index=True).sort_values("time", kind="stable")


def loaded(monkeypatch: pytest.MonkeyPatch, lines: pd.DataFrame, **how: object) -> DataSet:
    monkeypatch.setattr(retail, "invoice_lines", lambda: lines)
    return OnlineRetail(**{"min_repeat": 3, "new_only": True, **how}).load()  # type: ignore[arg-type]


def test_the_catalogue_is_what_was_sold_before_the_day(monkeypatch: pytest.MonkeyPatch) -> None:
    data = loaded(monkeypatch, world(), test_from=DAY)
    (column,) = data.schema.codes
    assert column.values == OLD  # type: ignore[union-attr]
    (test,) = data.rows[data.rows["split"] == "test"].itertuples()
    assert test.next == (OLD[2], NEW)  # asked for all the same: it counts as missed
    assert "the 3 products that anybody bought before that day; 50.0% of what" in (
        data.provenance.note
    )


def test_countries_are_chosen_by_who_was_there_before_the_day(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Late has three customers to test and one to train on; gone has nobody to test."""
    data = loaded(monkeypatch, world(), test_from=DAY)
    assert set(data.rows["brand"]) == {"large"}
    assert "Left out: 2 countries with fewer than 3 customers to train on" in data.provenance.note
    more = pd.concat([world(), *(bought("large", f"n{n}", AFTER, "77777") for n in range(9))])
    again = loaded(monkeypatch, more, test_from=DAY)
    assert again.schema == data.schema and set(again.rows["brand"]) == {"large"}


def test_without_a_day_all_that_was_sold_is_the_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    data = loaded(monkeypatch, world())
    (column,) = data.schema.codes
    assert column.values == (*OLD, NEW)  # type: ignore[union-attr]
    assert set(data.rows["brand"]) == {"late"}  # three customers who bought again
    assert "Left out: 2 countries with fewer than 3 customers to test." in data.provenance.note
