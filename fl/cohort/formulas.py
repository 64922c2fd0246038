"""Gradients of many stacked models by formula: logistic, additive, perceptron with embeddings.

The loss is the cross-entropy of one logit, so its derivative is ``sigmoid(logit) - label`` and all
else is matrix products, one per layer for a whole block of brands. ``kernel_of`` chooses by exact
types, so a task or a model with another loss or forward is never mistaken.

Suffixes: ``_a`` brand of a block, ``_m`` row of its batch, ``_f`` number, ``_g`` category column,
``_i`` and ``_o`` inputs and outputs of a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from fl.cohort.stacks import Layout, Weights
from fl.contracts import Examples
from fl.models.additive import AdditiveModule
from fl.models.logistic import LogisticModule
from fl.models.mlp import MlpModule
from fl.tasks.conversion import Conversion

Batch = Sequence[Tensor]  # numbers, rows of the table, labels; of all brands, or [a, m, ...]


@dataclass(frozen=True, slots=True)
class DenseSignals:
    """Both factors of a linear layer's gradient: inputs ``[a, m, i]``, back-signals ``[a, m, o]``.

    ``weight`` and ``bias`` are places in the layout's dense parameters.
    """

    weight: int
    bias: int
    a_ami: Tensor
    d_amo: Tensor


@dataclass(frozen=True, slots=True)
class TableSignals:
    """Rows of the stacked table that were read, ``[a, m, g]``, and back-signals ``[a, m, g, d]``.

    ``code_amg`` counts within the brand's own table, ``place_amg`` within all of them.
    """

    code_amg: Tensor
    place_amg: Tensor
    d_amgd: Tensor


Signals = DenseSignals | TableSignals


class Formula(Protocol):
    """Forward and backward of one kind of model; a row's gradient never reads another row."""

    @property
    def layout(self) -> Layout: ...

    def inputs(self, rows: Examples) -> Batch:
        """Rows of all brands, once for a training."""

    def work(self, rows: int) -> int:
        """Numbers that one brand's step of so many rows touches beside its parameters."""

    def signals(self, weights: Weights, batch: Batch, scale_am: Tensor | None) -> list[Signals]:
        """Of the sum of losses, each row's times ``scale_am`` if that is given."""

    def layer(self, s: Signals) -> nn.Module:
        """The model's layer that the signals belong to."""

    def descend(
        self,
        weights: Weights,
        batch: Batch,
        scale_am: Tensor,
        into: Weights,
        factor: float,
        between: Callable[[], None] | None = None,
    ) -> None:
        """See :func:`descend`."""


def formula_for(task: object, model: nn.Module) -> Formula | None:
    """The formula of this task and model, or None."""
    if type(task) is not Conversion:
        return None
    if any(module.training and type(module) is nn.Dropout for module in model.modules()):
        return None
    if type(model) is LogisticModule:
        return Sums.of_logistic(model)
    if type(model) is AdditiveModule:
        return Sums.of_additive(model)
    return Net(model) if type(model) is MlpModule else None


def descend(
    formula: Formula,
    weights: Weights,
    batch: Batch,
    scale_am: Tensor,
    into: Weights,
    factor: float,
    between: Callable[[], None] | None = None,
) -> None:
    """Add ``factor`` times the gradient of the scaled losses at ``weights`` to ``into``.

    ``between`` is called when the gradient is known and before it is added.
    """
    signals = formula.signals(weights, batch, scale_am)
    if between is not None:
        between()
    accumulate(into, signals, factor)


def accumulate(into: Weights, signals: Sequence[Signals], factor: float) -> None:
    """Add ``factor`` times the gradient to ``into``, which holds parameters or a gradient."""
    views = into.views
    for s in signals:
        if isinstance(s, DenseSignals):
            views[s.weight].baddbmm_(s.d_amo.transpose(1, 2), s.a_ami, alpha=factor)
            views[s.bias].add_(s.d_amo.sum(1), alpha=factor)
        else:
            width = s.d_amgd.shape[-1]
            values = s.d_amgd.reshape(-1) if width == 1 else s.d_amgd.reshape(-1, width)
            table = into.table.view(-1) if width == 1 else into.table.view(-1, width)
            table.index_add_(0, s.place_amg.view(-1), values, alpha=factor)


