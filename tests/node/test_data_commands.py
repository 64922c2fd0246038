"""``fl-node`` check, preview, score, outcomes and refresh, as their user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from clients.brand_data import DataFolder
from clients.cli import command
from clients.received import Received, save
from fl.data.schema import Number, Schema
from fl.models import Additive
from fl.models.parameters import parameters
from fl.seeds import numpy_generator, torch_generator
from tests.shop import CUSTOMERS, made, tables


@pytest.fixture
def home(tmp_path: Path) -> DataFolder:
    folder = made(tmp_path / "node")
    columns = (*folder.site().mapped.portrait.columns(), Number("age", 0, 100))
    schema = Schema(columns, "converted")
    start = parameters(Additive().build(schema, torch_generator(0, "m")))
    rng = numpy_generator(0, "commands")
    params = {n: rng.normal(0, 0.3, a.shape).astype("float32") for n, a in start.items()}
    save(folder.home / "runs" / "winter.abc", Received(schema, Additive(), params, "winter"))
    return folder


def run(home: DataFolder, *arguments: object) -> int:
    return command([*map(str, arguments), "--home", str(home.home)])


def test_check_says_what_it_found(home: DataFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(home, "check", "--model", "winter") == 0
    said = capsys.readouterr().out
    assert f"customers: {CUSTOMERS} of" in said
    assert "events.lines.csv:" in said and "The data are in order." in said
    lines = tables()["lines.csv"].assign(paid="private")
    made(home.home, {"lines.csv": lines})
    assert run(home, "check") == 2
    error = capsys.readouterr().err
    assert "limits.rejected_share" in error and "private" not in error
    assert error.count("\n") == 1


def test_a_manual_check_that_went_badly_stops_runs_until_a_better_one(
    home: DataFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(home, "check", "--sample", 60) == 0
    (sheet,) = home.file("manual", "x").parent.glob("sheet-*.csv")
    rows = pd.read_csv(sheet, dtype=str)
    rows.assign(verdict="wrong").to_csv(tmp_path / "bad.csv", index=False)
    assert run(home, "check", "--judge", tmp_path / "bad.csv") == 2
    assert run(home, "check") == 2
    assert "limits.wrong_share" in capsys.readouterr().err
    assert run(home, "check", "--sample", 60) == 0, "a new sheet can still be drawn"
    rows.assign(verdict="ok").to_csv(tmp_path / "good.csv", index=False)
    assert run(home, "check", "--judge", tmp_path / "good.csv") == 0
    assert "0 of 240 random rows are wrong" in capsys.readouterr().out
    assert run(home, "check") == 0
    rows.assign(verdict="ok", cells="x").to_csv(tmp_path / "other.csv", index=False)
    assert run(home, "check", "--judge", tmp_path / "other.csv") == 2
    assert "not the sheet that was drawn" in capsys.readouterr().err
    assert run(home, "check", "--sample", 0) == 2


def test_preview_shows_features_with_and_without_a_model(
    home: DataFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(home, "preview") == 0
    said = capsys.readouterr().out
    assert "recency_days" in said and "Share of all spend: dairy" in said
    assert run(home, "preview", "--model", "winter", "--out", tmp_path / "f.json") == 0
    assert json.loads((tmp_path / "f.json").read_text())["rows"] > 100
    assert run(home, "preview", "--out", tmp_path / "f.txt") == 2


def test_score_hands_over_takes_outcomes_and_calibrates(
    home: DataFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, calls = tmp_path / "all.csv", tmp_path / "calls.csv"
    asked = ("score", "winter", "--out", out, "--list", calls, "--team", "calls=50")
    assert run(home, *asked) == 0
    assert "50 handed over" in capsys.readouterr().out
    listed = pd.read_csv(calls)
    assert len(listed) == 50 and (listed["team"] == "calls").all()
    today = pd.Timestamp.now("UTC").strftime("%Y-%m-%d")
    back = listed[["customer"]].assign(outcome=listed["rank"] % 2, date=today)
    back.to_csv(tmp_path / "back.csv", index=False)
    assert run(home, "outcomes", tmp_path / "back.csv") == 0
    assert "outcomes: 50 rows, 0 rejected" in capsys.readouterr().out
    before = pd.read_csv(out)
    assert run(home, *asked, "--outcomes", tmp_path / "back.csv") == 0
    said = capsys.readouterr().out
    rows = len(pd.read_csv(out))
    assert rows == len(before)
    assert "labelled rows" in said


def test_rows_that_name_no_customer_are_scored_and_not_handed_over(
    home: DataFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After the next export row 7 is somebody else, and would be given row 7's outcome."""
    schema = Schema((Number("age", 0, 100),), "converted")
    start = parameters(Additive().build(schema, torch_generator(0, "m")))
    params = {n: a.astype("float32") for n, a in start.items()}
    save(home.home / "runs" / "ages.abc", Received(schema, Additive(), params, "ages"))
    source = '[source]\nname = "files"\nfolder = "tables"\n'
    home.mapping.write_text(source + '[rows]\ntable = "ages.csv"\n')
    pd.DataFrame({"age": range(20, 60)}).to_csv(home.home / "tables" / "ages.csv", index=False)
    out, back = tmp_path / "all.csv", tmp_path / "back.csv"
    back.write_text("customer,outcome,date\n7,1,2026-06-02\n")
    assert run(home, "score", "ages", "--out", out) == 0
    assert len(pd.read_csv(out)) == 40
    for refused in (
        ("score", "ages", "--out", out, "--team", "calls=5"),
        ("score", "ages", "--out", out, "--outcomes", back),
        ("outcomes", back),
    ):
        assert run(home, *refused) == 2
        assert "mapping, rows.customer: is empty" in capsys.readouterr().err
    assert not home.file("handed_over.parquet").exists()
    assert not home.file("outcomes.parquet").exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("score", "summer", "--out", "a.csv"), "no runs of this node are called so"),
        (("score", "winter", "--out", "a.xlsx"), "name a .csv or .parquet file"),
        (("score", "winter", "--out", "nowhere/a.csv"), "no folder 'nowhere'"),
        (("score", "winter", "--out", "a.csv", "--list", "b.csv"), "no team takes anybody"),
        (("score", "winter", "--out", "a.csv", "--team", "calls"), "NAME=CAPACITY"),
        (("score", "winter", "--out", "a.csv", "--reasons", "-1"), "a number >= 0"),
        (("outcomes", "nowhere.csv"), "no file 'nowhere.csv'"),
        (("refresh", "--model", "nowhere"), "name a folder or one of winter.abc"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_remedy(
    home: DataFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    problem: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(home, *arguments) == 2
    error = capsys.readouterr().err
    assert problem in error and "To fix it:" in error and error.count("\n") == 1
    assert not (tmp_path / "a.csv").exists()


def test_refresh_waits_compares_and_offers(
    home: DataFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(home, "refresh", "--model", "winter", "--made") == 0
    assert run(home, "refresh", "--model", "winter") == 0
    assert "Nothing is due." in capsys.readouterr().out
    made(home.home, {"lines.csv": tables()["lines.csv"].assign(department="bakery")})
    assert run(home, "refresh", "--model", "winter", "--now") == 0
    said = capsys.readouterr().out
    assert "Read again (asked)." in said
    assert "Offers to train again: share_bakery: stability index" in said


def test_a_database_that_is_down_is_one_line(
    home: DataFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    text = home.mapping.read_text()
    source = '[source]\nname = "files"\nfolder = "tables"'
    down = '[source]\nname = "sql"\nurl = "postgresql+psycopg://reader@127.0.0.1:1/crm"'
    home.mapping.write_text(text.replace(source, down))
    for arguments in (("check",), ("preview",), ("score", "winter", "--out", "a.csv")):
        assert run(home, *arguments) == 2
        error = capsys.readouterr().err
        assert "the database did not answer" in error and "127.0.0.1" not in error
