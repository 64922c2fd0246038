"""Gradients of stacked models that have no formula here, by ``torch.func``.

``vmap(grad(loss))`` runs any model whose forward does not branch on values, at about a
millisecond a step and more. Whether it does is found out by trial on a few rows.
"""

from __future__ import annotations

import copy
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
_TRIAL = 5  # rows
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
    few = rows.span(0, _TRIAL)
    _stirred(model)
    if _mixes(task, model, few):
        return "a row's loss depends on the other rows of its batch"
    made = Functional(task, model, few)
    here = {name: p.detach().numpy() for name, p in model.named_parameters()}
    weights, into = made.layout.stacked([here]), made.layout.zeros(1)
    one_m = torch.ones(1, len(few))
    try:
        made.descend(weights, [part[None] for part in made.inputs(few)], one_m, into, 1.0)
    except (RuntimeError, TypeError, ValueError) as error:
        _log.info("torch.func cannot run the model: %s", error)
        return "torch.func cannot run the model"
    loss = task.losses(model, few).sum()
    slow = torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True)
    flat = torch.cat([g.reshape(-1) for g in slow])
    fast = torch.cat([part.reshape(-1) for part in into.parts])
    away = float((flat - fast).abs().max())
    if not away <= _CLOSE * max(1.0, float(flat.abs().max())):
        return "torch.func gives another gradient"
    return made


def _stirred(model: nn.Module) -> None:
    """Move the weights, in place: where a layer begins at zero, rows look alike and gradients
    vanish, so that a trial there would show nothing."""
    random = torch_generator(0, "trial")
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=random), alpha=0.1)


def _mixes(task: Any, model: nn.Module, few: Any) -> bool:
    """Whether a row's loss is another beside other rows: batches of a block are filled up."""
    together = task.losses(copy.deepcopy(model), few).detach()
    try:
        each = [few.span(i, i + 1) for i in range(len(few))]
        alone = [task.losses(copy.deepcopy(model), row).detach() for row in each]
    except (RuntimeError, ValueError):  # batch normalisation refuses a single row
        return True
    away = float((together - torch.cat(alone)).abs().max())
    return not away <= _CLOSE * max(1.0, float(together.abs().max()))
