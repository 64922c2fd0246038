"""Parameters of many brands side by side: ``[a, *shape]`` for each parameter of the model.

Each parameter is a tensor of its own, in one piece, because products that are added in place are
several times slower on a view with gaps.
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
    """Names and shapes of a model's parameters, in its order.

    Attributes:
        names, shapes: of the parameters.
        inputs: numbers of one row's input.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    inputs: int

    @staticmethod
    def of(model: nn.Module) -> Layout:
        """Of this model."""
        named = {name: tuple(p.shape) for name, p in model.named_parameters()}
        wide = (s[-1] for name, s in named.items() if len(s) == 2 and s[-1] > 1)
        return Layout(tuple(named), tuple(named.values()), max(wide, default=16))

    @property
    def entries(self) -> int:
        """Of all parameters together."""
        return sum(math.prod(shape) for shape in self.shapes)

    def stacked(self, models: Sequence[Arrays]) -> Weights:
        """Copies of ``models``, side by side.

        Raises:
            ValueError: a name or shape differs from the model's.
        """
        names = set(self.names)
        if any(model.keys() != names for model in models):
            raise ValueError("Expected arrays with the model's names.")
        parts = []
        for name, shape in zip(self.names, self.shapes, strict=True):
            lines = [model[name] for model in models]
            if any(line.shape != shape for line in lines):
                raise ValueError("Expected arrays with the model's shapes.")
            first = lines[0]
            if all(line is first for line in lines):
                stack = np.empty((len(lines), *shape), np.float32)
                stack[:] = first
            else:
                stack = np.asarray(np.stack(lines), np.float32)
            parts.append(torch.from_numpy(stack))
        return Weights(self, parts)

    def zeros(self, brands: int) -> Weights:
        """Zeros for so many brands."""
        return Weights(self, [torch.zeros(brands, *shape) for shape in self.shapes])


class Weights:
    """Parameters, or gradients, of the first so many brands of a block: ``parts`` by the layout."""

    __slots__ = ("brands", "layout", "parts")

    def __init__(self, layout: Layout, parts: list[Tensor]) -> None:
        self.layout, self.parts = layout, parts
        self.brands = len(parts[0]) if parts else 0

    def of_first(self, brands: int) -> Weights:
        """The first brands' part, without copying."""
        if brands == self.brands:
            return self
        return Weights(self.layout, [part[:brands] for part in self.parts])

    def zero_(self) -> None:
        """Forget all."""
        torch._foreach_zero_(self.parts)

    def by_brand(self) -> list[dict[str, Array]]:
        """Each brand's parameters by name; views."""
        whole = {n: p.numpy() for n, p in zip(self.layout.names, self.parts, strict=True)}
        return [{name: part[k] for name, part in whole.items()} for k in range(self.brands)]
