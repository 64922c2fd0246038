"""What one brand's update costs: our runtimes, a plain torch loop and bare formulas, in turn.

``python -m experiments.bench.engine --out FILE.json``. The work of ``peers.md``: 100 brands of 500
rows and 64 numbers, one epoch of batches of 32 in stored order, SGD 0.1, 10 or 100 brands a round;
logistic regression or a 64-128-1 perceptron (ReLU); one torch thread. ``cohort`` and ``inprocess``
are whole rounds of the framework (plan, sum, checks); ``torch_loop`` is what a peer's client script
does, ``formula`` stacked models without a framework. Sides take turns within one process; of each
the tenth percentile of the rounds counts, as other jobs share the machine.

Cases: ``lr10 lr100 mlp10 mlp100``, the same with ``_dp`` (customer-level DP-SGD, the same number of
steps and expected batch; noise from secure randomness; ``noise`` is its normal variates alone, the
floor of what privacy costs), ``_scaffold`` and ``_shuffled``, and
``embedding`` (16 columns of 2,000 ids, 8 numbers each, 16 numbers, 64 hidden, 10 brands a round).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.bench.engine_formulas import Flow, embedded, stacked, torch_loop
from experiments.bench.engine_world import BRANDS, CASES, Case, World
from experiments.bench.published import publish
from experiments.runtimes import cores

QUICK, WARM = 6, 3


def sides(case: Case) -> Mapping[str, Callable[[], None]]:
    """One round of each side; all train the same brands in the same round."""
    world = World(case)
    made: dict[str, Callable[[], None]] = {
        runtime: world.side(runtime).round for runtime in ("cohort", "inprocess")
    }
    if case.more == "dp":
        made["noise"] = world.noise()
    if case.plain and case.cohort == BRANDS and cores() > 1:
        made["two_workers"] = world.side("cohort", 2).round
    if case.plain:
        kinds: Mapping[str, Flow] = {
            "torch_loop": torch_loop,
            "formula": embedded if case.model == "embedding" else stacked,
        }
        made |= {name: world.bare(flow) for name, flow in kinds.items()}
    return made


def measure(names: list[str], rounds: int) -> list[dict[str, Any]]:
    """CPU and wall milliseconds of an update, by case and side."""
    rows: list[dict[str, Any]] = []
    base: dict[str, float] = {}
    for name in names:
        case = CASES[name]
        turns = sides(case)
        taken: dict[str, list[tuple[float, float]]] = {side: [] for side in turns}
        for number in range(WARM + rounds):
            for side, turn in turns.items():
                if side in ("inprocess", "torch_loop") and number >= WARM + QUICK:
                    continue  # slow, and steady soon
                began = time.perf_counter(), time.process_time()
                turn()
                if number >= WARM:
                    took = time.perf_counter() - began[0], time.process_time() - began[1]
                    taken[side].append(took)
        cpu = {s: 1e3 * low([t[1] for t in t_s]) / case.cohort for s, t_s in taken.items()}
        wall = {s: 1e3 * low([t[0] for t in t_s]) / case.cohort for s, t_s in taken.items()}
        base[name] = cpu["cohort"]
        if (two := wall.get("two_workers")) is not None:  # most of its work is in other processes
            del cpu["two_workers"]
            rows.append(row(name, "two_workers_speedup", wall["cohort"] / two, "ratio"))
        values = {f"{side}_cpu_ms": ms for side, ms in cpu.items()}
        values |= {f"{side}_wall_ms": ms for side, ms in wall.items()}
        rows += [row(name, metric, ms, "ms") for metric, ms in values.items()]
        ratios = {f"{s}_over_cohort": cpu[s] / cpu["cohort"] for s in cpu if s != "cohort"}
        if "formula" in cpu:
            ratios["cohort_over_formula"] = cpu["cohort"] / cpu.pop("formula")
        plain = name.split("_")[0]
        if plain != name and plain in base:
            ratios["cohort_over_plain"] = base[name] / base[plain]
        rows += [row(name, metric, value, "ratio") for metric, value in ratios.items()]
    return rows


def low(values: list[float]) -> float:
    """The tenth percentile."""
    return float(np.quantile(values, 0.1))


def row(case: str, metric: str, value: float, unit: str) -> dict[str, Any]:
    """One line of the table."""
    return {"case": case, "metric": metric, "value": round(value, 5), "unit": unit}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.bench.engine", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="where the JSON goes")
    parser.add_argument("--rounds", type=int, default=40, help="rounds of each side")
    parser.add_argument("--cases", default=",".join(CASES), help="some of the cases, with commas")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = measure(given.cases.split(","), given.rounds)
    publish(given.out, "engine", found, ("crossbrand-fl", "torch", "numpy"), brands=BRANDS)


if __name__ == "__main__":
    main()