@dataclass(frozen=True, slots=True)
class Sums:
    """``W x + b + scale * sum over columns of table[code]``; a part may be missing."""

    model: LogisticModule | AdditiveModule
    layout: Layout
    scale: float

    @staticmethod
    def of_logistic(model: LogisticModule) -> Sums:
        """Numbers and categories."""
        return Sums(model, Layout.of(model, "category.weight"), model.category_scale)

    @staticmethod
    def of_additive(model: AdditiveModule) -> Sums:
        """Levels only."""
        return Sums(model, Layout.of(model, "level.weight"), 1.0)

    descend = descend

    def layer(self, s: Signals) -> nn.Module:
        """Numbers, or the table."""
        if isinstance(self.model, AdditiveModule):
            return self.model.level
        return self.model.numbers if isinstance(s, DenseSignals) else self.model.category

    def inputs(self, rows: Examples) -> Batch:
        """As the model's forward reads them."""
        model = self.model
        if isinstance(model, LogisticModule):
            x = (rows.x_bf + 1) / 2 if model.from_zero else rows.x_bf
            return x.contiguous(), rows.c_bg + model.offsets_g, rows.y_b
        return rows.x_bf.new_zeros(len(rows), 0), model.codes(rows.x_bf, rows.c_bg), rows.y_b

    def work(self, rows: int) -> int:
        """Inputs, and a few numbers for each row."""
        return rows * (self.layout.inputs + 8)

    def signals(self, weights: Weights, batch: Batch, scale_am: Tensor | None) -> list[Signals]:
        """One residual for each row."""
        found: list[Signals] = []
        x_amf, code_amg, y_am = batch
        if weights.views:
            weight, bias = weights.views
            z_am = torch.baddbmm(bias.unsqueeze(1), x_amf, weight.transpose(1, 2)).squeeze(2)
        else:
            z_am = torch.zeros(y_am.shape)
        if code_amg.shape[2]:
            place = code_amg + weights.first_a11
            levels = weights.table.view(-1).take(place).sum(2)
            z_am.add_(levels, alpha=self.scale)
        r_am = z_am.sigmoid_().sub_(y_am)
        if scale_am is not None:
            r_am.mul_(scale_am)
        if weights.views:
            found.append(DenseSignals(0, 1, x_amf, r_am.unsqueeze(2)))
        if code_amg.shape[2]:
            d = (r_am * self.scale if self.scale != 1 else r_am)[:, :, None, None]
            found.append(TableSignals(code_amg, place, d.expand(*place.shape, 1)))
        return found


class Net:
    """``head(act(... act(W [x, table[code]] + b)))``."""

    def __init__(self, model: MlpModule) -> None:
        self.layout = Layout.of(model, "embedding.weight")
        self._model, self._tanh = model, model.activation == "tanh"
        first = self.layout.shapes[0][1]  # of the first layer's weight: numbers, then embeddings
        self._numbers = first - len(model.offsets_g) * model.embedding.embedding_dim

    descend = descend

    def layer(self, s: Signals) -> nn.Module:
        """A hidden layer, the head, or the table."""
        if isinstance(s, TableSignals):
            return self._model.embedding
        last = s.weight // 2 == len(self._model.layers)
        return self._model.head if last else self._model.layers[s.weight // 2]

    def inputs(self, rows: Examples) -> Batch:
        """As the model's forward reads them."""
        return rows.x_bf.contiguous(), rows.c_bg + self._model.offsets_g, rows.y_b

    def work(self, rows: int) -> int:
        """Inputs, and each layer's outputs and back-signals."""
        hidden = sum(layer.out_features for layer in self._model.layers)  # type: ignore[misc]
        return rows * (self.layout.inputs + 3 * hidden)

    def signals(self, weights: Weights, batch: Batch, scale_am: Tensor | None) -> list[Signals]:
        """From the head back to the table."""
        views, (h, code_amg, y_am) = weights.views, batch
        columns, width = code_amg.shape[2], weights.table.shape[2]
        if columns:
            place = code_amg + weights.first_a11
            read = weights.table.view(-1, width).index_select(0, place.view(-1))
            h = torch.cat([h, read.view(*place.shape[:2], -1)], 2)
        seen = [h]
        for i in range(0, len(views) - 2, 2):
            h = torch.baddbmm(views[i + 1].unsqueeze(1), h, views[i].transpose(1, 2))
            h = h.tanh_() if self._tanh else h.relu_()
            seen.append(h)
        z = torch.baddbmm(views[-1].unsqueeze(1), h, views[-2].transpose(1, 2)).squeeze(2)
        r_am = z.sigmoid_().sub_(y_am)
        if scale_am is not None:
            r_am.mul_(scale_am)
        d = r_am.unsqueeze(2)
        found: list[Signals] = []
        for i in range(len(views) - 2, -1, -2):
            found.append(DenseSignals(i, i + 1, seen[i // 2], d))
            if i:
                d = torch.bmm(d, views[i])
                h = seen[i // 2]
                d = d.mul_(1 - h * h) if self._tanh else d.mul_(h > 0)
        if columns:
            d = torch.bmm(d, views[0][:, :, self._numbers :])
            found.append(TableSignals(code_amg, place, d.view(*place.shape, width)))
        return found
