"""Gradients of stacked models that have no formula here, by ``torch.func``.

``vmap(grad(loss))`` runs any model whose forward does not branch on values, at about a
millisecond a step and more. Whether it does is found out by trial on a few rows. Batches of
brands side by side are padded, so a model whose rows see each other (a batch's mean, its length)
would see the padding: that is tried too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from fl.cohort.stacks import Layout, Weights
from fl.contracts import Rows
from fl.seeds import torch_generator

_log = logging.getLogger(__name__)
_TRIAL = 12  # rows
_CLOSE = 1e-4  # relative to the largest entry


class Functional:
    """Any model under any per-row loss, as one function of parameters and a batch."""

    def __init__(self, task: Any, model: nn.Module, rows: Rows) -> None:
        self.layout = Layout.of(model)
        self._loss = _Loss(task, model, type(rows))
        self._gradients = vmap(grad(self._total))
        self._width = sum(part[0].numel() for part in self.inputs(rows) if len(part))

    def inputs(self, rows: Any) -> Sequence[Tensor]:
        """The fields of the rows."""
        return [getattr(rows, f.name) for f in fields(rows)]

    def work(self, rows: int) -> int:
        """Inputs, and gradients and parameters once more."""
        return rows * self._width + 3 * self.layout.entries

    def descend(
        self,
        weights: Weights,
        batch: Sequence[Tensor],
        scale_am: Tensor,
        into: Weights,
        factor: float,
        between: Callable[[], None] | None = None,
    ) -> None:
        """As :func:`fl.cohort.formulas.descend`."""
        named = dict(zip(self.layout.names, weights.parts, strict=True))
        scale_am = scale_am.expand(weights.brands, -1)
        made = self._gradients(named, tuple(batch), scale_am)
        if between is not None:
            between()
        for name, part in zip(self.layout.names, into.parts, strict=True):
            part.add_(made[name], alpha=factor)

    def _total(
        self, params: dict[str, Tensor], batch: tuple[Tensor, ...], scale_m: Tensor
    ) -> Tensor:
        named = {f"model.{name}": p for name, p in params.items()}
        losses: Tensor = functional_call(self._loss, named, batch)
        return (losses * scale_m).sum()


class _Loss(nn.Module):
    """A task's losses as a module, so that its model can be called with other parameters."""

    def __init__(self, task: Any, model: nn.Module, rows: Any) -> None:
        super().__init__()
        self.model, self._task, self._rows = model, task, rows

    def forward(self, *parts: Tensor) -> Tensor:
        losses: Tensor = self._task.losses(self.model, self._rows(*parts))
        return losses


def functional_for(task: Any, model: nn.Module, rows: Any) -> Functional | str:
    """The function of this task and model, or why there is none."""
    parts: list[Any] = [getattr(rows, f.name) for f in fields(rows)] if is_dataclass(rows) else []
    if not parts or not all(
        isinstance(part, Tensor) and len(part) == len(parts[0]) for part in parts
    ):
        return "rows are no dataclass of tensors"
    if any(type(m).__name__.startswith("Dropout") for m in model.modules()):
        return "the model draws random numbers"
    few = type(rows)(*(part[:_TRIAL] for part in parts))
    made = Functional(task, model, few)
    random = torch_generator(0, "trial")
    with torch.no_grad():  # weights at which nothing vanishes by chance, as it may where all are 0
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=random), alpha=0.1)
    try:
        if not _agrees(made, task, model, few, len(few)):
            return "torch.func gives another gradient"
        for real in {max(1, len(few) // 3), max(1, len(few) - 1)}:
            if not _agrees(made, task, model, few, real):
                return "rows of a batch depend on each other"
    except (RuntimeError, TypeError, ValueError) as error:
        _log.info("torch.func cannot run the model: %s", error)
        return "torch.func cannot run the model"
    return made


def _agrees(made: Functional, task: Any, model: nn.Module, rows: Any, real: int) -> bool:
    """Whether the first ``real`` rows, padded with the others, have their gradient alone."""
    here = {name: p.detach().numpy() for name, p in model.named_parameters()}
    weights, into = made.layout.stacked([here]), made.layout.zeros(1)
    batch = [part[None] for part in made.inputs(rows)]
    made.descend(weights, batch, (torch.arange(len(rows)) < real).float()[None], into, 1.0)
    alone = type(rows)(*(part[:real] for part in made.inputs(rows)))
    loss = task.losses(model, alone).sum()
    slow = torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True)
    flat = torch.cat([g.reshape(-1) for g in slow])
    away = float((flat - torch.cat([part.reshape(-1) for part in into.parts])).abs().max())
    return away <= _CLOSE * float(flat.abs().max())
