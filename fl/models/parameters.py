"""Between a torch module and named arrays."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from fl.arrays import Arrays


def parameters(model: nn.Module) -> Arrays:
    """A copy of the model's parameters by name, in the model's precision (float32)."""
    return {name: p.detach().numpy().copy() for name, p in model.named_parameters()}


def load(model: nn.Module, params: Arrays) -> None:
    """Write ``params`` into the model, in place.

    Raises:
        ValueError: a name or shape differs from the model's.
    """
    named = dict(model.named_parameters())
    if set(named) != set(params) or any(p.shape != params[n].shape for n, p in named.items()):
        raise ValueError("Expected arrays with the model's names and shapes.")
    with torch.no_grad():
        for name, p in named.items():
            p.copy_(torch.from_numpy(np.array(params[name], dtype=np.float32)))


def entries(build: Callable[[], nn.Module]) -> int:
    """How many numbers a model would have; nothing of its size is made.

    >>> entries(lambda: nn.Linear(10**6, 10**6))
    1000001000000
    """
    with torch.device("meta"):
        return sum(p.numel() for p in build().parameters())


def linear(inputs: int, outputs: int, *, bias: bool = True) -> nn.Linear:
    """A linear layer at zero. torch's own start draws from the global generator and warns of zero
    inputs, which a schema without numbers has."""
    layer = nn.Linear(1, 1, bias, device="meta")
    layer.in_features, layer.out_features = inputs, outputs
    layer.weight = nn.Parameter(torch.zeros(outputs, inputs))
    if bias:
        layer.bias = nn.Parameter(torch.zeros(outputs))
    return layer


def uniform_(parameter: torch.Tensor, fan_in: int, rng: torch.Generator) -> None:
    """Uniform in ``+-1/sqrt(fan_in)``, torch's default for linear layers, drawn from ``rng``."""
    bound = 1 / math.sqrt(max(1, fan_in))
    with torch.no_grad():
        parameter.uniform_(-bound, bound, generator=rng)
