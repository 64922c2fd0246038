"""A small customer table as a brand's own system would export it, and runs on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.run import command
from fl.seeds import numpy_generator

SHOPS = ("north", "south", "west")
CHOSEN = ("privacy=none", "secure_sum=plain")
SMALL = (
    "rounds=3",
    "seeds=2",
    "runtime.workers=1",
    "tuning.budget=1",
    *(
        f"tuning.{arm}={{learning_rate: [0.5], weight_decay: [0.0]}}"
        for arm in ("alone", "federated", "pooled")
    ),
    "tuning.finetuned={learning_rate: [0.1], epochs: [1]}",
)


def table(rows_each: int = 120) -> pd.DataFrame:
    """The four columns of the issue, and a shop."""
    rng = numpy_generator(3, "crm")
    n = rows_each * len(SHOPS)
    views = rng.integers(1, 40, n)
    messages = rng.poisson(3, n)
    logit = 0.1 * (views - 20) + 0.4 * (messages - 3)
    return pd.DataFrame(
        {
            "session_duration": rng.exponential(300, n).round(1),
            "message_count": messages,
            "product_views": views,
            "conversion_flag": (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(int),
            "shop": np.repeat(SHOPS, rows_each),
        }
    )


def options(file: Path, out: Path, *more: str) -> list[str]:
    """A small run on the user's own file with a brand column."""
    named = (f"data.path={file}", "data.label=conversion_flag", "data.brand_column=shop")
    return ["data=table", *named, *CHOSEN, *SMALL, f"out={out}", *more]


def run(file: Path, out: Path, *more: str) -> dict[str, Any]:
    """Run to the end and give back ``run.json``."""
    assert command(options(file, out, *more)) == 0
    return read(out)


def read(out: Path) -> dict[str, Any]:
    """``run.json`` of a run."""
    kept = json.loads((out / "run.json").read_text())
    assert isinstance(kept, dict)
    return kept


def results(out: Path) -> list[Mapping[str, Any]]:
    """The rows of ``results.json``."""
    rows = json.loads((out / "results.json").read_text())
    assert isinstance(rows, list)
    return rows
