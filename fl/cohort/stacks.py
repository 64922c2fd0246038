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
        one = all(model is models[0] for model in models)
        for model in models[:1] if one else models:
            self._check(model)
        parts = []
        for name in self.names:
            if one:
                first = torch.from_numpy(np.array(models[0][name], np.float32))[None]
                parts.append(
                    first.expand(len(models), *first.shape[1:]).clone(
                        memory_format=torch.contiguous_format
                    )
                )
            else:
                lines = [np.asarray(model[name], np.float32) for model in models]
                parts.append(torch.from_numpy(np.stack(lines)))
        return Weights(self, parts)

    def zeros(self, brands: int) -> Weights:
        """Zeros for so many brands."""
        return Weights(self, [torch.zeros(brands, *shape) for shape in self.shapes])

    def _check(self, model: Arrays) -> None:
        if model.keys() != set(self.names) or any(
            model[name].shape != shape for name, shape in zip(self.names, self.shapes, strict=True)
        ):
            raise ValueError("Expected arrays with the model's names and shapes.")


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
