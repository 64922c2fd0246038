"""Portraits of the panel's households: ``python -m experiments.bench.portrait --out F.json``.

Rows ``{case, metric, value, unit}``: seconds of ``portraits`` on all lines of the panel before a
cut-off at the end of the year, beside one pandas ``groupby().sum()`` of the spend over households,
departments and weeks on the same lines, in turn. Goal: all lines in under 15 s, reading included.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pandas as pd

from experiments.bench.published import Row, publish, row
from fl.data.panel import transactions
from fl.data.portrait import Portrait
from fl.data.portrait_features import portraits

CUTOFF = pd.Timestamp("2018-01-01")
_DEPARTMENTS = ("grocery", "drug_gm", "produce", "meat", "pastry", "deli", "floral", "nutrition")
_KEYS = ("household_id", "department", "week")
HOW = Portrait(categories=_DEPARTMENTS, windows_days=(28, 91, 182), history_days=366)


def events(lines: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The panel's lines as an event log, and how many households there are."""
    customer, households = pd.factorize(lines["household_id"])
    log = pd.DataFrame(
        {
            "customer": customer,
            "time": pd.Timestamp("2016-12-26") + pd.to_timedelta(lines["week"] * 7, unit="D"),
            "order": lines["basket_id"],
            "category": lines["department"].str.lower().str.replace(r"[^a-z]+", "_", regex=True),
            "quantity": lines["quantity"].clip(upper=100),  # fuel is counted in fractions
            "amount": lines["sales_value"],
            "discount": lines["retail_disc"].abs() + lines["coupon_disc"].abs(),
        }
    )
    return log, len(households)


def measure(repeats: int) -> list[Row]:
    """Reading once, then ``repeats`` times both, in turn."""
    began, used = time.perf_counter(), time.process_time()
    lines = transactions()
    log, households = events(lines)
    reading, used = time.perf_counter() - began, time.process_time() - used
    ours, theirs = list[float](), list[float]()
    began = time.process_time()
    portraits(log, households, CUTOFF, HOW)
    used += time.process_time() - began
    for _ in range(repeats):
        ours.append(_seconds(lambda: portraits(log, households, CUTOFF, HOW)))
        theirs.append(_seconds(lambda: lines.groupby(list(_KEYS))["sales_value"].sum()))
    case = f"{len(log)} lines, {households} households, {len(HOW.columns())} features"
    return [
        row(case, "reading", reading, "s"),
        row(case, "portraits_median", median(ours), "s"),
        row(case, "reading_and_portraits", reading + median(ours), "s"),
        row(case, "reading_and_portraits_processor", used, "s"),
        row(case, "over_one_groupby", median(ours) / median(theirs), "ratio"),
    ]


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    """Measure and write ``--out``."""
    parser = argparse.ArgumentParser(prog="experiments.bench.portrait", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json")
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    measured = measure(asked.repeats)
    publish(asked.out, "portrait", measured, ("pandas",))


if __name__ == "__main__":
    main()
