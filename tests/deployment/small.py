"""Four small brands in this process: folders as people would make them, no server, no network."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.deployment.world import World
from fl.data.columns import Category, Number
from fl.data.schema import Schema
from server.files import RunFiles
from server.home import Home
from server.proposing import propose

BRANDS = ("a", "b", "c", "d")
SECRET = "zq-private-value"  # a cell that must never be in a log
SCHEMA = Schema((Number("age", 0, 100), Category("city", ("x", "y", SECRET))), "bought")
COLUMNS = {"age": {"low": 0, "high": 100}, "city": {"values": ["x", "y", SECRET]}}

VALUES: dict[str, Any] = {
    "experiment": "small",
    "data": {"name": "table", "label": "bought", "columns": COLUMNS},
    "task": {"name": "conversion"},
    "model": {"name": "logistic"},
    "algorithm": {"name": "fedsgd", "server_learning_rate": 1.0},
    "privacy": {
        "name": "distributed",
        "epsilon": 3.0,
        "customers": 150.0,
        "noise_source": "insecure_noise_for_tests",
        "dropouts": 1,
        "colluders": 1,
    },
    "secure_sum": {"name": "brandagg", "min_brands": 3},
    "training": {},
    "rounds": 4,
    "seeds": [7],
}


def table(number: int, rows: int = 200) -> pd.DataFrame:
    """One brand's rows; a customer has one or two."""
    rng = np.random.default_rng(number)
    age = rng.integers(0, 101, rows)
    city = rng.choice(["x", "y", SECRET], rows)
    bought = (rng.random(rows) < age / 150).astype(int)
    customer = [f"k{i}" for i in rng.integers(0, rows, rows)]
    return pd.DataFrame({"age": age, "city": city, "bought": bought, "customer": customer})


def world(
    folder: Path, *, proxy: bool = False, rehearsal: bool = True, lifetime: float = 20.0
) -> World:
    """Coordinator and brands; nothing runs yet."""
    made = World(folder, BRANDS, proxy)
    tables = {name: table(i) for i, name in enumerate(BRANDS)}
    with contextlib.redirect_stdout(io.StringIO()):
        made.build(tables, SCHEMA, rehearsal=rehearsal, lifetime=lifetime)
    return made


def offered(of: World, **changed: Any) -> RunFiles:
    """A run proposed to the brands of a world."""
    return propose(Home(of.server), {**VALUES, **changed}, "operator")
