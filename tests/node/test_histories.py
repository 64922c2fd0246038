"""Histories at a node: lists of a brand's table to train on, and what is no list is set aside."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clients.brand_data import DataFolder, Reading, read
from clients.cli import command
from fl.data.histories import catalogue_schema
from fl.data.intake import Asked
from fl.errors import InputError
from fl.models.popularity import Popularity
from tests.preference import worlds
from tests.shop import TODAY

MAPPING = """\
[source]
name = "files"
folder = "tables"
[rows]
table = "{table}"
customer = "who"
{label}
[rows.columns]
history = "bought"
[limits]
rejected_share = 0.5
"""
ASKED = Asked(catalogue_schema([f"i{n:02d}" for n in range(worlds.ITEMS)]))
WHO = ["ann", "bob", "ann"]
BOUGHT = [["i03", "i01"], [], ["i02", "no such"]]


def folder(home: Path, rows: pd.DataFrame, table: str, label: str = "") -> DataFolder:
    (home / "tables").mkdir()
    if table.endswith(".csv"):
        rows.to_csv(home / "tables" / table, index=False)
    else:
        rows.to_parquet(home / "tables" / table)
    (home / "mapping.toml").write_text(MAPPING.format(table=table, label=label))
    return DataFolder(home)


def taken(of: DataFolder) -> Reading:
    return read(of, ASKED, TODAY, {})


@pytest.mark.parametrize("table", ["h.parquet", "h.csv"])
def test_lists_of_a_table_are_histories_to_train_on(table: str, tmp_path: Path) -> None:
    """In CSV a list is written as JSON; either way the same rows come out."""
    cells = [json.dumps(items) for items in BOUGHT] if table == "h.csv" else BOUGHT
    made = taken(folder(tmp_path, pd.DataFrame({"who": WHO, "bought": cells}), table)).examples()
    assert made.rows["history"].tolist() == [tuple(items) for items in BOUGHT]
    assert made.customer[0] == made.customer[2] != made.customer[1]
    rows = worlds.task(Popularity(), length=3).examples(made.rows, made.customer, "data")
    assert rows.item_bl.tolist() == [[0, 4, 2], [0, 0, 0], [0, 0, 3]]
    assert not rows.next_bk.any() and rows.owned_bo.shape == (3, 0)


def test_a_cell_that_is_no_list_is_set_aside_with_its_reason(tmp_path: Path) -> None:
    cells = ['["i01", "i02"]', "i01 i02", "[1.5]", '["i03"]', '"i04"']
    rows = pd.DataFrame({"who": list("abcde"), "bought": cells})
    of = folder(tmp_path, rows, "h.csv")
    with pytest.raises(InputError, match="rejected_share"):
        taken(of)
    of.mapping.write_text(of.mapping.read_text().replace("0.5", "0.7"))
    (table,) = taken(of).batch.tables
    assert table.rows["history"].tolist() == [("i01", "i02"), ("i03",)]
    assert set(table.rejected["reasons"]) == {"history is no list of items"}
    assert len(table.rejected) == 3


def test_a_row_that_its_brand_holds_out_is_not_trained_on(tmp_path: Path) -> None:
    rows = pd.DataFrame({"who": WHO, "bought": BOUGHT, "part": ["train", "test", "train"]})
    (table,) = taken(folder(tmp_path, rows, "h.parquet", 'label = "part"')).batch.tables
    assert table.rows["customer"].tolist() == ["ann", "ann"]
    assert table.rejected["reasons"].tolist() == ["split is not in its list"]


def test_a_table_of_lists_is_checked_and_shown_before_any_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pd.DataFrame({"who": WHO, "bought": [BOUGHT[0], BOUGHT[1], BOUGHT[0]]})
    folder(tmp_path, rows, "h.parquet")
    for asked in ("check", "preview"):
        assert command([asked, "--home", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "rows repeat another row (1)" in said and "history" in said


def test_another_runs_column_of_that_name_is_no_history(tmp_path: Path) -> None:
    from fl.data.schema import Number, Schema

    rows = pd.DataFrame({"who": WHO, "bought": [3.5, 4.5, 5.0], "visit": [0, 1, 0]})
    of = folder(tmp_path, rows, "h.parquet", 'label = "visit"')
    made = read(of, Asked(Schema((Number("history", 0, 9),), "visit")), TODAY, {}).examples()
    assert np.array_equal(made.rows["history"], [3.5, 4.5, 5.0])
