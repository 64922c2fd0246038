"""A mistake gets one line that names field, value and remedy, exit code 2, and leaves nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.run import command
from tests import crm

ROOT = Path(__file__).resolve().parents[2]
Change = Callable[[pd.DataFrame], object]


@dataclass(frozen=True)
class Mistake:
    """What is wrong, and what the message must name."""

    what: str
    named: tuple[str, ...]
    options: tuple[str, ...] = ()
    change: Change = lambda rows: rows

    def __str__(self) -> str:
        return self.what.replace(" ", "-")


def put(column: str, value: object, *places: int) -> Change:
    """Write ``value`` into rows of a column."""

    def change(rows: pd.DataFrame) -> pd.DataFrame:
        cells = rows[column].astype(object)
        cells.iloc[list(places)] = value
        return rows.assign(**{column: cells})

    return change


def one_class(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(conversion_flag=rows["conversion_flag"].where(rows["shop"] != "west", 0))


def with_customers(rows: pd.DataFrame) -> pd.DataFrame:
    """Row 1 (north) and the last row (west) are of one customer."""
    return rows.assign(who=[f"c{i % (len(rows) - 1)}" for i in range(len(rows))])


FILE = (
    Mistake("missing file", ("data.path", "'nowhere.csv'"), ("data.path=nowhere.csv",)),
    Mistake("no file named", ("data.path", "no file is named"), ("data.path=",)),
    Mistake("missing label column", ("data.label", "'sold'", "message_count"), ("data.label=sold",)),
    Mistake("missing brand column", ("data.brand_column", "'x'"), ("data.brand_column=x",)),
    Mistake(
        "missing stated column",
        ("column age", "data.columns"),
        ("data.columns={age: {low: 0, high: 100}}",),
    ),
    Mistake(
        "missing column to drop", ("data.drop", "'age'", "message_count"), ("data.drop=[age]",)
    ),
    Mistake(
        "wrong label",
        ("label conversion_flag", "row 8", "'maybe'", "data.positive"),
        change=put("conversion_flag", "maybe", 7),
    ),
    Mistake(
        "empty label",
        ("label conversion_flag", "row 8", "(missing)"),
        change=put("conversion_flag", None, 7),
    ),
    Mistake(
        "NaN", ("column session_duration", "row 12", "nan"), change=put("session_duration", np.nan, 11)
    ),
    Mistake(
        "infinity", ("column session_duration", "row 3", "inf"), change=put("session_duration", "inf", 2)
    ),
    Mistake(
        "NaN in a stated column",
        ("column session_duration", "row 12", "missing: VALUE"),
        ("data.columns={session_duration: {low: 0, high: 100}}",),
        put("session_duration", np.nan, 11),
    ),
    Mistake(
        "text in a stated number",
        ("column session_duration", "row 12", "'long'"),
        ("data.columns={session_duration: {low: 0, high: 100}}",),
        put("session_duration", "long", 11),
    ),
    Mistake("unnamed brand", ("data.brand_column", "'shop'", "row 5"), change=put("shop", None, 4)),
    Mistake(
        "brand of one class", ("brand west", "one class", "partition.exclude=[west]"), (), one_class
    ),
    Mistake(
        "brand too small for its splits",
        ("brand tiny", "is empty", "partition.min_customers"),
        ("preparation.one_class=keep",),
        put("shop", "tiny", 0),
    ),
    Mistake("brand named like a group", ("brand mean", "rename"), (), put("shop", "mean", *range(60))),
    Mistake(
        "repeated row",
        ("preparation.duplicates", "2 rows"),
        ("preparation.duplicates=refuse",),
        lambda rows: pd.concat([rows, rows[:2]]),
    ),
    Mistake(
        "customer at two brands",
        ("preparation.duplicates", "'c0'", "2 brands"),
        ("preparation.duplicates=refuse", "data.customer_column=who"),
        with_customers,
    ),
    Mistake("no rows", ("data.path", "has no rows"), (), lambda rows: rows[:0]),
    Mistake("only a label", ("data", "no column beside the label"), ("preparation.duplicates=keep",), lambda rows: rows.iloc[:, 3:]),
    Mistake("unknown brand left out", ("partition.exclude", "'x'"), ("partition.exclude=[x]",)),
    Mistake("every brand left out", ("partition", "no brand"), ("partition.min_customers=1000",)),
)

CONFIG = (
    Mistake("unknown key", ("traning", "no such key"), ("traning.epochs=2",)),
    Mistake("unknown key of a group", ("algorithm.mu", "no such key"), ("algorithm.mu=1",)),
    Mistake("unknown added key", ("model.depth", "start"), ("+model.depth=1",)),
    Mistake("unknown added group", ("extra", "top level"), ("+extra=1",)),
    Mistake("unknown experiment", ("experiment", "'nope'", "panel"), ("experiment=nope",)),
    Mistake("unknown algorithm", ("algorithm", "'nope'", "fedprox"), ("algorithm=nope",)),
    Mistake("unknown arm", ("arms", "'x'", "federated"), ("arms=[alone,x]",)),
    Mistake("arms that are no list", ("arms", "alone"), ("arms=alone",)),
    Mistake("arm without its start", ("arms", "federated"), ("arms=[finetuned]",)),
    Mistake("value out of range", ("mu=-1", "algorithm"), ("algorithm=fedprox", "algorithm.mu=-1")),
    Mistake("learning rate of NaN", ("learning_rate=nan", "training"), ("training.learning_rate=nan",)),
    Mistake("wrong type", ("algorithm.mu", "'a'", "float"), ("algorithm=fedprox", "algorithm.mu=a")),
    Mistake("rounds of a wrong type", ("rounds", "'many'"), ("rounds=many",)),
    Mistake("no rounds", ("rounds", "0"), ("rounds=0",)),
    Mistake("half a seed", ("seeds", "1.5"), ("seeds=1.5",)),
    Mistake("repeated seed", ("seeds", "[1, 1]"), ("seeds=[1,1]",)),
    Mistake("no workers", ("workers=0", "runtime"), ("runtime.workers=0",)),
    Mistake("a number for a group", ("training", "3"), ("training=3",)),
    Mistake("nothing for a group", ("command line", "null"), ("privacy=null",)),
    Mistake("privacy not chosen", ("privacy", "not chosen", "none"), ("privacy=???",)),
    Mistake("share above one", ("test=1.5", "preparation"), ("preparation.test=1.5",)),
    Mistake("own scaling misspelt", ("scaling='owm'",), ("preparation.scaling=owm",)),
    Mistake("unequal tuning budgets", ("tuning.alone", "tuning.budget=2"), ("tuning.budget=2",)),
    Mistake("tuning something else", ("tuning.alone.pull",), ("tuning.alone.pull=[0.1]",)),
    Mistake("tuning by text", ("tuning.finetuned.pull", "'a'"), ("tuning.finetuned.pull=[a]",)),
    Mistake("tuning out of range", ("tuning.finetuned", "-1"), ("tuning.finetuned.pull=[-1]",)),
    Mistake("no tuning rows", ("preparation.validation", "budget=2"), (
        "preparation.validation=0",
        "tuning.budget=2",
        *(f"tuning.{arm}.learning_rate=[0.1,0.2]" for arm in ("alone", "federated", "pooled")),
        "tuning.finetuned.learning_rate=[0.1,0.2]",
    )),
    Mistake("no brands", ("brands=0", "partition"), ("partition=iid", "partition.brands=0")),
    Mistake(
        "a brand that nobody is in",
        ("partition.brands", "is empty"),
        ("partition=quantity", "partition.brands=60", "partition.alpha=0.01"),
    ),
    Mistake("no output folder", ("out", "empty"), ("out=",)),
    Mistake("output below a file", ("files", "crm.csv"), ("out=crm.csv/x",)),
    Mistake("output onto a file", ("out", "crm.csv"), ("out=crm.csv",)),
    Mistake("not an option", ("command line", "'fast'"), ("fast",)),
    Mistake("unknown flag", ("command line", "'--fast'"), ("--fast",)),
    Mistake("a list without sweep", ("rounds", "-m"), ("rounds=1,2",)),
    Mistake("dangling reference", ("command line", "nope"), ("data.label=${nope}",)),
    Mistake("resume with options", ("resume", "other options"), ("resume=out",)),
)  # fmt: skip


@pytest.mark.parametrize("mistake", [*FILE, *CONFIG], ids=str)
def test_a_mistake_is_one_line_and_leaves_nothing(
    mistake: Mistake, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    changed = mistake.change(crm.table())
    assert isinstance(changed, pd.DataFrame)
    changed.to_csv("crm.csv", index=False)

    code = command(crm.options(Path("crm.csv"), Path("out"), *mistake.options))

    printed = capfd.readouterr()
    assert_one_line(printed.err)
    assert code == 2
    assert printed.out == ""
    assert all(name in printed.err for name in mistake.named), printed.err
    assert os.listdir(tmp_path) == ["crm.csv"]


def assert_one_line(text: str) -> None:
    assert text.startswith("fl-run: ") and text.endswith(".\n"), text
    assert text.count("\n") == 1, text
    assert "To fix it: " in text
    assert "Traceback" not in text


def test_a_mistake_in_a_process_of_its_own_has_code_2_and_one_line(tmp_path: Path) -> None:
    asked = [sys.executable, "-m", "experiments.run", *crm.options(Path("no.csv"), Path("out"))]
    done = subprocess.run(
        asked, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True
    )
    assert_one_line(done.stderr.decode())
    assert (done.returncode, done.stdout) == (2, b"")
    assert os.listdir(tmp_path) == []


def test_a_finished_run_is_not_overwritten(capfd: pytest.CaptureFixture[str]) -> None:
    crm.table().to_csv("crm.csv", index=False)
    crm.run(Path("crm.csv"), Path("out"), "arms=[alone]", "seeds=1")
    kept = {path.name: path.read_bytes() for path in Path("out").iterdir()}
    capfd.readouterr()

    assert command(crm.options(Path("crm.csv"), Path("out"))) == 2

    error = capfd.readouterr().err
    assert_one_line(error)
    assert "'out'" in error and "resume=out" in error
    assert {path.name: path.read_bytes() for path in Path("out").iterdir()} == kept


@pytest.mark.parametrize("folder", ["nowhere", "."])
def test_there_is_nothing_to_resume(folder: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert command([f"resume={folder}"]) == 2
    error = capfd.readouterr().err
    assert_one_line(error)
    assert folder in error
    assert os.listdir() == []


@pytest.mark.parametrize("workers", [1, 2])
def test_training_that_diverges_at_every_brand_is_one_line(
    workers: int, capfd: pytest.CaptureFixture[str]
) -> None:
    crm.table().to_csv("crm.csv", index=False)
    wild = "tuning.federated={learning_rate: [1e30], weight_decay: [1e30]}"
    more = (wild, "arms=[federated]", f"runtime.workers={workers}")

    assert command(crm.options(Path("crm.csv"), Path("out"), *more)) == 2

    last = capfd.readouterr().err.splitlines()[-1]
    assert_one_line(last + "\n")
    assert "training: round 2: none of 3 brands" in last  # the first one is still finite
    assert "training.learning_rate" in last


def test_a_mapping_without_fixed_keys_can_be_set_from_the_command_line(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The remedy that messages offer works as it is written."""
    put("session_duration", None, 3)(crm.table()).to_csv("crm.csv", index=False)
    stated = "data.columns={session_duration: {low: 0, high: 2000, missing: 0}}"
    kept = crm.run(Path("crm.csv"), Path("out"), stated, "arms=[alone]")
    assert kept["config"]["data"]["columns"] == {
        "session_duration": {"low": 0, "high": 2000, "missing": 0}
    }
