"""The three doors to one brand's data, and the one local training loop. Read this file third.

Nothing else in the framework touches examples during a run. Each door passes the privacy plan:
``Train`` and ``Personal`` through ``plan.gradients``, ``Query`` through ``plan.release``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor, nn

from fl.arrays import Array, Arrays
from fl.contracts import (
    Answer,
    Ask,
    Counted,
    Drift,
    Examples,
    Ints,
    LocalOnly,
    NodeId,
    Personal,
    PrivacyPlan,
    Query,
    Task,
    Train,
    Trained,
    Training,
)
from fl.models.parameters import load, parameters
from fl.seeds import torch_generator

_CHUNK = 4096  # examples whose per-example statistics are in memory at a time


@dataclass(frozen=True, slots=True)
class LocalBrand:
    """One brand's rows behind the doors, for one request.

    Attributes:
        name: the brand's id.
        splits: encoded rows by split name (``train``, ``validation``, ``test``).
        task, plan, training: public; what is learned, under which guarantee, with which loop.
        seed: of the run; batch order is derived from it, the brand and ``occasion``.
        occasion: what makes this request's randomness differ from another's (arm, round).
    """

    name: NodeId
    splits: Mapping[str, Examples]
    task: Task
    plan: PrivacyPlan
    training: Training
    seed: int
    occasion: str

    def answer(self, ask: Ask) -> Answer:
        """Open one door."""
        match ask:
            case Train(start, drift):
                trained, steps = self._train(start, drift)
                weight = self.plan.weight(len(self.splits["train"]))
                return Trained(trained, steps, weight)
            case Personal(start, drift):
                return LocalOnly(self._train(start, drift)[0])
            case Query(statistic):
                return self._count(statistic.split, statistic.arrays)

    def _train(self, start: Arrays, drift: Drift) -> tuple[Arrays, int]:
        rng = torch_generator(self.seed, "batches", self.name, self.occasion)
        model = self._model(start)
        examples = self.splits["train"]
        gradients = self.plan.gradients(self.task, model, examples, self.training, rng)
        step = _Step(model, self.training, drift)
        taken = count()
        for gradient in gradients:
            step(gradient)
            next(taken)
        return parameters(model), next(taken)

    def _count(self, split: str, params: Arrays) -> Counted:
        model = self._model(params)
        sums, weight = self.plan.release(self._chunks(model, self.splits[split]))
        return Counted(sums, weight)

    def _chunks(self, model: nn.Module, examples: Examples) -> Iterator[tuple[Arrays, Ints]]:
        """Per-example statistics and customers, chunk by chunk; no customer is in two chunks."""
        by_customer = examples.rows(torch.argsort(examples.customer_b, stable=True))
        starts = torch.nonzero(torch.diff(by_customer.customer_b, prepend=torch.tensor([-1])))
        start, stops = 0, [*starts[1:, 0].tolist(), len(by_customer)]
        for stop in stops:
            if stop - start >= _CHUNK or stop == len(by_customer):
                chunk = by_customer.span(start, stop)
                with torch.no_grad():
                    yield self.task.evaluate(model, chunk), chunk.customer_b.numpy()
                start = stop

    def _model(self, params: Arrays) -> nn.Module:
        model = self.task.model(torch_generator(self.seed, "unused initial weights"))
        load(model, params)
        return model


class _Step:
    """SGD with momentum and weight decay on ``g + offset + pull * (w - anchor)``, in place.

    Own code because the first step of any ``torch.optim`` optimizer imports a compiler (~2 s).
    """

    def __init__(self, model: nn.Module, training: Training, drift: Drift) -> None:
        named = list(model.named_parameters())
        self._weights = [p.detach() for _, p in named]
        self._velocity = [torch.zeros_like(w) for w in self._weights]
        self._offset = [_like(drift.offset[n], p) for n, p in named] if drift.offset else []
        self._anchor = [_like(drift.anchor[n], p) for n, p in named] if drift.anchor else []
        self._pull, self._training = drift.pull, training

    def __call__(self, gradient: list[Tensor] | tuple[Tensor, ...]) -> None:
        how = self._training
        if how.weight_decay:
            gradient = torch._foreach_add(gradient, self._weights, alpha=how.weight_decay)
        if self._offset:
            gradient = torch._foreach_add(gradient, self._offset)
        if self._anchor and self._pull:
            away = torch._foreach_sub(self._weights, self._anchor)
            gradient = torch._foreach_add(gradient, away, alpha=self._pull)
        if how.momentum:
            torch._foreach_mul_(self._velocity, how.momentum)
            torch._foreach_add_(self._velocity, gradient)
            gradient = self._velocity
        torch._foreach_add_(self._weights, gradient, alpha=-how.learning_rate)


def _like(array: Array, parameter: Tensor) -> Tensor:
    return torch.as_tensor(array, dtype=parameter.dtype).reshape(parameter.shape)
