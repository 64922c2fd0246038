"""The brands and cases of ``experiments/bench/engine.py``, and the framework's side of a round."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch

from clients.node import BrandNode
from experiments.bench.engine_formulas import Flow
from experiments.runtimes import Runtime, federation
from fl.algorithms.fedavg import FedAvg
from fl.algorithms.scaffold import Scaffold
from fl.arrays import Arrays
from fl.contracts import Examples, Federation, NodeId, Reply, Request
from fl.data.schema import Hashed, Number, Schema
from fl.doors import Training
from fl.events import PrivacyEvent
from fl.models.logistic import Logistic
from fl.models.mlp import Mlp
from fl.models.parameters import parameters
from fl.privacy import CustomerPrivacy, NoPrivacy, PlainSum, Plan
from fl.privacy.noise import SecureRandom
from fl.round import coordinate
from fl.seeds import numpy_generator, torch_generator
from fl.tasks.conversion import Conversion, ModelConfig

BRANDS, ROWS, BATCH, RATE = 100, 500, 32, 0.1
COLUMNS, IDS = 16, 2_000


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table: a model, brands a round, and what is added to plain FedAvg."""

    model: str
    cohort: int
    more: str = ""

    @property
    def plain(self) -> bool:
        """Whether a bare loop does the same work."""
        return not self.more


CASES = {
    f"{model}{cohort}{more and '_' + more}": Case(model, cohort, more)
    for model in ("lr", "mlp")
    for cohort in (10, 100)
    for more in ("", "dp", "scaffold", "shuffled")
} | {"embedding": Case("embedding", 10)}


class Free:
    """A ledger that costs nothing: what booking takes is measured in ``bench.ledger``."""

    def commit(self, event: PrivacyEvent, occasion: str) -> None:
        """Booked."""


@dataclass(frozen=True, slots=True)
class Some:
    """A federation of which a few are asked."""

    whole: Federation
    chosen: Sequence[NodeId]

    def nodes(self) -> Sequence[NodeId]:
        """The chosen ones."""
        return self.chosen

    def ask(self, requests: Mapping[NodeId, Request]) -> Mapping[NodeId, Reply]:
        """As the whole."""
        return self.whole.ask(requests)


class World:
    """The data of one case; every side of it trains the same brands in the same round."""

    def __init__(self, case: Case) -> None:
        self.case = case
        numbers, columns = (16, COLUMNS) if case.model == "embedding" else (64, 0)
        fields = [Number(f"f{i}", -1, 1) for i in range(numbers)]
        schema = Schema((*fields, *(Hashed(f"c{i}", IDS) for i in range(columns))), "y")
        models: Mapping[str, ModelConfig] = {
            "lr": Logistic(),
            "mlp": Mlp(hidden=(128,), activation="relu"),
            "embedding": Mlp(hidden=(64,), dim=8, activation="relu"),
        }
        self.task = Conversion(schema, models[case.model])
        self.rows = _rows(numbers, columns)
        self.first: Arrays = parameters(self.task.model(torch_generator(0, "model")))
        self.training = Training(
            RATE, batch_size=BATCH, shuffle=case.more == "shuffled",
            steps=-(-ROWS // BATCH) if case.more == "dp" else 0,
        )  # fmt: skip
        self.plan: Plan = NoPrivacy(weighting="equal")
        if case.more == "dp":
            self.plan = CustomerPrivacy(
                sampling_rate=BATCH / ROWS, customers=float(ROWS), sigma=1.0, brands=BRANDS
            )

    def chosen(self, number: int) -> list[int]:
        """Which brands take part in a round."""
        rng = numpy_generator(1, "cohort", number)
        return sorted(rng.choice(BRANDS, self.case.cohort, replace=False).tolist())

    def side(self, runtime: str, workers: int = 1) -> Side:
        """The framework under one runtime."""
        return Side(self, Runtime(runtime, workers=workers))

    def noise(self) -> Callable[[], None]:
        """Only the normal variates of a private round: one for each weight, step and brand."""
        rng = SecureRandom(compiled=find_spec("numba") is not None)
        each = self.training.steps * sum(x.size for x in self.first.values())
        most = max(1, (1 << 17) // each)

        def turn() -> None:
            for brand in range(0, self.case.cohort, most):
                rng.normal((min(most, self.case.cohort - brand), each), 1.0)

        return turn

    def bare(self, flow: Flow) -> Callable[[], None]:
        """The same work without the framework."""
        return flow(self.rows, self.first, self.chosen, RATE, BATCH)


class Side:
    """Rounds of the framework."""

    def __init__(self, world: World, runtime: Runtime) -> None:
        self.world, self.number = world, 0
        self.algorithm = Scaffold() if world.case.more == "scaffold" else FedAvg()
        self.state = self.algorithm.init(world.first)
        self.nodes = {_name(i): self._node(i) for i in range(BRANDS)}
        self.paths: Counter[str] = Counter()
        self.whole = federation(runtime, self.nodes, self.paths)

    def _node(self, i: int) -> BrandNode[Examples]:
        world = self.world
        rows = world.rows.span(i * ROWS, (i + 1) * ROWS)
        return BrandNode(
            _name(i), {"train": rows}, world.task, world.plan, PlainSum(), world.training,
            {"train": self.algorithm}, seed=0, ledger=Free(), debug=True,
        )  # fmt: skip

    def round(self) -> None:
        """One more."""
        chosen = [_name(i) for i in self.world.chosen(self.number)]
        self.number += 1
        done = coordinate(
            self.number,
            self.state,
            kind="train",
            federation=Some(self.whole, chosen),
            algorithm=self.algorithm,
            plan=self.world.plan,
            summing=PlainSum(),
            seed=self.number,
        )
        if len(done.collected.survivors) != len(chosen):
            raise RuntimeError("The round lost brands.")
        self.state = done.state


def _name(i: int) -> str:
    return f"b{i:03d}"


def _rows(numbers: int, columns: int) -> Examples:
    """All brands' rows, brand after brand; labels follow one rule with brand shifts."""
    rng = numpy_generator(20260101, "engine", numbers)
    n = BRANDS * ROWS
    shift = 0.3 * rng.normal(size=(BRANDS, 1, numbers))
    x = (rng.normal(size=(BRANDS, ROWS, numbers)) + shift).reshape(n, numbers)
    z = 2.0 * x @ (rng.normal(size=numbers) / np.sqrt(numbers))
    c = np.minimum(rng.zipf(1.3, size=(n, columns)), 10**6) * 2654435761 % IDS
    if columns:
        z = z + rng.normal(size=(columns, IDS))[np.arange(columns), c].sum(1) * 0.5
    y = rng.random(n) < 1 / (1 + np.exp(-z))
    return Examples(
        torch.from_numpy(x.astype(np.float32)),
        torch.from_numpy(c.astype(np.int64)),
        torch.from_numpy(y.astype(np.float32)),
        torch.arange(n),
    )
