"""A brand's data at its node: read, checked, set aside, joined, and the same at every reading."""

from __future__ import annotations

import codecs
import os
import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from clients.brand_data import (
    DataFolder,
    Reading,
    read,
    read_key,
    write_csv,
    write_samples,
)
from clients.manual_check import draw_sheet, take_verdict
from clients.mapping_file import read_mapping
from fl.contracts import Examples
from fl.data.consistency import Batch, Limits
from fl.data.contract import fresh
from fl.data.examples import Made
from fl.data.intake import Asked, sizes
from fl.data.schema import Number, Schema
from fl.data.split import Fractions, by_hash
from fl.errors import InputError
from fl.models import Logistic
from fl.tasks.conversion import Conversion
from tests.postgres import MISSING, PASSWORD, binaries, server
from tests.shop import CUSTOMERS, MAPPING, TODAY, made, tables


def taken(folder: DataFolder, asked: Asked | None = None) -> Reading:
    return read(folder, asked or Asked(), TODAY, {})


def encoded(made: Made, task: Conversion, seed: int) -> dict[str, Examples]:
    split = by_hash(pd.Series(made.customer), Fractions(), seed)
    return {
        name: task.examples(made.rows[split == name], made.customer[split == name], "data")
        for name in ("train", "validation", "test")
    }


def quarantined(folder: DataFolder, name: str) -> pd.DataFrame:
    return pd.read_csv(folder.file("quarantine", f"{name}.csv"), dtype=str)


def test_two_channels_become_one_list_of_customers(tmp_path: Path) -> None:
    reading = taken(made(tmp_path))
    resolved = reading.resolved()
    assert resolved is not None
    assert len(resolved.pseudonym) == CUSTOMERS
    assert not resolved.conflicts
    examples = reading.examples()
    assert examples.cutoff == pd.Timestamp("2026-05-04")
    assert len(set(examples.customer.tolist())) == len(examples.rows)
    assert 0.2 < examples.rows["converted"].mean() < 0.9
    assert examples.rows["view_365"].sum() > 100
    assert examples.rows["share_dairy"].between(0, 1).all()
    assert examples.rows["share_dairy"].mean() > 0.1
    assert examples.rows["age"].between(18, 80).all()
    assert examples.name.str.startswith("shop:").all()


def test_a_mapped_feature_that_a_run_does_not_read_is_left_out(tmp_path: Path) -> None:
    folder = made(tmp_path)
    schema = Schema(folder.site().mapped.portrait.columns(), "converted")
    rows = taken(folder, Asked(schema)).examples().rows
    assert "age" not in rows and len(rows) > 100


def test_a_second_reading_gives_the_same_examples_in_the_same_splits(tmp_path: Path) -> None:
    folder = made(tmp_path)
    portrait = folder.site().mapped.portrait
    task = Conversion(Schema((*portrait.columns(), Number("age", 0, 100)), "converted"), Logistic())
    first = encoded(taken(folder).examples(), task, 7)
    turned = {name: rows.iloc[::-1] for name, rows in tables().items()}
    again = encoded(taken(made(tmp_path, turned)).examples(), task, 7)
    for split, rows in first.items():
        a, b = torch.argsort(rows.customer_b), torch.argsort(again[split].customer_b)
        assert torch.equal(rows.customer_b[a], again[split].customer_b[b])
        assert torch.allclose(rows.x_bf[a], again[split].x_bf[b], atol=1e-6)
    ids = [set(rows.customer_b.tolist()) for rows in first.values()]
    assert len(set.union(*ids)) == sum(map(len, ids))


