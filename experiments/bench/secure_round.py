"""What BrandAgg adds to a round of training: 10 brands, a model of 20,000 parameters, one process.

Every brand trains a perceptron for one epoch over 2,000 rows of its own, in batches of 64, without
a privacy plan (with one, training takes longer and the sum does not). Rounds with ``plain`` and
with ``brandagg`` (mode ``recover``, then ``retry``) take turns; of each the median is reported, and
of the overhead the median of the differences between neighbours, in percent of a plain round
(``overhead``) and of the round it is part of (``share``). The ``cpu`` figures count the processor's
time, which other jobs disturb less.

One process plays all brands, so what several of them would work out alike is worked out once
(``fl/privacy/secagg/once.py``). In ``..._alone`` it is not: every brand and the coordinator verify
every signature, agree on every key and follow every sum by themselves, as ten deployed ones do.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from clients.node import BrandNode
from fl.algorithms.fedavg import FedAvg
from fl.contracts import BrandSum, Examples, Federation, SecureSum
from fl.data.schema import Number, Schema
from fl.doors import Training
from fl.federation.inprocess import InProcessFederation
from fl.models import MODELS
from fl.models.parameters import parameters
from fl.privacy import BrandAgg, NoPrivacy, PlainSum
from fl.privacy.secagg.once import anew
from fl.round import coordinate
from fl.seeds import numpy_generator, torch_generator
from fl.tasks.conversion import Conversion

BRANDS, ROWS, FEATURES, HIDDEN = 10, 2_000, 30, (128, 128)
CASE = "round,n=10,d=20000"
PLAN = NoPrivacy("none", "equal")


class Side:
    """A federation that trains with one of the sums."""

    def __init__(self, summing: PlainSum | BrandAgg, *, alone: bool = False) -> None:
        schema = Schema(tuple(Number(f"f{i}", -4, 4) for i in range(FEATURES)), "y")
        task = Conversion(schema, MODELS["mlp"](hidden=HIDDEN))
        self.algorithm, self.number = FedAvg(), 0
        self.state = self.algorithm.init(parameters(task.model(torch_generator(0, "model"))))
        names, served = [f"b{i}" for i in range(BRANDS)], {"train": self.algorithm}
        halves: tuple[SecureSum, Any] = summing.enrol(
            names, algorithms=served, plan=PLAN, first=self.state
        )
        own, brands = by_itself(*halves) if alone else halves
        self.summing = own
        nodes = {name: _node(name, task, brands[name], served) for name in names}
        self.federation: Federation = InProcessFederation({n: x.handle for n, x in nodes.items()})

    def round(self) -> tuple[float, float]:
        """One more round; milliseconds by the wall clock, and of the processor."""
        self.number += 1
        wall, cpu = time.perf_counter(), time.process_time()
        done = coordinate(
            self.number,
            self.state,
            kind="train",
            federation=self.federation,
            algorithm=self.algorithm,
            plan=PLAN,
            summing=self.summing,
            seed=self.number,
        )
        took = 1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu)
        if len(done.collected.survivors) != BRANDS:
            raise RuntimeError("The round lost brands.")
        self.state = done.state
        return took


def by_itself(own: Any, brands: Any) -> tuple[SecureSum, dict[str, BrandSum]]:
    """The halves of a simulation, with nothing remembered from one brand for another."""
    terms = replace(own.terms, once=anew)
    alone = {name: replace(half, terms=terms) for name, half in brands.items()}
    return replace(own, terms=terms), alone


def _node(
    name: str, task: Conversion, half: BrandSum, served: dict[str, FedAvg]
) -> BrandNode[Examples]:
    rng = numpy_generator(0, "rows", name)
    x = torch.from_numpy(rng.normal(size=(ROWS, FEATURES)).astype(np.float32).clip(-1, 1))
    y = (x.sum(1) > 0).float()
    rows = Examples(x, torch.zeros((ROWS, 0), dtype=torch.int64), y, torch.arange(ROWS))
    return BrandNode(
        name, {"train": rows}, task, PLAN, half, Training(), dict(served), seed=0, debug=True
    )


def measure(rounds: int = 25) -> list[dict[str, Any]]:
    """The rows of this case; the first round of each side is not counted."""
    torch.set_num_threads(1)
    sides = [
        Side(PlainSum()),
        Side(BrandAgg()),
        Side(BrandAgg(mode="retry")),
        Side(BrandAgg(), alone=True),
        Side(BrandAgg(mode="retry"), alone=True),
    ]
    for side in sides:
        side.round()
    times = np.array([[side.round() for side in sides] for _ in range(rounds)])
    typical = np.median(times, axis=0)
    more = np.median(times[:, 1:] - times[:, :1], axis=0)
    percent, share = 100 * more / typical[0], 100 * more / (typical[0] + more)
    names = ("brandagg", "retry", "brandagg_alone", "retry_alone")
    values: dict[str, tuple[float, str]] = {"round_ms_plain": (typical[0, 0], "ms")}
    for at, name in enumerate(names):
        suffix = name.removeprefix("brandagg").removeprefix("_")
        suffix = f"_{suffix}" if suffix else ""
        values[f"round_ms_{name}"] = (typical[at + 1, 0], "ms")
        values[f"overhead_percent{suffix}"] = (percent[at, 0], "%")
        values[f"overhead_cpu_percent{suffix}"] = (percent[at, 1], "%")
        values[f"share_percent{suffix}"] = (share[at, 0], "%")
        values[f"share_cpu_percent{suffix}"] = (share[at, 1], "%")
    return [
        {"case": CASE, "metric": name, "value": round(float(value), 3), "unit": unit}
        for name, (value, unit) in values.items()
    ]
