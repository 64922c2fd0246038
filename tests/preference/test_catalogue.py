"""Which items exist: the publisher's list, or a list that purchases made, and then it is said."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from experiments.promises import BRANDS, CATALOGUE
from fl.data import panel_histories
from fl.data.panel import products, transactions
from fl.data.panel_histories import PanelHistories
from tests.runs.conftest import a_place_of_its_own  # noqa: F401
from tests.runs.test_preference import FACTORS, LOCAL, run


def test_no_household_decides_which_categories_the_panel_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three categories were bought by one household each: without it, they stay."""
    lines = transactions()
    by = lines.groupby("product_category")["household_id"].nunique()
    rare = lines[lines["product_category"].isin(by.index[by == 1])]
    assert len(rare) > 0
    few = lines[lines["household_id"].isin(lines["household_id"].unique()[:200])]
    few = few[~few["household_id"].isin(rare["household_id"])]
    monkeypatch.setattr(panel_histories, "transactions", lambda: few)
    (column,) = PanelHistories(min_households=2).load().schema.columns
    listed = pd.Series(products()["product_category"].dropna().unique())
    assert column == _column(sorted(listed)) and set(rare["product_category"]) <= set(listed)


def _column(items: list[str]) -> object:
    return panel_histories.catalogue_schema(items).columns[0]


@pytest.mark.parametrize("published", [True, False])
def test_a_catalogue_that_purchases_made_is_said_not_to_be_covered(
    published: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PanelHistories, "published_catalogue", published)
    more = ("arms=[federated]", "training.optimizer=sgd", "secure_sum=brandagg", "rounds=1")
    assert run(*FACTORS, *LOCAL, *more, "evaluate_every=1") == 0
    (said,) = json.loads(Path("run/run.json").read_text())["statements"].values()
    assert (CATALOGUE[0] in said["not_covered"]) is not published
    assert (CATALOGUE[0] in Path("run/report.html").read_text()) is not published
    assert BRANDS[0] in said["not_covered"]
