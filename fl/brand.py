"""The three doors to one brand's data, and the one local training loop. Read this file third.

Nothing else in the framework touches examples during a run. What leaves passes the privacy plan,
and is booked before a row is read: ``Train`` through ``plan.gradients``, ``Query`` through
``plan.gradient`` or ``plan.release``. What ``Personal`` makes stays: it is exact and costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Generic

import numpy as np
import torch
from torch import Tensor, nn

from fl.arrays import Array, Arrays
from fl.contracts import Ints, Ledger, NodeId, PrivacyPlan, R, Task, Unit
from fl.doors import (
    Answer,
    Ask,
    Counted,
    Drift,
    LocalOnly,
    Of,
    Personal,
    Query,
    Statistic,
    Train,
    Trained,
    Training,
)
from fl.models.parameters import load, parameters
from fl.privacy.none import NoPrivacy
from fl.seeds import derive, torch_generator

STAYS = NoPrivacy()  # how a model is trained that never leaves
_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8  # of Adam, as its paper recommends
_CHUNK, _ENTRIES = 4096, 2**22  # most examples, and numbers, of statistics in memory at a time


@dataclass(frozen=True, slots=True)
class LocalBrand(Generic[R]):
    """One brand's rows behind the doors, for one request.

    Attributes:
        name: the brand's id.
        splits: encoded rows by split name (``train``, ``validation``, ``test``).
        task, plan, training: public; what is learned, under which guarantee, with which loop.
        seed: of the run; batch order is derived from it, the brand and ``occasion``.
        occasion: what makes this request's randomness, and its line in the ledger, differ from
            another's (arm, round).
        ledger: of this run; needed by a plan that promises customers something.
        personal: where the ``Personal`` door leaves its models; stays at the brand.
        asked: numbers the asks of this request.
    """

    name: NodeId
    splits: Mapping[str, R]
    task: Task[R]
    plan: PrivacyPlan
    training: Training
    seed: int
    occasion: str
    ledger: Ledger | None = None
    personal: dict[str, Arrays] = field(default_factory=dict)
    asked: Iterator[int] = field(default_factory=count)

    def answer(self, ask: Ask) -> Answer:
        """Book what the answer costs, then open one door.

        Raises:
            Refused: the ledger does not cover it; no data was touched.
        """
        return self.opened(ask, self.admitted(ask))

    def admitted(self, ask: Ask) -> int:
        """Book what the answer costs; the seed of the answer, to be used once.

        Raises:
            Refused: the ledger does not cover it; no data was touched.
        """
        number = next(self.asked)
        if self.plan.unit is Unit.CUSTOMER:
            self._booked().commit(self.plan.event(ask, self.training), f"{self.occasion}/{number}")
        return derive(self.seed, "ask", self.name, self.occasion, number)

    def opened(self, ask: Ask, seed: int) -> Answer:
        """Open one door, for an ask that was admitted with this ``seed``."""
        match ask:
            case Train(start, drift):
                return self.trained(*self._train(self.plan, start, drift, seed))
            case Personal(start, drift, name):
                return self.kept(name, self._train(STAYS, start, drift, seed)[0])
            case Query(statistic):
                return self._count(statistic, seed)

    def trained(self, end: Arrays, steps: int) -> Trained:
        """The answer to ``Train``."""
        weight = self.plan.weight(len(self.splits["train"]))
        return Trained(end, steps, weight, self.training.learning_rate)

    def kept(self, name: str, model: Arrays) -> LocalOnly:
        """The answer to ``Personal``: the model stays in ``personal``."""
        self.personal[name] = model
        return LocalOnly(name)

    def _booked(self) -> Ledger:
        if self.ledger is None:
            raise ValueError("A plan with a guarantee books what it spends: it needs a ledger.")
        return self.ledger

    def _train(
        self, plan: PrivacyPlan, start: Arrays, drift: Drift, seed: int
    ) -> tuple[Arrays, int]:
        model = self._model(start)
        examples = self.splits["train"]
        step = _Step(model, self.training, drift)
        taken = count()
        for gradient in plan.gradients(self.task, model, examples, self.training, seed):
            step(gradient)
            next(taken)
        return parameters(model), next(taken)

    def _count(self, statistic: Statistic, seed: int) -> Counted:
        rows = self.splits[statistic.split]
        match statistic.of:
            case Of.GRADIENT:
                model = self._model(statistic.arrays)
                gradient, weight = self.plan.gradient(self.task, model, rows, seed)
                names = (name for name, _ in model.named_parameters())
                sums = {n: g.double().numpy() for n, g in zip(names, gradient, strict=True)}
                return Counted(sums, weight)
            case Of.CUSTOMERS:
                customers = torch.unique(rows.customer_b).numpy()
                ones: Arrays = {"customers": np.ones(len(customers))}
                chunks, limits = iter([(ones, customers)]), {"customers": 1.0}
            case Of.EVALUATION | Of.RECORDS:
                of_task = self.task.limits()
                limits = {name: of_task[name] for name in statistic.parts or of_task}
                chunks = self._chunks(self._model(statistic.arrays), rows, tuple(limits))
            case Of.LARGEST:
                of_task = self.task.limits()
                limits = {name: of_task[name] for name in statistic.parts}
                chunks = self._chunks(self._model({}), rows, statistic.parts)
        return Counted(*self.plan.release(chunks, statistic, limits, seed))

    def _chunks(
        self, model: nn.Module, examples: R, names: Sequence[str]
    ) -> Iterator[tuple[Arrays, Ints]]:
        """Per-example statistics and customers, chunk by chunk; no customer is in two chunks."""
        width = sum(x.size for x in self.task.statistics().values())
        most = max(1, min(_CHUNK, _ENTRIES // max(1, width)))
        by_customer = examples.rows(torch.argsort(examples.customer_b, stable=True))
        starts = torch.nonzero(torch.diff(by_customer.customer_b, prepend=torch.tensor([-1])))
        start, stops = 0, [*starts[1:, 0].tolist(), len(by_customer)]
        for stop in stops:
            if stop - start >= most or stop == len(by_customer):
                chunk = by_customer.span(start, stop)
                with torch.no_grad():
                    found = self.task.evaluate(model, chunk)
                yield {name: found[name] for name in names}, chunk.customer_b.numpy()
                start = stop

    def _model(self, params: Arrays) -> nn.Module:
        model = self.task.model(torch_generator(self.seed, "unused initial weights"))
        load(model, params)
        return model


class _Step:
    """One step on ``g + offset + pull * (w - anchor) + decay w``, in place: SGD with momentum, or
    Adam (Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, Algorithm 1).

    Own code because the first step of any ``torch.optim`` optimizer imports a compiler (~2 s).
    """

    def __init__(self, model: nn.Module, training: Training, drift: Drift) -> None:
        named = list(model.named_parameters())
        self._weights = [p.detach() for _, p in named]
        self._velocity = [torch.zeros_like(w) for w in self._weights]
        self._offset = [_like(drift.offset[n], p) for n, p in named] if drift.offset else []
        self._anchor = [_like(drift.anchor[n], p) for n, p in named] if drift.anchor else []
        self._pull, self._training = drift.pull, training
        self._square = [torch.zeros_like(w) for w in self._weights] if self._adaptive else []
        self._taken = 0

    @property
    def _adaptive(self) -> bool:
        return self._training.optimizer == "adam"

    def __call__(self, gradient: list[Tensor] | tuple[Tensor, ...]) -> None:
        how = self._training
        if how.weight_decay:
            gradient = torch._foreach_add(gradient, self._weights, alpha=how.weight_decay)
        if self._offset:
            gradient = torch._foreach_add(gradient, self._offset)
        if self._anchor and self._pull:
            away = torch._foreach_sub(self._weights, self._anchor)
            gradient = torch._foreach_add(gradient, away, alpha=self._pull)
        if self._adaptive:
            gradient = self._direction(list(gradient))
        if how.momentum:
            torch._foreach_mul_(self._velocity, how.momentum)
            torch._foreach_add_(self._velocity, gradient)
            gradient = self._velocity
        torch._foreach_add_(self._weights, gradient, alpha=-how.learning_rate)

    def _direction(self, gradient: list[Tensor]) -> list[Tensor]:
        """Adam's direction: the running mean over the root of the running square, both unbiased."""
        self._taken += 1
        torch._foreach_lerp_(self._velocity, gradient, 1 - _BETA_1)
        torch._foreach_mul_(self._square, _BETA_2)
        torch._foreach_addcmul_(self._square, gradient, gradient, value=1 - _BETA_2)
        root = torch._foreach_sqrt(self._square)
        torch._foreach_div_(root, (1 - _BETA_2**self._taken) ** 0.5)
        torch._foreach_add_(root, _EPSILON)
        direction = torch._foreach_div(self._velocity, root)
        torch._foreach_div_(direction, 1 - _BETA_1**self._taken)
        return list(direction)


def _like(array: Array, parameter: Tensor) -> Tensor:
    return torch.as_tensor(array, dtype=parameter.dtype).reshape(parameter.shape)