def test_rejected_rows_are_kept_with_reasons_for_the_owner_alone(tmp_path: Path) -> None:
    lines = tables()["lines.csv"].astype({"paid": object})
    lines.loc[0, "paid"] = "=1+1"
    lines.loc[1, "paid"] = "inf"
    lines.loc[2, "customer_no"] = "nobody"
    lines.loc[3, "ordered_at"] = "2031-01-01"
    lines.loc[4, "ordered_at"] = "yesterday"
    lines.loc[5, "taken_off"] = -1
    lines.loc[6, "customer_no"] = None
    folder = made(tmp_path, {"lines.csv": lines})
    reading = taken(folder)
    rejected = quarantined(folder, "events.lines")
    reasons = dict(zip(rejected["row"].astype(int), rejected["reasons"], strict=True))
    assert reasons == {
        1: "amount is no finite number",
        2: "amount is no finite number",
        3: "customer is not in customers.shop",
        4: "time is in the future",
        5: "time is no date",
        6: "discount is below 0",
        7: "customer is empty",
    }
    assert rejected["amount"].iloc[0] == "'=1+1", "a spreadsheet would run the cell"
    path = folder.file("quarantine", "events.lines.csv")
    assert {p.name for p in path.parent.iterdir()} == {"events.lines.csv"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    table = next(t for t in reading.batch.tables if t.name == "events.lines.csv")
    assert len(table.rows) + len(table.rejected) == table.read == len(lines)
    taken(made(tmp_path))
    assert not path.exists(), "the next reading replaces the quarantine"


def test_the_quarantine_of_a_table_that_left_the_mapping_goes_and_outcomes_stay(
    tmp_path: Path,
) -> None:
    folder = made(tmp_path)
    left, outcomes = (folder.file("quarantine", name) for name in ("old.csv", "outcomes.csv"))
    left.write_text("a customer's row")
    outcomes.write_text("another's")
    taken(folder)
    assert not left.exists()
    assert outcomes.exists()


def test_a_sheet_whose_cells_begin_like_a_formula_is_known_again(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    odd = fresh("rows", pd.DataFrame({"-discount": ["=1+1", "b"]}))
    path = draw_sheet(folder, Batch((odd,)), each=2, seed=0)
    sheet = pd.read_csv(path, dtype=str)
    assert sheet["cells"].str.startswith("'-discount").all()
    assert path.read_bytes().startswith(codecs.BOM_UTF8), "a spreadsheet reads it as UTF-8"
    filled = tmp_path / "filled.csv"
    sheet.assign(verdict="ok").to_csv(filled, index=False)
    assert take_verdict(folder, filled, Limits(wrong_share=0.9)).wrong == 0


def test_too_many_rejected_rows_stop_the_run_after_the_quarantine_is_written(
    tmp_path: Path,
) -> None:
    lines = tables()["lines.csv"].astype({"paid": object})
    lines.loc[lines.index % 5 == 0, "paid"] = "secret-cell"
    folder = made(tmp_path, {"lines.csv": lines})
    with pytest.raises(InputError, match=r"more than limits\.rejected_share = 0\.1") as raised:
        taken(folder)
    assert "amount is no finite number" in str(raised.value)
    assert "secret-cell" not in str(raised.value)
    assert len(quarantined(folder, "events.lines")) == len(lines.loc[::5])


def test_duplicated_customers_are_not_believed_unless_they_are_equal(tmp_path: Path) -> None:
    customers = tables()["customers.csv"]
    twice = pd.concat([customers, customers.iloc[[0]], customers.iloc[[1]].assign(age_years=1)])
    folder = made(tmp_path, {"customers.csv": twice})
    taken(folder)
    rejected = quarantined(folder, "customers.shop")
    assert sorted(zip(rejected["row"].astype(int), rejected["reasons"], strict=True)) == [
        (2, "another row has the same customer and other cells"),
        (CUSTOMERS + 1, "repeats a row (customer)"),
        (CUSTOMERS + 2, "another row has the same customer and other cells"),
    ]
    lost = quarantined(folder, "events.lines")
    assert set(lost["customer"]) == {"00002"}


def test_orders_must_add_up_and_belong_to_one_customer(tmp_path: Path) -> None:
    lines = tables()["lines.csv"]
    orders = lines.groupby("order_no", as_index=False)["paid"].sum().rename(columns={"paid": "t"})
    orders.loc[0, "t"] += 1
    orders = pd.concat([orders.iloc[:-1], pd.DataFrame({"order_no": ["B1"], "t": [1.0]})])
    lines.loc[1, "order_no"] = lines.loc[len(lines) - 1, "order_no"]
    mapping = MAPPING.split('[[events]]\nof = "app"')[0] + (
        '[orders]\ntable = "orders.csv"\norder = "order_no"\ntotal = "t"\n'
        "[limits]\nrejected_share = 0.1\n"
    )
    folder = made(tmp_path, {"lines.csv": lines, "orders.csv": orders}, mapping)
    events = taken(folder).batch.tables[-1]
    assert set(events.rejected["reasons"]) == {
        "its order's lines do not add up to the total",
        "its order has lines of several customers",
        "order is not in orders",
    } - (
        {"order is not in orders"}
        if "order is not in orders" not in set(events.rejected["reasons"])
        else set()
    )
    assert any(f.problem == "orders without any line" for f in events.findings)


def test_stale_short_and_empty_tables_stop(tmp_path: Path) -> None:
    stale = MAPPING.replace("rejected_share = 0.1", "stale_days = 3")
    old = TODAY + pd.Timedelta(days=30)
    with pytest.raises(InputError, match="the newest event is 30 days old"):
        read(made(tmp_path / "a", None, stale), Asked(), old, {})
    folder = made(tmp_path / "b")
    with pytest.raises(InputError, match=r"a loss beyond limits\.shrink_share"):
        read(folder, Asked(), TODAY, {"customers.shop": 2 * CUSTOMERS + 2})
    empty = {"app.csv": tables()["app.csv"].iloc[:0]}
    with pytest.raises(InputError, match=r"events\.app\.csv: has 0 rows"):
        taken(made(tmp_path / "c", empty))


def test_an_outcome_that_is_not_over_yet_is_refused(tmp_path: Path) -> None:
    mapping = MAPPING.replace("horizon_days = 28", 'horizon_days = 28\ncutoff = "2026-05-20"')
    with pytest.raises(InputError, match="are not over in the data"):
        taken(made(tmp_path, None, mapping)).examples()
    mapping = MAPPING.replace("horizon_days = 28", 'horizon_days = 28\ncutoff = "2024-05-20"')
    with pytest.raises(InputError, match="no purchase before the cut-off"):
        taken(made(tmp_path, None, mapping)).examples()


ROWS = """\
[source]
name = "sql"
url = "{url}"
password_env = "CRM_PASSWORD"
[rows]
table = "examples"
label = "bought"
customer = "who"
columns = {{ age = "age_years" }}
[limits]
rejected_share = 0.5
"""
SCHEMA = Schema(
    (Number("age", 0, 100), Number("visits", 0, 50, missing=0)), "converted", "yes", ("no",)
)


def test_finished_examples_come_from_postgresql_under_the_run_s_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if binaries() is None:
        pytest.skip(MISSING)
    monkeypatch.setenv("CRM_PASSWORD", PASSWORD)
    rows = pd.DataFrame(
        {
            "who": [1, 1, 2, 3, 4, 5],
            "age_years": [30.0, 31.0, np.nan, np.inf, 50.0, 20.0],
            "visits": [1, 2, 3, 4, None, 1],
            "bought": ["yes", "no", "no", "no", "perhaps", "no"],
            "secret": "x",
        }
    )
    with server() as running:
        with running.engine().begin() as connection:
            rows.to_sql("examples", connection, index=False)
        write_samples(tmp_path)
        (tmp_path / "mapping.toml").write_text(ROWS.format(url=running.url))
        folder = DataFolder(tmp_path)
        reading = read(folder, Asked(SCHEMA), TODAY, {})
        with folder.site().open() as reader:
            assert sizes(folder.site().mapped, reader) == {"rows": 6}
    examples = reading.examples()
    assert sorted(examples.rows.columns) == ["age", "converted", "visits"]
    assert examples.name.tolist() == ["1", "1", "5"]
    assert examples.customer[0] == examples.customer[1] != examples.customer[2]
    assert quarantined(folder, "rows")["reasons"].tolist() == [
        "age is empty",
        "age is no finite number",
        "converted is not in its list",
    ]


@pytest.mark.parametrize(
    ("change", "field", "problem"),
    [
        (("customers.csv", "costumers.csv"), "table costumers.csv", "did you mean 'customers.csv'"),
        (('id = "customer_no"', 'id = "customer"'), "table customers.csv", "'customer_no'"),
        (('name = "files"', 'name = "file"'), "source.name", "duckdb, files, sql"),
        (('folder = "tables"', "folder = 3.5.1"), "mapping.toml", "not TOML"),
        (('region = "CN"', 'region = "China"'), "identities", "two capital letters"),
        (("windows_days = [30, 90]", "windows_days = [90, 30]"), "portrait", "ascend"),
        (("horizon_days = 28", "horizon = 28"), "outcome.horizon", "no such key"),
        (("rejected_share = 0.1", "rejected_share = 2"), "limits", r"in \[0, 1\]"),
        (('of = "app"', 'of = "web"'), "mapping", "of='web'"),
        (('[source]\nname = "files"\nfolder = "tables"', ""), "source", "is missing"),
        (('channel = "app"', 'channel = "shop"'), "mapping", "distinct"),
        (
            ("[limits]", '[fields.events.amounts]\nkind = "number"\n[limits]'),
            "fields.events.amounts",
            "no such column",
        ),
        (("[limits]", '[fields.event.x]\nkind = "number"\n[limits]'), "mapping", "'event'"),
    ],
)
def test_a_mistake_in_the_mapping_names_the_field_and_the_remedy(
    tmp_path: Path, change: tuple[str, str], field: str, problem: str
) -> None:
    assert change[0] in MAPPING
    folder = made(tmp_path, None, MAPPING.replace(*change))
    with pytest.raises(InputError, match=problem) as raised:
        taken(folder)
    assert field in raised.value.field
    assert raised.value.remedy


def test_the_sample_mapping_is_one(tmp_path: Path) -> None:
    write_samples(tmp_path)
    site = read_mapping(tmp_path / "mapping.toml")
    assert site.mapped.events[0].categories == {"Dairy products": "dairy"}
    commented = (tmp_path / "mapping.toml").read_text()
    assert write_samples(tmp_path) == []
    assert (tmp_path / "mapping.toml").read_text() == commented


def test_a_mapping_or_key_that_others_could_have_touched_is_refused(tmp_path: Path) -> None:
    folder = made(tmp_path)
    assert len(folder.secret()) == 32
    os.chmod(folder.mapping, 0o622)
    with pytest.raises(InputError, match="others may write it"):
        folder.site()
    os.chmod(folder.key, 0o640)
    with pytest.raises(InputError, match="others may read it"):
        folder.secret()
    folder.key.chmod(0o600)
    folder.key.write_text("abc")
    with pytest.raises(InputError, match="not hex digits"):
        read_key(folder.key)
    folder.key.unlink()
    with pytest.raises(InputError, match="fl-node init"):
        folder.secret()


def test_a_full_disk_leaves_the_old_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.csv"
    write_csv(path, pd.DataFrame({"a": [1]}))

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_csv(path, pd.DataFrame({"a": [2]}))
    assert path.read_text("utf-8-sig") == "a\n1\n"
    assert [p.name for p in tmp_path.iterdir()] == ["a.csv"]
