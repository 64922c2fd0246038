"""How often disclosure rules err by their noise, at the epsilon of the two benchmarks.

``python -m experiments.bench.disclosure --out FILE.json``

For samples of ``benchmark_retail`` and ``benchmark_beer`` of several sizes, under shared noise at
epsilon 1: how often all customers are suppressed where the exact rules release them
(``false_suppression``), and how often they are released although one brand has so much of a total
(``missed_at_0.50``, ``0.55``, ``0.60``: that brand's part is scaled until its largest share is just
that, which the exact rules suppress). Noise is simulated; rules, weights and sigma are the ones of
a run. A released sample counts again with new noise, so figures are means over samples and noise.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import nn

from experiments.bench.published import publish
from experiments.progress import meter
from experiments.questions.asking import in_force
from experiments.questions.benchmark import Benchmark, spread_of
from experiments.questions.inquiry import Inquiry, inquiry
from experiments.questions.study import Tables
from fl.algorithms.disclosure import Disclosure
from fl.contracts import Floats
from fl.data.divide import undivided
from fl.privacy import Plan
from fl.seeds import Generator, numpy_generator
from fl.tasks.statistics import Statistics
from server.proposing import composed

EXPERIMENTS, SIZES = ("benchmark_retail", "benchmark_beer"), (2_000, 20_000)
SAMPLES, DRAWS, SHARES = 10, 200, (0.5, 0.55, 0.6)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="write the figures here")
    out: Path = parser.parse_args().out
    rows: list[dict[str, object]] = []
    with meter("disclosure rules", len(EXPERIMENTS) * len(SIZES) * SAMPLES) as tick:
        for experiment in EXPERIMENTS:
            how = inquiry(dict(composed([f"experiment={experiment}", "out=unused"])))
            data = how.source.load()
            for size in SIZES:
                found: dict[str, list[float]] = {}
                for seed in range(SAMPLES):
                    study = replace(_study(how), sample=size)
                    tables = undivided(study.drawn(data, seed), how.partition, seed)
                    task = study.task(data)
                    for metric, value in _errors(study, task, tables, how.plans, seed).items():
                        found.setdefault(metric, []).append(value)
                    tick(1)
                rows += [
                    {
                        "case": f"{experiment}, {size}",
                        "metric": metric,
                        "value": float(np.mean(values)),
                        "unit": "share of releases",
                    }
                    for metric, values in found.items()
                ]
    publish(out, "disclosure", rows, ("numpy", "torch"), samples=SAMPLES, draws=DRAWS)


def _study(how: Inquiry) -> Benchmark:
    if not isinstance(how.study, Benchmark):
        raise TypeError("Expected an experiment of task=statistics.")
    return how.study


def _errors(
    study: Benchmark, task: Statistics, tables: Tables, plans: Mapping[str, Plan], seed: int
) -> dict[str, float]:
    plan = next(p for p in plans.values() if p.name == "distributed")
    brands = [task.examples(t.rows, t.customers, b) for b, t in tables.items()]
    rules = study.rules(task)
    rules = replace(rules, spread=spread_of(in_force(plan, rules, len(brands)), rules.share_own))
    noise = numpy_generator(seed, "noise of rules")
    own = np.stack(
        [np.asarray(task.evaluate(nn.Module(), rows)["own"], np.float64).sum(0) for rows in brands]
    )
    found: dict[str, float] = {}
    if outcome(replace(rules, spread=0.0), own) == 0:
        found["false_suppression"] = suppressed(rules, own, noise)
    for share in SHARES:
        found[f"missed_at_{share:.2f}"] = 1 - suppressed(rules, dominated(own, share), noise)
    return found


def dominated(own: Floats, share: float) -> Floats:
    """``own`` with the part of the largest brand scaled until its largest share is ``share``."""
    rest = own[:, 0].sum(0)
    brand = int(np.argmax((own[:, 0] / np.maximum(rest, 1e-9)).max(1)))
    others = rest - own[brand, 0]
    factor = (share / (1 - share) * others / np.maximum(own[brand, 0], 1e-9)).min()
    made = own.copy()
    made[brand] *= factor * (1 + 1e-9)
    return made


def suppressed(rules: Disclosure, own: Floats, noise: Generator) -> float:
    """How often all customers are suppressed."""
    return float(np.mean([outcome(rules, own, noise) > 0 for _ in range(DRAWS)]))


def outcome(rules: Disclosure, own: Floats, noise: Generator | None = None) -> int:
    """The reason for all customers, as a place in ``REASONS``, under one draw of noise.

    Args:
        own: exact ``own`` of each brand, ``[brands, cells, values]``.
    """
    sigma = rules.spread * np.sqrt(rules.share_own)
    exact = own.sum(0) / rules.own_weight * np.asarray(rules.weights)
    off = np.zeros_like(exact)
    if noise is not None:
        off = noise.normal(0, sigma / np.sqrt(rules.share_totals), exact.shape)
    state = rules.apply(rules.init({}), {"totals": exact + off})
    total = rules.own_total(state["totals"])
    shares = (own / total).max(2)
    if noise is not None:
        shares = shares + noise.normal(0, 1, shares.shape) * rules.noise(total)
    above = np.sum([rules.above(share, total) for share in shares], 0)
    return int(np.asarray(rules.apply(state, {"above": above})["reasons"])[0])


if __name__ == "__main__":
    main()
