"""Local training of one block of brands: as many as fit the cache, all of one plan and one loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from torch import Tensor, nn

from fl.arrays import Arrays
from fl.cohort.compiled import Shape, train, train_privately
from fl.cohort.descent import Descent
from fl.cohort.formulas import DenseSignals, Formula, TableSignals, accumulate
from fl.cohort.formulas import Signals as Stacked
from fl.cohort.orders import Share, Shuffled
from fl.cohort.stacks import Layout, Weights
from fl.doors import Drift, Training
from fl.privacy.blocks import CustomerBlock
from fl.privacy.layers import EmbeddingSignals, LinearSignals, Signals


class Kernel(Protocol):
    """What makes gradients of stacked models: a formula, or ``torch.func``."""

    @property
    def layout(self) -> Layout: ...

    def work(self, rows: int) -> int: ...

    def descend(
        self,
        weights: Weights,
        batch: Sequence[Tensor],
        scale_am: Tensor,
        into: Weights,
        factor: float,
        between: Callable[[], None] | None = None,
    ) -> None:
        """Add ``factor`` times the gradient of the scaled losses at ``weights`` to ``into``.

        ``between`` is called when the gradient is known and before it is added.
        """


@dataclass(frozen=True, slots=True)
class Member:
    """One brand of a block.

    Attributes:
        share: its rows among those of all brands.
        start, drift: of its ask.
        seed: of its answer.
    """

    share: Share
    start: Arrays
    drift: Drift
    seed: int


def exact(
    kernel: Kernel,
    stored: Sequence[Tensor],
    members: Sequence[Member],
    training: Training,
    loop: Shape | None = None,
) -> tuple[Weights, list[int]]:
    """End points and steps of members sorted by their steps, most first; no guarantee.

    Args:
        loop: compiled, for this kernel; used where no momentum is asked for.
    """
    weights = kernel.layout.stacked([m.start for m in members])
    descent = Descent(kernel.layout, training, [m.drift for m in members])
    whole = loop if descent.fused else None
    shares, seeds = [m.share for m in members], [m.seed for m in members]
    batches = Shuffled(stored, shares, training, seeds, compiled=whole is not None)
    if whole is not None:
        row, size = batches.rows()
        rate, taken = training.learning_rate, batches.steps
        train(
            whole, weights, descent.push, stored, row, size, rate, descent.shrink,
            drifts=not descent.still,
        )  # fmt: skip
        for step in range(0 if descent.still else taken[0]):
            moving = weights.of_first(sum(own > step for own in taken))
            descent.glide(moving, whole.unread)
        return weights, batches.steps
    gradient = None if descent.fused else kernel.layout.zeros(len(members))
    rate, active = training.learning_rate, len(members)
    here, into = weights, gradient
    for step in range(batches.steps[0]):
        while batches.steps[active - 1] <= step:
            active -= 1
        if here.brands != active:
            here, into = weights.of_first(active), gradient and gradient.of_first(active)
        batch, scale_am = batches(step, active)
        if into is None:
            glide = None if descent.still else partial(descent.glide, here)
            kernel.descend(here, batch, scale_am, here, -rate, glide)
        else:
            into.zero_()
            kernel.descend(here, batch, scale_am, into, 1.0)
            descent.step(here, into)
    return weights, batches.steps


def clipped(
    formula: Formula,
    stored: Sequence[Tensor],
    members: Sequence[Member],
    training: Training,
    customers: CustomerBlock,
    loop: Shape | None = None,
) -> tuple[Weights, list[int]]:
    """End points under a customer-level plan: every step clipped and noised, brand by brand.

    Args:
        loop: compiled, for this formula; used where customers have one row each and no momentum is
            asked for.
    """
    layout, brands = formula.layout, len(members)
    weights = layout.stacked([m.start for m in members])
    descent = Descent(layout, training, [m.drift for m in members])
    steps, rate = [customers.steps] * brands, training.learning_rate
    if loop is not None and customers.one_each and descent.fused:
        train_privately(
            loop, weights, descent.push, stored, customers, rate, descent.shrink,
            drifts=not descent.still,
        )  # fmt: skip
        return weights, steps
    gradient = layout.zeros(brands)
    for step in range(customers.steps):
        sample = customers.sample(step)
        row, shape = sample.row_am.view(-1), sample.row_am.shape
        batch = [part.index_select(0, row).view(*shape, *part.shape[1:]) for part in stored[:3]]
        signals = formula.signals(weights, batch, None)
        scale_am, bad_am = customers.scales(_by_layer(formula, signals), sample)
        dtype = customers.precision(step)
        if gradient.parts[0].dtype != dtype:
            gradient = Weights(layout, [part.to(dtype) for part in gradient.parts])
        gradient.zero_()
        accumulate(gradient, [_scaled(s, scale_am.to(dtype), bad_am) for s in signals], 1.0)
        descent.step(weights, Weights(layout, customers.noised(gradient.parts, step)))
    return weights, steps


def _scaled(s: Stacked, scale_am: Tensor, bad_am: Tensor | None) -> Stacked:
    """Each row's back-signal times its scale; rows that are not finite count as zero."""
    if isinstance(s, DenseSignals):
        a, d = s.a_ami, s.d_amo
        if bad_am is not None:
            a, d = a.masked_fill(bad_am[:, :, None], 0), d.masked_fill(bad_am[:, :, None], 0)
        return DenseSignals(s.weight, a.to(scale_am.dtype), d * scale_am[:, :, None])
    d = s.d_amgd if bad_am is None else s.d_amgd.masked_fill(bad_am[:, :, None, None], 0)
    return TableSignals(s.table, s.code_amg, s.place_amg, d * scale_am[:, :, None, None])


def _by_layer(formula: Formula, signals: Sequence[Stacked]) -> list[Signals]:
    """The block's rows one after the other, as the private kernel reads them."""
    found: list[Signals] = []
    for s in signals:
        layer = formula.layer(s)
        if isinstance(s, DenseSignals) and isinstance(layer, nn.Linear):
            a, d = s.a_ami.flatten(0, 1).unsqueeze(1), s.d_amo.flatten(0, 1).unsqueeze(1)
            found.append(LinearSignals((layer,), a, d))
        elif isinstance(s, TableSignals) and isinstance(layer, nn.Embedding):
            code, d = s.code_amg.flatten(0, 1), s.d_amgd.flatten(0, 1)
            found.append(EmbeddingSignals((layer,), code, d, True))  # columns share no code
        else:
            raise TypeError(f"Expected a linear layer or an embedding, got {type(layer)}.")
    return found
