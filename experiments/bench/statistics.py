"""What statistics over 50 brands and 1,000 cells cost, with the secure sum and without.

``python -m experiments.bench.statistics --out FILE.json``

Whole questions in this process: enrolment, ledgers, all rounds, under shared noise at epsilon 1.
Case ``totals`` is one sum: customers and the total of a number in each cell. Case ``benchmark`` is
``task=statistics`` with one number and 999 segments: three rounds, disclosure rules, a small tree a
segment. ``cpu_seconds`` counts the processor's time, which other jobs disturb less. The plain sum
is run beside it (its noise would protect nobody there): the ratio is what the secure sum costs.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.bench.published import publish
from experiments.journal import Journal
from experiments.questions.asking import Place, ask
from fl.algorithms.counts import Counts
from fl.algorithms.disclosure import Disclosure
from fl.contracts import Question
from fl.data.columns import Category, Number
from fl.privacy import BrandAgg, CustomerPrivacy, PlainSum, Summing
from fl.seeds import numpy_generator
from fl.tasks.records import Records, Segments
from fl.tasks.statistics import Statistics

BRANDS, CELLS, CUSTOMERS = 50, 1000, 200
REPEATS = 3


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="write the figures here")
    out: Path = parser.parse_args().out
    task = _task()
    brands = {f"brand-{i:02d}": _rows(task, i) for i in range(BRANDS)}
    totals = Counts({"totals": (len(task.cells), len(task.values))}, task.limits())
    rules = Disclosure(
        len(task.cells),
        len(task.values),
        task.widths,
        weights=tuple(task.weights.tolist()),
        own_weight=task.own_weight,
    )
    rows = []
    for case, question in (("totals", totals), ("benchmark", rules)):
        best: dict[str, tuple[float, float]] = {}
        for _ in range(REPEATS):  # interleaved, so that other jobs disturb both alike
            for name, summing in (("plain", PlainSum()), ("brandagg", BrandAgg(min_brands=5))):
                took = _timed(task, brands, question, summing)
                best[name] = min(best.get(name, took), took)
        for name, (cpu, wall) in best.items():
            rows += [
                {"case": f"{case}, {name}", "metric": "cpu_seconds", "value": cpu, "unit": "s"},
                {"case": f"{case}, {name}", "metric": "seconds", "value": wall, "unit": "s"},
            ]
        ratio = best["brandagg"][0] / best["plain"][0]
        rows.append({"case": case, "metric": "brandagg_over_plain", "value": ratio, "unit": "x"})
    setting = {"brands": BRANDS, "cells": CELLS, "customers_each": CUSTOMERS}
    publish(out, "statistics", rows, ("numpy", "torch", "cryptography"), **setting)


def _task() -> Statistics:
    kinds = tuple(f"cell-{i}" for i in range(CELLS - 2))  # with all and (other): CELLS
    return Statistics((Number("spend", 0, 500, log=True),), None, Segments(Category("kind", kinds)))


def _rows(task: Statistics, brand: int) -> Records:
    rng = numpy_generator(0, "bench", brand)
    kinds = rng.integers(0, CELLS - 2, CUSTOMERS)
    table = pd.DataFrame(
        {"spend": rng.exponential(60, CUSTOMERS), "kind": [f"cell-{k}" for k in kinds]}
    )
    return task.examples(table, np.arange(CUSTOMERS), f"brand {brand}")


def _timed(
    task: Statistics, brands: dict[str, Records], question: Question, summing: Summing
) -> tuple[float, float]:
    plan = CustomerPrivacy("distributed", epsilon=1.0, dropouts=0)
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "work")
        place = Place(Path(folder), journal, summing, 0, "bench", True, lambda done: None)
        cpu, wall = time.process_time(), time.perf_counter()
        ask(place, brands, task, question, plan)
        return time.process_time() - cpu, time.perf_counter() - wall


if __name__ == "__main__":
    main()
