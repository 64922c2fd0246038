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

    ``weight`` is the place of its weight in the layout; its bias comes next.
    """

    weight: int
    a_ami: Tensor
    d_amo: Tensor


@dataclass(frozen=True, slots=True)
class TableSignals:
    """Rows of the stacked table that were read, ``[a, m, g]``, and back-signals ``[a, m, g, d]``.

    ``table`` is its place in the layout; ``code_amg`` counts within the brand's own table,
    ``place_amg`` within all of them.
    """

    table: int
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
    if type(model) is LogisticModule or type(model) is AdditiveModule:
        return Sums(model)
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
    for s in signals:
        if isinstance(s, DenseSignals):
            into.parts[s.weight].baddbmm_(s.d_amo.transpose(1, 2), s.a_ami, alpha=factor)
            into.parts[s.weight + 1].add_(s.d_amo.sum(1), alpha=factor)
        else:
            table, width = into.parts[s.table], s.d_amgd.shape[-1]
            long = table.view(-1) if width == 1 else table.view(-1, width)
            values = s.d_amgd.reshape(-1) if width == 1 else s.d_amgd.reshape(-1, width)
            long.index_add_(0, s.place_amg.view(-1), values, alpha=factor)


def _placed(code_amg: Tensor, table: Tensor) -> Tensor:
    """Rows within all brands' tables, one below the other."""
    return code_amg + (torch.arange(len(table)) * table.shape[1])[:, None, None]


class Sums:
    """``W x + b + scale * sum over columns of table[code]``; a part may be missing."""

    descend = descend

    def __init__(self, model: LogisticModule | AdditiveModule) -> None:
        self.layout, self._model = Layout.of(model), model
        self._linear = isinstance(model, LogisticModule)
        self._scale = model.category_scale if isinstance(model, LogisticModule) else 1.0

    def layer(self, s: Signals) -> nn.Module:
        """Numbers, or the table."""
        if isinstance(self._model, AdditiveModule):
            return self._model.level
        return self._model.numbers if isinstance(s, DenseSignals) else self._model.category

    def inputs(self, rows: Examples) -> Batch:
        """As the model's forward reads them."""
        model = self._model
        if isinstance(model, LogisticModule):
            x = (rows.x_bf + 1) / 2 if model.from_zero else rows.x_bf
            return x.contiguous(), rows.c_bg + model.offsets_g, rows.y_b
        return rows.x_bf.new_zeros(len(rows), 0), model.codes(rows.x_bf, rows.c_bg), rows.y_b

    def work(self, rows: int) -> int:
        """Inputs, and a few numbers for each row."""
        return rows * (self.layout.inputs + 8)

    def signals(self, weights: Weights, batch: Batch, scale_am: Tensor | None) -> list[Signals]:
        """One residual for each row."""
        x_amf, code_amg, y_am = batch
        table, columns = weights.parts[-1], code_amg.shape[2]
        if self._linear:
            weight, bias = weights.parts[:2]
            z_am = torch.baddbmm(bias.unsqueeze(1), x_amf, weight.transpose(1, 2)).squeeze(2)
        else:
            z_am = torch.zeros(y_am.shape)
        if columns:
            place = _placed(code_amg, table)
            z_am.add_(table.view(-1).take(place).sum(2), alpha=self._scale)
        r_am = z_am.sigmoid_().sub_(y_am)
        if scale_am is not None:
            r_am.mul_(scale_am)
        found: list[Signals] = [DenseSignals(0, x_amf, r_am.unsqueeze(2))] if self._linear else []
        if columns:
            d = (r_am * self._scale if self._scale != 1 else r_am)[:, :, None, None]
            last = len(weights.parts) - 1
            found.append(TableSignals(last, code_amg, place, d.expand(*place.shape, 1)))
        return found


class Net:
    """``head(act(... act(W [x, table[code]] + b)))``; the table is the first parameter.

    Attributes:
        tanh: or ReLU.
    """

    descend = descend

    def __init__(self, model: MlpModule) -> None:
        self.layout = Layout.of(model)
        self._model, self.tanh = model, model.activation == "tanh"
        inputs = self.layout.shapes[1][1]  # of the first layer's weight: numbers, then embeddings
        self._numbers = inputs - len(model.offsets_g) * model.embedding.embedding_dim

    def layer(self, s: Signals) -> nn.Module:
        """A hidden layer, the head, or the table."""
        if isinstance(s, TableSignals):
            return self._model.embedding
        place = s.weight // 2
        hidden = self._model.layers
        return self._model.head if place == len(hidden) else hidden[place]

    def inputs(self, rows: Examples) -> Batch:
        """As the model's forward reads them."""
        return rows.x_bf.contiguous(), rows.c_bg + self._model.offsets_g, rows.y_b

    def work(self, rows: int) -> int:
        """Inputs, and each layer's outputs and back-signals."""
        hidden = sum(shape[0] for shape in self.layout.shapes[1::2])
        return rows * (self.layout.inputs + 3 * hidden)

    def signals(self, weights: Weights, batch: Batch, scale_am: Tensor | None) -> list[Signals]:
        """From the head back to the table."""
        (h, code_amg, y_am), (table, *views) = batch, weights.parts
        columns, width = code_amg.shape[2], table.shape[2]
        if columns:
            place = _placed(code_amg, table)
            read = table.view(-1, width).index_select(0, place.view(-1))
            h = torch.cat([h, read.view(*place.shape[:2], -1)], 2)
        seen = [h]
        for i in range(0, len(views) - 2, 2):
            h = torch.baddbmm(views[i + 1].unsqueeze(1), h, views[i].transpose(1, 2))
            h = h.tanh_() if self.tanh else h.relu_()
            seen.append(h)
        z = torch.baddbmm(views[-1].unsqueeze(1), h, views[-2].transpose(1, 2)).squeeze(2)
        r_am = z.sigmoid_().sub_(y_am)
        if scale_am is not None:
            r_am.mul_(scale_am)
        d = r_am.unsqueeze(2)
        found: list[Signals] = []
        for i in range(len(views) - 2, -1, -2):
            found.append(DenseSignals(i + 1, seen[i // 2], d))
            if i:
                h, d = seen[i // 2], torch.bmm(d, views[i])
                d = d.mul_(1 - h * h) if self.tanh else d.mul_(h > 0)
        if columns:
            d = torch.bmm(d, views[0][:, :, self._numbers :])
            found.append(TableSignals(0, code_amg, place, d.view(*place.shape, width)))
        return found
