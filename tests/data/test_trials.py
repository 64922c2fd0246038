"""Campaigns: who was treated, and two published trials with their published figures."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fl.data.campaign import Campaign, stated
from fl.data.dataset import DataSet
from fl.errors import InputError
from fl.report.effects import pooled
from fl.tasks.uplift import Uplift, counted
from tests.filed import load

CAMPAIGN = Campaign("got", "no", ("mail",), "randomised", (0.5, 0.5), "mailed", "bought")
TABLE = pd.DataFrame(
    {
        "got": ["no", "mail", "mail"],
        "mailed": [None, "2024-01-02", "2024-01-03"],
        "bought": ["2024-01-09", None, "2024-01-03"],
    }
)


def cells(data: DataSet) -> tuple[np.ndarray, list[str]]:
    """Exact counts by arm and outcome, all and by brand, as the task counts them."""
    brands = sorted(set(data.rows[data.brand]))
    total: np.ndarray | float = 0.0
    for place, brand in enumerate(brands):
        rows = data.rows[data.rows[data.brand] == brand]
        task = Uplift(data.schema, len(brands), place)
        batch = task.examples(rows, np.arange(len(rows)), brand)
        total = total + task.evaluate(task.model(None), batch)["cells"].sum(0)  # type: ignore[arg-type]
    overall, strata = counted({"cells": np.asarray(total)})
    assert np.array_equal(overall, strata.sum(0))
    return strata, brands


def test_karlan_and_list_s_effect_and_why_rare_rates_are_not_weighted_by_their_variance() -> None:
    strata, brands = cells(load("karlan_list"))
    assert len(brands) == 57 and strata.sum() == 50083
    effect = pooled(strata.sum(0), 1)
    assert 100 * effect.value == pytest.approx(0.418, abs=5e-4)
    assert 100 * effect.error == pytest.approx(0.130, abs=5e-4)
    large = strata[strata.sum((1, 2)) >= 300]
    n, p = large.sum(2), large[:, :, 1] / large.sum(2)
    v, found = (p * (1 - p) / n).sum(1), p[:, 1] - p[:, 0]
    assert len(large) == 32
    assert (np.abs(found) > 1.96 * np.sqrt(v)).sum() == 6
    assert 100 * (found / v).sum() / (1 / v).sum() == pytest.approx(0.578, abs=5e-4)


def test_hillstrom_s_effects() -> None:
    strata, brands = cells(load("hillstrom"))
    total = strata.sum(0)
    rates = 100 * total[:, 1] / total.sum(1)
    assert len(brands) == 9 and total.sum() == 64000
    assert rates == pytest.approx([10.62, 18.28, 15.14], abs=5e-3)
    assert 100 * pooled(total, 1).value == pytest.approx(7.66, abs=5e-3)
    assert 100 * pooled(total, 2).value == pytest.approx(4.52, abs=5e-3)


def test_minus_999_is_missing() -> None:
    data = load("karlan_list")
    features = data.rows[[c.name for c in data.schema.columns]]
    assert (features != -999).all().all() and features["female"].isna().sum() == 1111


def test_arms_are_codes_in_order() -> None:
    assert CAMPAIGN.codes(TABLE).tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("got", "letter", "neither the control 'no' nor one of the arms"),
        ("got", None, "neither the control"),
        ("bought", "2024-01-01", "the treatment came after the outcome"),
        ("mailed", None, "a treated customer has no date of treatment"),
        ("mailed", "soon", "holds cells that are no dates"),
    ],
)
def test_what_no_effect_can_be_read_from_is_refused(
    column: str, value: str | None, problem: str
) -> None:
    table = TABLE.copy()
    table.loc[2, column] = value
    with pytest.raises(InputError, match=problem):
        CAMPAIGN.codes(table)


def test_missing_columns_mixed_customers_and_no_campaign_are_refused() -> None:
    with pytest.raises(InputError, match="column mailed: not among"):
        CAMPAIGN.codes(TABLE.drop(columns="mailed"))
    with pytest.raises(InputError, match="1 customers are in more than one arm"):
        CAMPAIGN.of_customers(TABLE, np.array([5, 5, 6]), "brand a")
    with pytest.raises(InputError, match="not known who was treated"):
        stated(None)
    for wrong in (("no",), ()):
        with pytest.raises(ValueError, match="arms"):
            Campaign("got", "no", wrong, "randomised")
    with pytest.raises(ValueError, match="design"):
        Campaign("got", "no", ("mail",), "assumed")
    with pytest.raises(ValueError, match="shares"):
        Campaign("got", "no", ("mail",), "randomised", (0.5, 0.6))
