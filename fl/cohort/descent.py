"""The local step of many brands at once: what ``fl.brand`` does for one.

``w <- w - rate (g + decay w + offset + pull (w - anchor))``, with heavy-ball momentum if asked for.
Without momentum all but ``g`` is ``w <- shrink w + constant``, and ``g`` is added in place.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fl.arrays import Arrays
from fl.cohort.stacks import Layout, Weights
from fl.doors import Drift, Training

_Pair = tuple[Tensor, Tensor]  # of dense and table


class Descent:
    """The steps of one block.

    Attributes:
        fused: whether a gradient may be added to the weights in place (:meth:`glide` first).
    """

    def __init__(self, layout: Layout, training: Training, drifts: Sequence[Drift]) -> None:
        self._how, self._count = training, len(drifts)
        self._pull = torch.tensor([d.pull if d.anchor else 0.0 for d in drifts])[:, None]
        self._push = _push(layout, drifts)  # pull * anchor - offset
        self._decays = bool(training.weight_decay) or bool(self._pull.any())
        self._velocity: Weights | None = layout.zeros(len(drifts)) if training.momentum else None
        self.fused = self._velocity is None
        rate = training.learning_rate
        self._shrink = 1 - rate * (training.weight_decay + self._pull)
        self._constant = None if self._push is None else _scaled(self._push, rate)

    @property
    def still(self) -> bool:
        """Whether a parameter without a gradient stays where it is."""
        return self.fused and not self._decays and self._push is None

    def glide(self, weights: Weights) -> None:
        """All of a step but its gradient, after the gradient was made and before it is added."""
        n = len(weights.dense)
        if self._decays:
            weights.dense.mul_(self._shrink[:n])
            weights.table.mul_(self._shrink[:n, :, None])
        if self._constant is not None:
            weights.dense.add_(self._constant[0][:n])
            weights.table.add_(self._constant[1][:n])

    def step(self, weights: Weights, gradient: Weights) -> None:
        """One whole step; ``gradient`` is used up."""
        rate, n = self._how.learning_rate, len(weights.dense)
        if self._velocity is None:
            self.glide(weights)
        else:
            gradient = self._with_momentum(weights, gradient, self._velocity.of_first(n))
        weights.dense.add_(gradient.dense, alpha=-rate)
        weights.table.add_(gradient.table, alpha=-rate)

    def _with_momentum(self, weights: Weights, gradient: Weights, velocity: Weights) -> Weights:
        n = len(weights.dense)
        back = self._how.weight_decay + self._pull[:n]
        parts = (
            (gradient.dense, weights.dense, velocity.dense, back),
            (gradient.table, weights.table, velocity.table, back[:, :, None]),
        )
        for i, (g, w, v, towards) in enumerate(parts):
            if self._decays:
                g.addcmul_(w, towards)
            if self._push is not None:
                g.sub_(self._push[i][:n])
            v.mul_(self._how.momentum).add_(g)
        return velocity


def _push(layout: Layout, drifts: Sequence[Drift]) -> _Pair | None:
    """``pull * anchor - offset`` of each brand; None where nobody has either."""
    pulled = any(d.anchor and d.pull for d in drifts)
    if not pulled and not any(d.offset for d in drifts):
        return None
    total = layout.zeros(len(drifts))
    if pulled:
        anchor = _of(layout, [d.anchor for d in drifts])
        pull = torch.tensor([d.pull if d.anchor else 0.0 for d in drifts])[:, None]
        total.dense.addcmul_(anchor.dense, pull)
        total.table.addcmul_(anchor.table, pull[:, :, None])
    if any(d.offset for d in drifts):
        offset = _of(layout, [d.offset for d in drifts])
        total.dense.sub_(offset.dense)
        total.table.sub_(offset.table)
    return total.dense, total.table


def _of(layout: Layout, models: Sequence[Arrays]) -> Weights:
    if all(models):
        return layout.stacked(models)
    made = layout.zeros(len(models))
    there = [i for i, model in enumerate(models) if model]
    stacked = layout.stacked([models[i] for i in there])
    made.dense[there], made.table[there] = stacked.dense, stacked.table
    return made


def _scaled(pair: _Pair, factor: float) -> _Pair:
    return pair[0] * factor, pair[1] * factor
