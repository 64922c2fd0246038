"""How time and memory of the cohort runtime grow with brands, customers and rounds.

``python -m experiments.bench.growth --out FILE.json``; a plot goes beside it, as ``FILE.svg``.
Logistic regression on 20 numbers, one epoch, batches of 32, all brands in every round. Every point
is a fresh process: CPU time of a round and its peak resident memory (``VmHWM``) over 3 rounds;
``growth`` is how much the resident memory grew from the fifth to the last of 40 rounds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clients.node import BrandNode
from experiments.bench.published import publish
from experiments.runtimes import Runtime, federation
from fl.algorithms.fedavg import FedAvg
from fl.contracts import Examples
from fl.data.schema import Number, Schema
from fl.doors import Training
from fl.models.logistic import Logistic
from fl.models.parameters import parameters
from fl.privacy import NoPrivacy, PlainSum
from fl.report.files import atomic_write
from fl.report.plots import canvas, draw
from fl.round import coordinate
from fl.seeds import numpy_generator, torch_generator
from fl.tasks.conversion import Conversion

NUMBERS = 20
BY_BRANDS = [(n, 200) for n in (1_000, 2_000, 5_000, 10_000)]
BY_CUSTOMERS = [(2_000, n) for n in (50, 100, 200, 400, 800)]


def point(brands: int, customers: int, rounds: int) -> dict[str, float]:
    """Milliseconds of a round, peak and growth of memory, in this process."""
    torch.set_num_threads(1)
    schema = Schema(tuple(Number(f"f{i}", -1, 1) for i in range(NUMBERS)), "y")
    task, algorithm, plan = Conversion(schema, Logistic()), FedAvg(), NoPrivacy()
    n = brands * customers
    x = torch.from_numpy(numpy_generator(0, "growth").random((n, NUMBERS), np.float32) * 2 - 1)
    rows = Examples(
        x, torch.zeros(n, 0, dtype=torch.int64), (x.sum(1) > 0).float(), torch.arange(n)
    )
    nodes = {
        f"b{i:05d}": BrandNode(
            f"b{i:05d}", {"train": rows.span(i * customers, (i + 1) * customers)}, task, plan,
            PlainSum(), Training(batch_size=32), {"train": algorithm}, seed=0, debug=True,
        )
        for i in range(brands)
    }  # fmt: skip
    made = federation(Runtime("cohort", workers=1), nodes, Counter())
    state = algorithm.init(parameters(task.model(torch_generator(0, "model"))))
    taken, resident = [], []
    for number in range(1, rounds + 1):
        began = time.process_time()
        state = coordinate(
            number, state, kind="train", federation=made, algorithm=algorithm, plan=plan,
            summing=PlainSum(), seed=number,
        ).state  # fmt: skip
        taken.append(time.process_time() - began)
        resident.append(_status("VmRSS"))
    flat = resident[-1] - resident[min(4, len(resident) - 1)]
    return {"round_ms": 1e3 * min(taken[1:]), "peak_mb": _status("VmHWM"), "flat_mb": flat}


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name + ":")) / 1024


def measure() -> list[dict[str, Any]]:
    """All points, and by which power of each quantity time grows."""
    rows: list[dict[str, Any]] = []
    found = {pair: _apart(*pair, 3) for pair in dict.fromkeys([*BY_BRANDS, *BY_CUSTOMERS])}
    for (brands, customers), values in found.items():
        case = f"brands={brands},customers={customers}"
        for metric, unit in (("round_ms", "ms"), ("peak_mb", "MB")):
            rows.append(_row(case, metric, values[metric], unit))
    for name, pairs, place in (("brands", BY_BRANDS, 0), ("customers", BY_CUSTOMERS, 1)):
        sizes = np.log([pair[place] for pair in pairs])
        times = np.log([found[pair]["round_ms"] for pair in pairs])
        rows.append(_row(name, "exponent", float(np.polyfit(sizes, times, 1)[0]), "power"))
    flat = _apart(1_000, 200, 40)["flat_mb"]
    rows.append(_row("rounds 5 to 40 of 1000 brands", "growth_mb", flat, "MB"))
    return rows


def _row(case: str, metric: str, value: float, unit: str) -> dict[str, Any]:
    return {"case": case, "metric": metric, "value": round(value, 3), "unit": unit}


def _apart(brands: int, customers: int, rounds: int) -> dict[str, float]:
    """A point in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "point.json"
        size = f"{brands},{customers},{rounds}"
        me = [sys.executable, "-m", "experiments.bench.growth", "--only", size, "--out", str(out)]
        subprocess.run(me, check=True)
        found: dict[str, float] = json.loads(out.read_text())
        return found


def plot(rows: list[dict[str, Any]]) -> str:
    """Time of a round against both sizes, as SVG."""
    figure, panels = canvas(height=3.6, shape=(1, 2))
    for axes, pairs, place, name in (
        (panels[0], BY_BRANDS, 0, "brands of 200 customers"),
        (panels[1], BY_CUSTOMERS, 1, "customers at each of 2,000 brands"),
    ):
        x = [pair[place] for pair in pairs]
        by_case = {(r["case"], r["metric"]): r["value"] for r in rows}
        y = [by_case[f"brands={b},customers={c}", "round_ms"] for b, c in pairs]
        axes.plot(x, y, marker="o")
        axes.set_xlabel(name)
        axes.set_ylabel("CPU ms of a round")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
    return draw("growth", "Growth", "Time of a round grows linearly.", figure).svg


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.bench.growth", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="where the JSON goes")
    parser.add_argument("--only", help="one point, BRANDS,CUSTOMERS,ROUNDS, in this process")
    given = parser.parse_args()
    if given.only:
        brands, customers, rounds = (int(part) for part in given.only.split(","))
        found = json.dumps(point(brands, customers, rounds))
        atomic_write(given.out, found.encode())
        return
    rows = measure()
    publish(given.out, "growth", rows, ("crossbrand-fl", "torch", "numpy"))
    atomic_write(given.out.with_suffix(".svg"), plot(rows).encode())


if __name__ == "__main__":
    main()
