"""A federation of nodes trains a recommender from the brands' own tables of histories."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np

from experiments.deployment.rehearsal import conduct, services
from experiments.deployment.world import World
from fl.arrays import from_bytes
from fl.data.columns import Category
from fl.data.histories import Cut, history_rows
from fl.data.schema import Schema
from server.files import RunFiles
from server.home import Home
from server.proposing import propose
from tests.deployment.small import BRANDS, VALUES
from tests.preference.worlds import ITEMS, purchases

CATALOGUE = tuple(f"i{n:02d}" for n in range(ITEMS))


def test_nodes_train_a_recommender_under_shared_noise(tmp_path: Path) -> None:
    place = World(tmp_path / "w", BRANDS, False)
    tables = {}
    for number, brand in enumerate(BRANDS):
        rows = history_rows(purchases(brand, 120 + number), Cut(10))
        tables[brand] = rows.loc[rows["split"] == "train", ["customer", "history", "split"]]
    schema = Schema((Category("history", CATALOGUE),), "split")
    with contextlib.redirect_stdout(io.StringIO()):
        place.build(tables, schema, rehearsal=True)
    for brand in BRANDS:
        policy = place.node(brand) / "policy.toml"
        policy.write_text(policy.read_text().replace('["conversion"]', '["preference"]'))
    asked = {
        **VALUES,
        "data": {
            "name": "table",
            "label": "split",
            "columns": {"history": {"values": list(CATALOGUE)}},
        },
        "task": {"name": "preference", "loss": "squared", "length": 10},
        "model": {"name": "factorisation", "dim": 4, "per_customer": True},
        "privacy": {**VALUES["privacy"], "customers": 120.0},
        "rounds": 2,
    }
    files = propose(Home(place.server), asked, "operator")
    nodes = services(place)
    conduct(files, nodes)
    for node in nodes.values():
        node.close()
    assert files.status()["state"] == "done"
    (learned,) = from_bytes(RunFiles(Home(place.server), files.run).model.read_bytes()).values()
    assert learned.shape == (ITEMS, 4) and np.isfinite(learned).all() and learned.std() > 0
