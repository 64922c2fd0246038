"""Plans, brands and rows for the tests of privacy: small, and so that a fault would show."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fl.algorithms.fedavg import FedAvg
from fl.algorithms.fedsgd import FedSgd
from fl.algorithms.query import evaluation, headcount
from fl.arrays import Arrays
from fl.contracts import Algorithm, Examples, Ints, Ledger, PrivacyPlan, Task
from fl.data.schema import Hashed, Number, Schema
from fl.doors import Of, Statistic, Training
from fl.errors import Code, Refused
from fl.events import PrivacyEvent
from fl.models import MODELS
from fl.models.parameters import load, parameters
from fl.privacy import BrandPrivacy, CustomerPrivacy, PlainSum
from fl.round import Round, coordinate
from fl.seeds import numpy_generator, torch_generator
from fl.tasks.conversion import Conversion
from tests import worlds

SIGMA, CLIP = 1.3, 0.7
ENTRIES = 100_000  # whose noise is looked at: the standard error of its deviation is 0.22 %
TESTS = "insecure_noise_for_tests"

LOCAL = CustomerPrivacy("local", clip_norm=CLIP, customers=50.0, sigma=SIGMA)
SHARED = replace(LOCAL, name="distributed", brands=4, dropouts=1, colluders=1)
BRAND = BrandPrivacy(clip_norm=CLIP, brands=3, sigma=SIGMA)


def wide(bins: int = 10) -> Conversion:
    """A linear task with so many codes that one gradient holds ``ENTRIES`` noises."""
    return Conversion(
        Schema((Number("x", -1, 1), Hashed("city", ENTRIES)), "y"), MODELS["logistic"](), bins
    )


def narrow() -> Conversion:
    """The same with few codes."""
    return Conversion(
        Schema((Number("x", -1, 1), Hashed("city", 5)), "y"), MODELS["logistic"](), 10
    )


def rows(customers: int, rows_each: int = 1, *, scale: float = 1.0, start: int = 0) -> Examples:
    """Rows of ``customers`` for either task, side by side by customer."""
    rng, n = numpy_generator(5, "rows", customers, rows_each, start), customers * rows_each
    return Examples(
        torch.from_numpy((scale * rng.uniform(-1, 1, (n, 1))).astype(np.float32)),
        torch.from_numpy(rng.integers(0, 5, (n, 1))),
        torch.from_numpy(rng.integers(0, 2, n).astype(np.float32)),
        torch.arange(start, start + customers).repeat_interleave(rows_each),
    )


def alike(customers: int) -> Examples:
    """Customers with one and the same gradient, longer than the clip."""
    ones = torch.ones(customers)
    return Examples(
        9 * ones[:, None],
        torch.zeros(customers, 1, dtype=torch.int64),
        ones,
        torch.arange(customers),
    )


def model(task: Task) -> torch.nn.Module:
    """Small weights, all different from zero."""
    made = task.model(torch_generator(0, "model"))
    load(made, {n: np.full_like(a, 0.1) for n, a in parameters(made).items()})
    return made


def flat(parts: Iterator[Tensor] | list[Tensor]) -> Tensor:
    """All entries as one float64 vector."""
    return torch.cat([p.detach().double().flatten() for p in parts])


def reference(task: Task, examples: Examples, clip_norm: float) -> Tensor:
    """Customer by customer: mean loss, gradient, clip, add. Slow and obvious."""
    made = model(task)
    total = torch.zeros(sum(p.numel() for p in made.parameters()), dtype=torch.float64)
    for customer in examples.customer_b.unique():
        mine = examples.rows((examples.customer_b == customer).nonzero()[:, 0])
        loss = task.losses(made, mine).mean()
        g = flat(list(torch.autograd.grad(loss, list(made.parameters()))))
        total += g * min(1.0, clip_norm / float(g.norm()))
    return total


def gradient(
    plan: PrivacyPlan, examples: Examples, task: Task | None = None, seed: int = 0
) -> Tensor:
    """What door 3 releases of the customers' gradients."""
    task = task or narrow()
    return flat(plan.gradient(task, model(task), examples, seed)[0])


