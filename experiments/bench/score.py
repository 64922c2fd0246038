"""``fl-node score`` on a made-up brand: ``python -m experiments.bench.score --out F.json``.

One row a customer, 32 numbers and 4 categories, a Parquet file as the source; three reasons for
each, probabilities calibrated on all rows, a hand-over list of 2,000, scores as CSV. Every figure
is a fresh process from its start to its end, in turn with one that only imports what scoring needs
(torch, pandas, scipy), so their ratio does not depend on the machine's load; beside
the time on the clock, which does, stands the processor time. Rows
``{case, metric, value, unit}``. Goal: 100,000 customers in under 5 s.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd

from clients.brand_data import write_samples
from clients.received import Received, save
from experiments.bench.published import Row, publish, row
from fl.data.schema import Category, Number, Schema
from fl.models import MODELS
from fl.models.parameters import parameters
from fl.seeds import numpy_generator, torch_generator

SCHEMA = Schema(
    (
        *(Number(f"x{i}", 0, 100, log=i % 2 == 0) for i in range(32)),
        *(Category(f"c{i}", tuple("abcdefgh")) for i in range(4)),
    ),
    "bought",
)
MAPPING = """\
[source]
name = "files"
[rows]
table = "customers.parquet"
label = "bought"
customer = "customer"
"""
IMPORTS = "import torch, pandas, pyarrow.parquet, scipy.optimize"
_ROOT = Path(__file__).resolve().parents[2]


def prepare(home: Path, customers: int) -> None:
    """A node's folder with that many customers, and a model of each kind."""
    rng = numpy_generator(0, "score bench")
    x = rng.exponential(20, (customers, 32))
    rows = pd.DataFrame(x, columns=[f"x{i}" for i in range(32)])
    for i in range(4):
        rows[f"c{i}"] = rng.choice(list("abcdefghi"), customers)
    chance = 1 / (1 + np.exp(3 - x[:, 0] / 20))
    rows["bought"] = (rng.random(customers) < chance).astype(int)
    rows["customer"] = [f"C{i:07d}" for i in range(customers)]
    write_samples(home)
    (home / "mapping.toml").write_text(MAPPING, "utf-8")
    rows.to_parquet(home / "customers.parquet")
    for name, config in MODELS.items():
        architecture = config()
        start = parameters(architecture.build(SCHEMA, torch_generator(0, "score bench")))
        params = {n: rng.normal(0, 0.2, a.shape).astype(np.float32) for n, a in start.items()}
        save(home / "runs" / name, Received(SCHEMA, architecture, params, name))


def measure(customers: int, repeats: int) -> list[Row]:
    """``repeats`` times each model and the imports alone, in turn, after one that fills caches."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        prepare(home, customers)
        cases = {
            name: [
                *("-m", "clients.cli", "score", name, "--home", folder),
                *("--out", f"{folder}/all.csv", "--list", f"{folder}/list.csv"),
                *("--team", "calls=2000"),
            ]
            for name in MODELS
        }
        cases["imports"] = ["-c", IMPORTS]
        for arguments in cases.values():
            seconds(arguments)
        taken: dict[str, list[tuple[float, float]]] = {case: [] for case in cases}
        for _ in range(repeats):
            for case, arguments in cases.items():
                taken[case].append(seconds(arguments))
    found: list[Row] = []
    for case, times in taken.items():
        of = f"{case}, {customers} customers" if case in MODELS else case
        walls, used = zip(*times, strict=True)
        figures = {"median": median(walls), "slowest": max(walls), "processor": median(used)}
        found += [row(of, metric, value, "s") for metric, value in figures.items()]
        if case in MODELS:
            alone = [wall for wall, _ in taken["imports"]]
            ratio = median(a / b for a, b in zip(walls, alone, strict=True))
            found.append(row(of, "over_imports", ratio, "ratio"))
    return found


def seconds(arguments: list[str]) -> tuple[float, float]:
    """Wall time and processor time of one fresh interpreter.

    Raises:
        CalledProcessError: it did not end with code 0.
    """
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=_ROOT, stdout=subprocess.DEVNULL, check=True)
    wall, now = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime


def main() -> None:
    """Measure and write ``--out``."""
    parser = argparse.ArgumentParser(prog="experiments.bench.score", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json")
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    measured = measure(asked.customers, asked.repeats)
    publish(asked.out, "score", measured, ("torch", "pandas", "scipy"))


if __name__ == "__main__":
    main()
