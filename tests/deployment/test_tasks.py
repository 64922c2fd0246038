"""Every task that can be deployed is trained once by nodes, from their own tables."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from clients.cli import command as node_command
from clients.home import Home as NodeHome
from clients.standing import books_of
from experiments.deployment.rehearsal import conduct, services
from experiments.deployment.world import World
from fl.arrays import from_bytes
from fl.data.campaign import Campaign
from fl.data.columns import Category, Number, Text
from fl.data.histories import Cut, history_rows
from fl.data.schema import Schema
from fl.errors import InputError
from fl.tasks import TASKS
from server.files import RunFiles
from server.home import Home
from server.proposing import propose
from tests import worlds
from tests.deployment import small
from tests.deployment.small import BRANDS, VALUES
from tests.preference.worlds import ITEMS, purchases

CATALOGUE = tuple(f"i{n:02d}" for n in range(ITEMS))
CAMPAIGN = Campaign("arm", "none", ("mail",), "randomised", (0.5, 0.5))
MAILED = {"treatment": "arm", "control": "none", "arms": ["mail"], "design": "randomised",
          "shares": [0.5, 0.5]}  # fmt: skip


def _conversion(number: int) -> pd.DataFrame:
    return small.table(number)


def _preference(number: int) -> pd.DataFrame:
    rows = history_rows(purchases(BRANDS[number], 120 + number), Cut(10))
    return rows.loc[rows["split"] == "train", ["customer", "history", "split"]]


def _targeting(number: int) -> pd.DataFrame:
    rng = np.random.default_rng(number)
    arm = rng.choice(["none", "mail"], 300)
    age = rng.integers(0, 101, 300)
    bought = (rng.random(300) < 0.2 + 0.3 * (arm == "mail") * age / 100).astype(int)
    customer = [f"k{i}" for i in range(300)]
    return pd.DataFrame({"age": age, "arm": arm, "bought": bought, "customer": customer})


def _text(number: int) -> pd.DataFrame:
    messages = worlds.messages(150, number, ("negative", "positive"))
    return messages.assign(customer=[f"k{i}" for i in range(len(messages))])


WORLDS: dict[str, tuple[Any, Schema, dict[str, Any], dict[str, Any]]] = {
    "conversion": (_conversion, small.SCHEMA, {}, {}),
    "preference": (
        _preference,
        Schema((Category("history", CATALOGUE),), "split"),
        {"label": "split", "columns": {"history": {"values": list(CATALOGUE)}}},
        {
            "task": {"name": "preference", "loss": "squared", "length": 10},
            "model": {"name": "factorisation", "dim": 4, "per_customer": True},
        },
    ),
    "targeting": (
        _targeting,
        Schema((Number("age", 0, 100),), "bought", campaign=CAMPAIGN),
        {"label": "bought", "columns": {"age": {"low": 0, "high": 100}}, "campaign": MAILED},
        {"task": {"name": "targeting", "learner": "t"}},
    ),
    "text": (
        _text,
        Schema((Text("message"),), "mood", "positive", ("negative",)),
        {
            "label": "mood",
            "columns": {"message": {"text": True}},
            "positive": "positive",
            "negative": ["negative"],
        },
        {"task": {"name": "text", "buckets": 1024}, "model": {"name": "grams"}},
    ),
}


def place(folder: Path, task: str) -> World:
    """Four nodes whose tables and policies are for ``task``."""
    table, schema, _, _ = WORLDS[task]
    made = World(folder / "w", BRANDS, False)
    with contextlib.redirect_stdout(io.StringIO()):
        tables = {brand: table(number) for number, brand in enumerate(BRANDS)}
        made.build(tables, schema, rehearsal=True)
    for brand in BRANDS:
        policy = made.node(brand) / "policy.toml"
        text = policy.read_text().replace('["conversion"]', f'["{task}"]')
        named = {f'"{name}"' for name in tables[brand].columns if name != "customer"}
        columns = f"[{', '.join(sorted(named))}]"
        lines = [
            f"{line.split(' = ')[0]} = {columns}"
            if line.startswith(("allowed =", "use ="))
            else line
            for line in text.splitlines()
        ]
        policy.write_text("\n".join(lines) + "\n")
    return made


def asked(task: str) -> dict[str, Any]:
    _, _, data, more = WORLDS[task]
    named = {**VALUES["data"], **data}
    privacy = {**VALUES["privacy"], "customers": 120.0}
    return {**VALUES, "data": named, "privacy": privacy, "rounds": 2, **more}


@pytest.mark.parametrize("task", sorted(TASKS))
def test_nodes_train_it_under_shared_noise(task: str, tmp_path: Path) -> None:
    made = place(tmp_path, task)
    files = propose(Home(made.server), asked(task), "operator")
    conduct(files, services(made))
    assert files.status()["state"] == "done"
    learned = from_bytes(RunFiles(Home(made.server), files.run).model.read_bytes())
    numbers = np.concatenate([np.ravel(part) for part in learned.values()])
    assert np.isfinite(numbers).all() and np.abs(numbers).max() > 0


def test_a_brand_lists_its_messages_to_answer_first(tmp_path: Path) -> None:
    """With the model of a deployed run, from a table without labels."""
    made = place(tmp_path, "text")
    files = propose(Home(made.server), asked("text") | {"rounds": 6}, "operator")
    conduct(files, services(made))
    home, out = made.node("a"), tmp_path / "alerts.csv"
    table = home / "tables/examples.parquet"
    truth = pd.read_parquet(table)
    truth.drop(columns="mood").to_parquet(table, index=False)
    line = ["alerts", "small", "--class", "negative", "--most", "20", "--home", str(home)]
    assert node_command([*line, "--out", str(out)]) == 0
    found = pd.read_csv(out)
    assert list(found.columns) == ["customer", "row", "probability", "message"] and len(found) == 20
    assert found["probability"].is_monotonic_decreasing and out.stat().st_mode & 0o77 == 0
    mood = truth.set_index("customer")["mood"].loc[found["customer"]]
    assert (mood == "negative").mean() > 0.8
    said = truth.set_index("customer")["message"].loc[found["customer"]]
    assert said.tolist() == found["message"].tolist()
    assert node_command([*line[:3], "angry", "--home", str(home), "--out", str(out)]) == 2


def test_rows_that_a_task_cannot_read_cost_no_budget(tmp_path: Path) -> None:
    """An arm that the campaign does not name is found before anything is booked."""
    made = place(tmp_path, "targeting")
    path = made.node("a") / "tables/examples.parquet"
    pd.read_parquet(path).drop(columns="arm").to_parquet(path, index=False)
    files = propose(Home(made.server), asked("targeting"), "operator")
    with pytest.raises(InputError, match=r"brand\.failed"):
        conduct(files, services(made))
    books = books_of(NodeHome(made.node("a")))
    assert books is None or files.run not in books.runs
