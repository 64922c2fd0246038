"""A small perceptron on scaled numbers and embedded categories (hashed or listed).

tanh rather than ReLU: bounded activations train better under clipping and noise
(Papernot et al., "Tempered Sigmoid Activations for Deep Learning with Differential Privacy", 2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from fl.data.schema import Schema
from fl.models.parameters import uniform_


class MlpModule(nn.Module):
    """Numbers and embeddings side by side, hidden tanh layers, one logit."""

    offsets_g: Tensor

    def __init__(
        self,
        numbers: int,
        sizes: tuple[int, ...],
        hidden: tuple[int, ...],
        dim: int,
        activation: str = "tanh",
    ) -> None:
        super().__init__()
        self.activation = activation
        self.embedding = nn.Embedding(max(1, sum(sizes)), dim)
        widths = [numbers + dim * len(sizes), *hidden]
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(widths))
        self.head = nn.Linear(widths[-1], 1)
        starts = torch.tensor([0, *sizes], dtype=torch.int64).cumsum(0)[:-1]
        self.register_buffer("offsets_g", starts, persistent=False)

    def forward(self, x_bf: Tensor, c_bg: Tensor) -> Tensor:
        h = x_bf
        if len(self.offsets_g):
            h = torch.cat([h, self.embedding(c_bg + self.offsets_g).flatten(1)], 1)
        for layer in self.layers:
            h = torch.tanh(layer(h)) if self.activation == "tanh" else torch.relu(layer(h))
        logit: Tensor = self.head(h)
        return logit.squeeze(1)


@dataclass(frozen=True, slots=True)
class Mlp:
    """Config of the perceptron: ``hidden`` layer widths, ``dim`` of each category's embedding.

    ``activation`` is ``tanh`` or ``relu``.
    """

    name: str = "mlp"
    hidden: tuple[int, ...] = (32,)
    dim: int = 4
    activation: str = "tanh"

    def __post_init__(self) -> None:
        if self.activation not in ("tanh", "relu"):
            raise ValueError(f"Expected activation={self.activation!r} to be 'tanh' or 'relu'.")
        if self.dim < 1 or any(width < 1 for width in self.hidden):
            raise ValueError(f"Expected dim={self.dim} >= 1 and hidden={self.hidden} >= 1.")

    def build(self, schema: Schema, rng: torch.Generator) -> nn.Module:
        """A fresh module for this schema, its weights drawn from ``rng``."""
        model = MlpModule(len(schema.numbers), schema.sizes, self.hidden, self.dim, self.activation)
        with torch.no_grad():
            model.embedding.weight.normal_(0, 0.1, generator=rng)
        for module in [*model.layers, model.head]:
            if isinstance(module, nn.Linear):
                uniform_(module.weight, module.in_features, rng)
                uniform_(module.bias, module.in_features, rng)
        return model
