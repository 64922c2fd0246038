"""Waits for the next purchase: which are taken must not depend on how they end."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fl.data import retail_churn
from fl.data.retail_churn import RetailHazard
from fl.seeds import numpy_generator

CHANCE = 0.15  # of an invoice in a fortnight, for everybody at any time


def lines() -> pd.DataFrame:
    """800 customers of one country, one line an invoice, at most one invoice a fortnight."""
    rng = numpy_generator(0, "waits")
    who, period = np.nonzero(rng.uniform(size=(800, 26)) < CHANCE)
    return pd.DataFrame(
        {
            "brand": "X",
            "customer": [f"c{i}" for i in who],
            "Invoice": np.arange(len(who)),
            "returned": False,
            "time": pd.Timestamp("2009-12-01 12:00") + pd.to_timedelta(14 * period, unit="D"),
            "Quantity": 1,
            "Price": 10.0,
            "StockCode": "10000",
        }
    )


@pytest.mark.parametrize("spells", [1, 3, 1000])
def test_the_hazard_of_the_rows_is_the_true_one_however_many_waits_are_taken(
    spells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retail_churn, "invoice_lines", lines)
    rows = RetailHazard(spells=spells).load().rows
    assert rows.groupby("customer")["waited"].apply(lambda w: (w == "1").sum()).max() <= spells
    error = (CHANCE * (1 - CHANCE) / len(rows)) ** 0.5
    assert abs(rows["bought"].mean() - CHANCE) < 4 * error
    first = rows[rows["waited"] == "1"]
    assert abs(first["bought"].mean() - CHANCE) < 4 * (CHANCE * (1 - CHANCE) / len(first)) ** 0.5


def test_what_comes_later_changes_no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a customer's later invoices the same earlier waits are taken, some not over."""
    monkeypatch.setattr(retail_churn, "invoice_lines", lines)
    whole = RetailHazard(spells=2).load().rows
    early = lines()[lambda t: t["time"] < "2010-06-01"]
    monkeypatch.setattr(retail_churn, "invoice_lines", lambda: early)
    cut = RetailHazard(spells=2).load().rows
    began = ["customer", "invoices"]
    known = {tuple(w) for w in whole[began].to_numpy()}
    assert {tuple(w) for w in cut[began].to_numpy()} <= known
