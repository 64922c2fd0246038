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

_ALL = slice(None)


class Descent:
    """The steps of one block.

    Attributes:
        fused: whether a gradient may be added to the weights in place (:meth:`glide` first).
        still: whether a parameter without a gradient stays where it is.
        shrink, push: of each brand's step, where it is fused; a push is times the rate.
    """

    def __init__(self, layout: Layout, training: Training, drifts: Sequence[Drift]) -> None:
        self._how = training
        pulls = [d.pull if d.anchor else 0.0 for d in drifts]
        self._back = training.weight_decay + torch.tensor(pulls)
        self._decays = bool(training.weight_decay) or any(pulls)
        self.push = _push(layout, drifts, pulls)  # pull * anchor - offset
        self._velocity = layout.zeros(len(drifts)) if training.momentum else None
        self.fused = self._velocity is None
        self.still = self.fused and not self._decays and self.push is None
        self.shrink = 1 - training.learning_rate * self._back

    def glide(self, weights: Weights, places: slice = _ALL) -> None:
        """All of a step but its gradient, after the gradient was made and before it is added.

        Args:
            places: which of the parameters.
        """
        parts = weights.parts[places]
        if self._decays:
            for part in parts:
                part.mul_(_along(self.shrink, part))
        if self.push is not None:
            push = self.push.of_first(weights.brands).parts[places]
            torch._foreach_add_(parts, push, alpha=self._how.learning_rate)

    def step(self, weights: Weights, gradient: Weights) -> None:
        """One whole step; ``gradient`` is used up."""
        if self._velocity is None:
            self.glide(weights)
        else:
            gradient = self._with_momentum(
                weights, gradient, self._velocity.of_first(weights.brands)
            )
        torch._foreach_add_(weights.parts, gradient.parts, alpha=-self._how.learning_rate)

    def _with_momentum(self, weights: Weights, gradient: Weights, velocity: Weights) -> Weights:
        if self._decays:
            for g, w in zip(gradient.parts, weights.parts, strict=True):
                g.addcmul_(w, _along(self._back, w))
        if self.push is not None:
            torch._foreach_sub_(gradient.parts, self.push.of_first(weights.brands).parts)
        torch._foreach_mul_(velocity.parts, self._how.momentum)
        torch._foreach_add_(velocity.parts, gradient.parts)
        return velocity


def _push(layout: Layout, drifts: Sequence[Drift], pulls: Sequence[float]) -> Weights | None:
    """``pull * anchor - offset`` of each brand; None where nobody has either."""
    pulled, offset = any(pulls), any(d.offset for d in drifts)
    if not pulled and not offset:
        return None
    total = layout.zeros(len(drifts))
    if pulled:
        for part, anchor in zip(total.parts, _of(layout, [d.anchor for d in drifts]), strict=True):
            part.addcmul_(anchor, _along(torch.tensor(pulls), part))
    if offset:
        torch._foreach_sub_(total.parts, _of(layout, [d.offset for d in drifts]))
    return total


def _of(layout: Layout, models: Sequence[Arrays]) -> list[Tensor]:
    """The models side by side; zero for who has none."""
    if all(models):
        return layout.stacked(models).parts
    made = layout.zeros(len(models)).parts
    there = [i for i, model in enumerate(models) if model]
    for part, own in zip(made, layout.stacked([models[i] for i in there]).parts, strict=True):
        part[there] = own
    return made


def _along(values_a: Tensor, part: Tensor) -> Tensor:
    """One value for each brand, beside ``[a, ...]``."""
    return values_a[: len(part)].view(-1, *[1] * (part.ndim - 1))
