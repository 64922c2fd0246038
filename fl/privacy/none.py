"""The plan that promises nothing. It must be chosen by name and is shown in every report.

Guarantee: none. Exact gradients, exact sums and exact sizes leave the brand; the epsilon of every
customer is infinite.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fl import arrays
from fl.arrays import Arrays
from fl.contracts import Ints, Limits, NodeId, R, Task, Unit, Update
from fl.doors import Ask, Of, Statistic, Training
from fl.events import PrivacyEvent, Unbounded
from fl.privacy import statistics
from fl.seeds import torch_generator


@dataclass(frozen=True, slots=True)
class NoPrivacy:
    """No clipping, no noise, shuffled batches.

    Attributes:
        weighting: ``examples`` (a brand counts for its training examples, as in FedAvg's paper) or
            ``equal`` (every brand counts the same).
    """

    name: str = "none"
    weighting: str = "examples"

    def __post_init__(self) -> None:
        if self.weighting not in ("examples", "equal"):
            raise ValueError(f"Expected weighting={self.weighting!r} to be 'examples' or 'equal'.")

    @property
    def unit(self) -> Unit:
        """Nobody's presence is hidden."""
        return Unit.NONE

    @property
    def trust(self) -> str:
        """Everybody with everything. Guarantee: none."""
        return "Whoever receives an update is trusted with what it tells about any customer."

    @property
    def needs_hidden_updates(self) -> bool:
        """Updates are exact in any case. Guarantee: none."""
        return False

    def enrolled(self, brands: int) -> NoPrivacy:
        """Nothing depends on the number of brands. Guarantee: none."""
        return self

    @property
    def needs_headcount(self) -> bool:
        """Exact sizes travel with the updates. Guarantee: none."""
        return False

    def sized(self, customers: float) -> NoPrivacy:
        """Nothing depends on it. Guarantee: none."""
        return self

    def calibrated(self, cost: Callable[[NoPrivacy], PrivacyEvent]) -> NoPrivacy:
        """There is no noise to choose. Guarantee: none."""
        return self

    def event(self, ask: Ask, training: Training) -> PrivacyEvent:
        """Nothing bounds an exact answer. Guarantee: none."""
        return Unbounded()

    def round_event(self, limits: Limits | None) -> PrivacyEvent:
        """Nothing bounds an exact sum. Guarantee: none."""
        return Unbounded()

    def gradients(
        self, task: Task[R], model: nn.Module, examples: R, training: Training, seed: int
    ) -> Iterator[list[Tensor]]:
        """Mean gradient of each shuffled batch. Guarantee: none."""
        for batch in _batches(examples, training, torch_generator(seed, "batches")):
            yield _gradient(task, model, batch, "mean")

    def gradient(
        self, task: Task[R], model: nn.Module, examples: R, seed: int
    ) -> tuple[list[Tensor], float]:
        """The sum of the examples' gradients and their number. Guarantee: none."""
        return _gradient(task, model, examples, "sum"), float(len(examples))

    def release(
        self, chunks: Iterable[tuple[Arrays, Ints]], asked: Statistic, limits: Limits, seed: int
    ) -> tuple[Arrays, float]:
        """Exact sums over examples, or largest shares, and their number. Guarantee: none."""
        if asked.of is Of.LARGEST:
            return statistics.largest_shares(chunks, asked.arrays, limits, None), 1.0
        total: Arrays | None = None
        examples = 0
        for per_example, customer_b in chunks:
            sums = {name: x.sum(0, dtype=np.float64) for name, x in per_example.items()}
            total = sums if total is None else arrays.add(total, sums)
            examples += len(customer_b)
        return total or {}, float(examples)

    def weight(self, examples: int) -> float:
        """The exact number of examples, or 1. Guarantee: none."""
        return float(examples) if self.weighting == "examples" else 1.0

    @property
    def most_weight(self) -> float:
        """Unknown: a brand says how many examples it has, and is believed. Guarantee: none."""
        return math.inf

    def bound(self, update: Update, limits: Limits | None) -> Update:
        """The update as it is. Guarantee: none."""
        return update

    def noise(self, total: Update, limits: Limits | None, seed: int) -> Update:
        """The sum as it is. Guarantee: none."""
        return total

    def sample(self, nodes: Sequence[NodeId], limits: Limits | None, seed: int) -> Sequence[NodeId]:
        """Every brand, every round. Guarantee: none."""
        return nodes

    def denominator(self, total: Update, limits: Limits | None) -> float:
        """The exact weight of the survivors; 1 where it is zero. Guarantee: none."""
        return total.weight or 1.0


def _gradient(task: Task[R], model: nn.Module, batch: R, reduce: str) -> list[Tensor]:
    losses = task.losses(model, batch)
    loss = losses.mean() if reduce == "mean" else losses.sum()
    return list(torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True))


def orders(n: int, training: Training, rng: torch.Generator) -> Iterator[Tensor]:
    """Int64 ``[n]``, one order of a brand's ``n`` examples for each epoch, without end.

    Guarantee: none.
    """
    while True:
        yield torch.randperm(n, generator=rng) if training.shuffle else torch.arange(n)


def steps(n: int, training: Training) -> int:
    """Steps that ``n`` examples take: whole epochs, or ``training.steps``. Guarantee: none."""
    return training.steps or training.epochs * -(-n // training.batch_size)


def _batches(examples: R, training: Training, rng: torch.Generator) -> Iterator[R]:
    """Shuffled batches: whole epochs, or exactly ``training.steps`` batches over fresh shuffles."""
    n, size = len(examples), training.batch_size
    per_epoch, drawn = -(-n // size), orders(len(examples), training, rng)
    for step in range(steps(n, training)):
        start = step % per_epoch * size
        if start == 0:
            shuffled = examples.rows(next(drawn)) if training.shuffle else examples
        yield shuffled.span(start, min(start + size, n))
