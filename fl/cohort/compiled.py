"""The whole local training of each brand as one compiled loop, where numba is installed.

The extra ``[compiled]``; without it the formulas of ``formulas.py`` do the same work. Brands come
one after the other, so a brand's result cannot depend on the block it is in. The loops are in
``loops_compiled.py`` and, with clip and noise, in ``fl/privacy/blocks_compiled.py``; both need
numba, so they are imported where a loop is run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fl.cohort.formulas import Formula, Net, Sums
from fl.cohort.stacks import Weights
from fl.privacy.blocks import CustomerBlock

_NOISE = 1 << 17  # variates at a time: what a step reads is still in the cache


def shape_of(formula: Formula, columns: int) -> Shape | None:
    """Which loop does this formula's work; None where rows have ``columns`` of categories, and for
    perceptrons that are deeper."""
    if columns:
        return None
    if isinstance(formula, Sums) and len(formula.layout.names) == 3:
        return Shape(True, False)
    if isinstance(formula, Net) and len(formula.layout.names) == 5:
        return Shape(False, formula.tanh)
    return None


@dataclass(frozen=True, slots=True)
class Shape:
    """A model that has a loop: linear, or a perceptron with tanh or ReLU."""

    linear: bool
    tanh: bool

    @property
    def read(self) -> slice:
        """Where the parameters are that rows read."""
        return slice(0, 2) if self.linear else slice(1, 5)

    @property
    def unread(self) -> slice:
        """Where the table is, which no loop here reads: last in a linear model, else first."""
        return slice(2, 3) if self.linear else slice(0, 1)


def train(
    shape: Shape,
    weights: Weights,
    push: Weights | None,
    stored: Sequence[Tensor],
    row: Tensor,
    size: Tensor,
    rate: float,
    shrink: Tensor,
    *,
    drifts: bool,
) -> None:
    """All steps of all brands of a block, in place; the table, which no row reads, is left alone.

    Args:
        push: of each step, times ``rate``; None for none.
        drifts: whether ``shrink`` or ``push`` changes anything.
    """
    parts = [part.numpy() for part in weights.parts]
    pushed = _pushed(parts, push, rate)
    x, y = stored[0].numpy(), stored[2].numpy()
    of_all = (x, y, row.numpy(), size.numpy(), np.float32(rate), shrink.numpy(), drifts)
    from fl.cohort import loops_compiled as loops

    if shape.linear:
        loops.linear(*parts[shape.read], *pushed[shape.read], *of_all)
    else:
        loops.perceptron(*parts[shape.read], *pushed[shape.read], *of_all, shape.tanh)


def train_privately(
    shape: Shape,
    weights: Weights,
    push: Weights | None,
    stored: Sequence[Tensor],
    customers: CustomerBlock,
    rate: float,
    shrink: Tensor,
    *,
    drifts: bool,
) -> None:
    """As :func:`train` with DP-SGD's steps; the table gets its noise too.

    Args:
        stored: rows as :func:`train` reads them, then the squared norm of each one's input with
            the bias's 1, float64.
        customers: with one row each.
    """
    from fl.privacy import blocks_compiled as loops

    parts = [part.numpy() for part in weights.parts]
    pushed = _pushed(parts, push, rate)
    drawn, steps, dtype = customers.drawn, customers.steps, customers.precision()
    room = np.dtype(str(dtype).removeprefix("torch."))
    most, inputs = int(np.diff(drawn.edge).max(initial=1)), stored[0].shape[1]
    numbers = (
        np.float32(rate), shrink.numpy(), drifts, customers.clip_norm,
        np.float32(1 / customers.grid), np.float32(customers.grid / customers.expected),
    )  # fmt: skip
    rows = [stored[0].numpy(), stored[2].numpy(), stored[3].numpy(), drawn.row_n]
    group = max(1, _NOISE // max(1, steps * weights.layout.entries))
    gone = 0
    for first in range(0, weights.brands, group):
        some = slice(first, min(first + group, weights.brands))
        noise = customers.noise(some, dtype).numpy()
        if drawn.noise_a and not shape.linear:  # a test's: entries in the order of a brand alone
            noise = _turned(noise, weights.layout.shapes[:2])
        own, along = [p[some] for p in parts], [p if len(p) == 1 else p[some] for p in pushed]
        edge = drawn.edge[some.start * steps : some.stop * steps + 1]
        own += [part.reshape(len(part), -1) for part in own[shape.unread]]
        along += [part.reshape(len(part), -1) for part in along[shape.unread]]
        mine = (*own[shape.read], own[-1], *along[shape.read], along[-1], *rows, edge, noise)
        if shape.linear:
            gone += loops.linear(*mine, np.empty(inputs, room), *numbers)
        else:
            hidden, wide = own[1].shape[1], dtype == torch.float64
            seen = np.empty((most, inputs), np.float32)
            batch = np.empty(seen.shape, room) if wide else seen
            sizes = (most, hidden), (inputs, hidden), (2, hidden)
            d, g_w, g_h = (np.empty(size, room) for size in sizes)
            mine += (d, seen, batch, g_w, g_h)
            gone += loops.perceptron(*mine, *numbers, shape.tanh, wide)
    customers.tell(gone)


def _pushed(parts: Sequence[Any], push: Weights | None, rate: float) -> list[Any]:
    """A step's push for each parameter ``[a, ...]``; one line of zeros for none."""
    if push is None:
        return [np.zeros((1, *part.shape[1:]), np.float32) for part in parts]
    return [(part * rate).numpy() for part in push.parts]


def _turned(noise: Any, shapes: Sequence[Sequence[int]]) -> Any:
    """A perceptron's noise ``[a, s, entries]``, for the weight ``[inputs, hidden]``."""
    first, (hidden, inputs) = math.prod(shapes[0]), shapes[1]
    weight = noise[..., first : first + hidden * inputs]
    turned = noise.copy()
    turned[..., first : first + hidden * inputs] = (
        weight.reshape(*noise.shape[:2], hidden, inputs).swapaxes(2, 3).reshape(weight.shape)
    )
    return turned
