"""A made-up shop: what follows an item is the item after it, nearly always."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch

from fl.brand import _Step
from fl.data.histories import Cut, catalogue_schema, history_rows
from fl.doors import Drift, Training
from fl.privacy.none import NoPrivacy
from fl.tasks.histories import Histories
from fl.tasks.preference import Preference, PreferenceOptions

ITEMS = 24
SCHEMA = catalogue_schema([f"i{n:02d}" for n in range(ITEMS)])


def purchases(brand: str = "b0", customers: int = 40, baskets: int = 8) -> pd.DataFrame:
    """Each customer walks along the catalogue, one item a basket."""
    rng = np.random.default_rng(len(brand) + customers)
    rows = []
    for who in range(customers):
        at = int(rng.integers(ITEMS))
        for basket in range(baskets):
            rows.append((brand, f"c{who}", basket, f"i{at:02d}"))
            at = (at + 1 if rng.random() < 0.9 else int(rng.integers(ITEMS))) % ITEMS
    return pd.DataFrame(rows, columns=["brand", "customer", "basket", "item"])


def task(model: Any, **options: Any) -> Preference:
    usual = {"length": 10, "targets": 4, "loss": model.losses[0]}
    made: Preference = PreferenceOptions(**{**usual, **options}).task(SCHEMA, model)
    return made


def rows(of: Preference, split: str, table: pd.DataFrame | None = None) -> Histories:
    found = history_rows(purchases() if table is None else table, Cut(10))
    found = found[found["split"] == split]
    return of.examples(found, found["customer"].factorize()[0].astype(np.int64), "brand b0")


def trained(of: Preference, steps: int = 150, rate: float = 0.02) -> torch.nn.Module:
    """A model that has seen the training rows."""
    model = of.model(torch.Generator().manual_seed(3))
    how = Training(learning_rate=rate, steps=steps, batch_size=40, optimizer="adam")
    step = _Step(model, how, Drift())
    for gradient in NoPrivacy().gradients(of, model, rows(of, "train"), how, 5):
        step(gradient)
    return model
