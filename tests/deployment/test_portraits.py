"""From customers and what they did to a deployed run, and back to the brand's own list."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import pandas as pd

from clients.cli import command as node
from experiments.deployment.rehearsal import conduct, services
from experiments.deployment.world import MAPPING, World
from fl.data.columns import Number
from fl.data.schema import Schema
from server.home import Home
from server.proposing import propose
from tests.deployment.small import BRANDS, VALUES

TABLES = """\
[[customers]]
channel = "shop"
table = "customers.csv"
id = "no"
phone = ["mobile"]
email = ["email"]
[[events]]
of = "shop"
table = "lines.csv"
customer = "no"
time = "at"
order = "order"
category = "department"
amount = "paid"
categories = { "Dairy products" = "dairy" }
[identities]
region = "CN"
shared_by_at_most = 10
[portrait]
categories = ["dairy", "bakery"]
windows_days = [30, 90]
history_days = 365
[outcome]
label = "converted"
horizon_days = 28
"""
SOURCE, LIMITS = MAPPING.partition("[rows]")[0], MAPPING[MAPPING.index("[limits]") :]
FEATURES = {
    "recency_days": {"low": 0, "high": 365},
    "orders": {"low": 0, "high": 200, "log": True},
    "spend": {"low": 0, "high": 10_000, "log": True},
    "share_dairy": {"low": 0, "high": 1},
}
CUSTOMERS, LINES = 200, 2500


def fill(folder: Path, brand: str, seed: int) -> None:
    """Customers and a year of their purchases, as two files of the brand's own."""
    rng, now = np.random.default_rng(seed), pd.Timestamp.now("UTC").tz_localize(None)
    number = [f"{brand}{n}" for n in range(CUSTOMERS)]
    people = pd.DataFrame({
        "no": number,
        "mobile": [f"1380000{seed}{n:03d}" for n in range(CUSTOMERS)],
        "email": [f"{one}@example.org" for one in number],
    })  # fmt: skip
    days = pd.to_timedelta(rng.uniform(0.1, 300, LINES), unit="D")
    lines = pd.DataFrame({
        "no": rng.choice(number, LINES),
        "at": (now - days).strftime("%Y-%m-%dT%H:%M:%S"),
        "order": [f"{brand}-{n}" for n in range(LINES)],
        "department": rng.choice(["Dairy products", "bakery", "else"], LINES),
        "paid": rng.exponential(20, LINES).round(2),
    })  # fmt: skip
    people.to_csv(folder / "tables/customers.csv", index=False)
    lines.to_csv(folder / "tables/lines.csv", index=False)
    (folder / "mapping.toml").write_text(SOURCE + TABLES + LIMITS)


def test_portraits_are_trained_on_and_scored_with_the_model_that_comes_back(tmp_path: Path) -> None:
    made = World(tmp_path / "w", BRANDS, False)
    schema = Schema(tuple(Number(name, 0, 1) for name in FEATURES), "converted")
    with contextlib.redirect_stdout(io.StringIO()):
        made.build({b: pd.DataFrame({"customer": ["k"]}) for b in BRANDS}, schema, rehearsal=True)
    for seed, brand in enumerate(BRANDS):
        fill(made.node(brand), brand, seed)
    asked = {**VALUES, "data": {"name": "table", "label": "converted", "columns": FEATURES}}
    files = propose(Home(made.server), {**asked, "rounds": 2}, "operator")
    conduct(files, services(made))
    assert files.status()["state"] == "done"
    out, calls = tmp_path / "scores.csv", tmp_path / "calls.csv"
    line = ["score", "small", "--home", str(made.node("a")), "--out", str(out)]
    assert node([*line, "--list", str(calls), "--team", "calls=20"]) == 0
    scored, handed = pd.read_csv(out), pd.read_csv(calls)
    assert len(scored) == CUSTOMERS and scored["customer"].is_unique
    assert scored["probability"].between(0, 1).all()
    assert handed["customer"].tolist() == scored["customer"].head(20).tolist()
