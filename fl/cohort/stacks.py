"""Parameters of many brands side by side, and where each lies.

All dense parameters of a brand are one line of ``[a, p]``, so that drift, decay and momentum are
one operation; the embedding table, of which a batch reads a few rows, is ``[a, t, d]``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fl.arrays import Array, Arrays


@dataclass(frozen=True, slots=True)
class Layout:
    """Names and shapes of a model's parameters.

    Attributes:
        names: of the dense parameters, in the model's order.
        shapes: theirs.
        table: the name of the embedding, or empty.
        rows, width: of the table; 0 where there is none.
        order: all names in the model's order.
        inputs: numbers of one row's input.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    table: str
    rows: int
    width: int
    order: tuple[str, ...]
    inputs: int

    @staticmethod
    def of(model: nn.Module, table: str = "") -> Layout:
        """Of a model whose parameter ``table`` is kept apart."""
        named = dict(model.named_parameters())
        dense = {name: tuple(p.shape) for name, p in named.items() if name != table}
        rows, width = tuple(named[table].shape) if table else (0, 0)
        inputs = max((shape[-1] for shape in dense.values() if len(shape) == 2), default=16)
        return Layout(tuple(dense), tuple(dense.values()), table, rows, width, tuple(named), inputs)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Entries of each dense parameter."""
        return tuple(math.prod(shape) for shape in self.shapes)

    @property
    def entries(self) -> int:
        """Of all dense parameters together."""
        return sum(self.sizes)

    def stacked(self, models: Sequence[Arrays]) -> Weights:
        """Copies of ``models``, side by side.

        Raises:
            ValueError: a name or shape differs from the model's.
        """
        one = all(model is models[0] for model in models)
        kept = [self._flat(model) for model in (models[:1] if one else models)]
        dense = torch.from_numpy(np.stack([line for line, _ in kept]))
        table = torch.from_numpy(np.stack([table for _, table in kept]))
        if one:
            dense = dense.expand(len(models), -1).contiguous()
            table = table.expand(len(models), -1, -1).contiguous()
        return Weights(self, dense, table)

    def zeros(self, brands: int) -> Weights:
        """Zeros for so many brands."""
        shape = (brands, self.rows, self.width)
        return Weights(self, torch.zeros(brands, self.entries), torch.zeros(shape))

    def _flat(self, model: Arrays) -> tuple[Array, Array]:
        if set(model) != set(self.order):
            raise ValueError("Expected arrays with the model's names and shapes.")
        for name, shape in zip(self.names, self.shapes, strict=True):
            if model[name].shape != shape:
                raise ValueError("Expected arrays with the model's names and shapes.")
        parts = [np.asarray(model[name], np.float32).ravel() for name in self.names]
        line = np.concatenate(parts) if parts else np.zeros(0, np.float32)
        table = np.asarray(model[self.table] if self.table else np.zeros((0, 0)), np.float32)
        if table.shape != (self.rows, self.width):
            raise ValueError("Expected arrays with the model's names and shapes.")
        return line, table


class Weights:
    """Parameters, or gradients, of the first so many brands of a block.

    Attributes:
        dense: ``[a, entries]``; ``table``: ``[a, rows, width]``.
        views: ``dense`` as the layout's parameters, each ``[a, *shape]``.
        first_a11: where each brand's table begins in all of them, ``[a, 1, 1]``.
    """

    __slots__ = ("dense", "first_a11", "layout", "table", "views")

    def __init__(self, layout: Layout, dense: Tensor, table: Tensor) -> None:
        self.layout, self.dense, self.table = layout, dense, table
        parts = torch.split_with_sizes(dense, layout.sizes, 1) if layout.names else ()
        self.views = [p.view(len(dense), *s) for p, s in zip(parts, layout.shapes, strict=True)]
        self.first_a11 = (torch.arange(len(table)) * table.shape[1])[:, None, None]

    def of_first(self, brands: int) -> Weights:
        """The first brands' part, without copying."""
        if brands == len(self.dense):
            return self
        return Weights(self.layout, self.dense[:brands], self.table[:brands])

    def zero_(self) -> None:
        """Forget all."""
        self.dense.zero_()
        self.table.zero_()

    def in_order(self) -> list[Tensor]:
        """Every parameter ``[a, *shape]``, in the model's order; views."""
        dense = dict(zip(self.layout.names, self.views, strict=True))
        return [dense.get(name, self.table) for name in self.layout.order]

    def filled(self, parameters: Sequence[Tensor]) -> Weights:
        """New ones, from every parameter in the model's order."""
        by_name = dict(zip(self.layout.order, parameters, strict=True))
        flat = [by_name[name].flatten(1) for name in self.layout.names]
        dense = torch.cat(flat, 1) if flat else self.dense
        return Weights(self.layout, dense, by_name.get(self.layout.table, self.table))

    def arrays(self, brand: int) -> dict[str, Array]:
        """One brand's parameters by name; views."""
        line, made, start = self.dense[brand].numpy(), {}, 0
        for name, shape, size in zip(
            self.layout.names, self.layout.shapes, self.layout.sizes, strict=True
        ):
            made[name] = line[start : start + size].reshape(shape)
            start += size
        if self.layout.table:
            made[self.layout.table] = self.table[brand].numpy()
        return made
