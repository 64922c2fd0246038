"""What BrandAgg adds to a round of training: 10 brands, a model of 20,000 parameters, one process.

Every brand trains a perceptron for one epoch over 2,000 rows of its own, in batches of 64, without
a privacy plan (with one, training takes longer and the sum does not). Rounds with ``plain`` and
with ``brandagg`` (mode ``recover``, then ``retry``) take turns; of each the median is reported, and
of the overhead the median of the differences between neighbours, in percent of a plain round. The
``cpu`` figures count the processor's time, which other jobs disturb less.
"""

from __future__ import annotations

import time
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
from fl.round import coordinate
from fl.seeds import numpy_generator, torch_generator
from fl.tasks.conversion import Conversion

BRANDS, ROWS, FEATURES, HIDDEN = 10, 2_000, 30, (128, 128)
CASE = "round,n=10,d=20000"
PLAN = NoPrivacy("none", "equal")


class Side:
    """A federation that trains with one of the sums."""

    def __init__(self, summing: PlainSum | BrandAgg) -> None:
        schema = Schema(tuple(Number(f"f{i}", -4, 4) for i in range(FEATURES)), "y")
        task = Conversion(schema, MODELS["mlp"](hidden=HIDDEN))
        self.algorithm, self.number = FedAvg(), 0
        self.state = self.algorithm.init(parameters(task.model(torch_generator(0, "model"))))
        names, served = [f"b{i}" for i in range(BRANDS)], {"train": self.algorithm}
        halves: tuple[SecureSum, Any] = summing.enrol(
            names, algorithms=served, plan=PLAN, first=self.state
        )
        self.summing = halves[0]
        nodes = {name: _node(name, task, halves[1][name], served) for name in names}
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
    sides = [Side(PlainSum()), Side(BrandAgg()), Side(BrandAgg(mode="retry"))]
    for side in sides:
        side.round()
    times = np.array([[side.round() for side in sides] for _ in range(rounds)])
    plain, brandagg, retry = np.median(times[:, :, 0], axis=0)
    percent = 100 * np.median(times[:, 1:] - times[:, :1], axis=0) / np.median(times[:, 0], axis=0)
    values = {
        "round_ms_plain": (plain, "ms"),
        "round_ms_brandagg": (brandagg, "ms"),
        "round_ms_retry": (retry, "ms"),
        "overhead_percent": (percent[0, 0], "%"),
        "overhead_percent_retry": (percent[1, 0], "%"),
        "overhead_cpu_percent": (percent[0, 1], "%"),
        "overhead_cpu_percent_retry": (percent[1, 1], "%"),
    }
    return [
        {"case": CASE, "metric": name, "value": round(float(value), 3), "unit": unit}
        for name, (value, unit) in values.items()
    ]