def steps(plan: PrivacyPlan, examples: Examples, training: Training) -> list[Tensor]:
    """What door 1 steps with, at a model that stays where it is."""
    task = narrow()
    return [flat(g) for g in plan.gradients(task, model(task), examples, training, 0)]


def query(
    plan: PrivacyPlan, per_example: Arrays, customers: Ints, limits: Mapping[str, float]
) -> Arrays:
    """What door 3 releases of other statistics."""
    return plan.release(iter([(per_example, customers)]), Statistic("s", Of.EVALUATION), limits, 0)[
        0
    ]


@dataclass(slots=True)
class Booked:
    """A ledger in memory."""

    events: list[PrivacyEvent] = field(default_factory=list)

    def commit(self, event: PrivacyEvent, occasion: str) -> None:
        self.events.append(event)


class Exhausted:
    """A ledger with nothing left."""

    def commit(self, event: PrivacyEvent, occasion: str) -> None:
        raise Refused(Code.BUDGET)


@dataclass
class Watched(Mapping[str, Examples]):
    """Splits that remember being looked at."""

    splits: Mapping[str, Examples]
    touched: bool = False

    def __getitem__(self, name: str) -> Examples:
        self.touched = True
        return self.splits[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.splits)

    def __len__(self) -> int:
        return len(self.splits)


def small(task: Task) -> Mapping[str, Algorithm]:
    """One algorithm for each kind of ask that leaves something."""
    return {
        "train": FedAvg(),
        "gradient": FedSgd(),
        "evaluation": evaluation(task, "validation"),
        "customers": headcount("train"),
    }


def a_round(
    plan: PrivacyPlan,
    algorithm: Algorithm,
    *,
    brands: Mapping[str, Examples] | None = None,
    training: Training | None = None,
    ledger: Ledger | None = None,
    silent: Collection[str] = (),
    number: int = 1,
) -> tuple[Round, dict[str, Booked]]:
    """One round in this process, and what each brand booked; ``silent`` ones have no part."""
    task = worlds.task()
    made = worlds.nodes(
        task, algorithm=algorithm, plan=plan, training=training, brands=max(3, len(brands or ()))
    )
    for name, examples in (brands or {}).items():
        made[name].splits = {"train": examples, "validation": examples}
    for name in silent:
        made[name].algorithms = {}
    books = {name: Booked() for name in made}
    for name, node in made.items():
        node.ledger = books[name]
    done = coordinate(
        number,
        algorithm.init(worlds.first_params(task)),
        kind="train",
        federation=worlds.federation(made),
        algorithm=algorithm,
        plan=plan,
        summing=PlainSum(),
        seed=number,
        ledger=ledger,
    )
    return done, books


class Still:
    """A source without any noise, which remembers how much it was asked for."""

    name = "still"

    def __init__(self) -> None:
        self.sigma = 0.0

    def normal(self, shape: Any, std: float, out_dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.zeros(tuple(shape), dtype=out_dtype)

    def bernoulli(self, n: int, rate: float) -> Tensor:
        return torch.ones(n, dtype=torch.bool)

    def discrete_gaussian(self, shape: Any, sigma: float) -> Ints:
        self.sigma = sigma
        return np.zeros(tuple(shape), np.int64)


def moved_by(plan: PrivacyPlan, others: Examples, planted: Examples) -> float:
    """How far a planted customer moves the released gradient; the noise must repeat."""
    both = Examples(
        *(torch.cat([getattr(p, n) for p in (others, planted)]) for n in Examples.__slots__)
    )
    return float((gradient(plan, both) - gradient(plan, others)).norm())


def scaled_norm(sums: Arrays, scales: Mapping[str, float]) -> float:
    """The joint norm after division by ``scales``."""
    return math.hypot(*(x / scales[n] for n in scales for x in np.ravel(sums[n]).tolist()))
