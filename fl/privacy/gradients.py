"""Per-customer gradients for DP-SGD: sampled customers, one clipped gradient each, added up.

Abadi et al., "Deep Learning with Differential Privacy" (2016), Algorithm 1, with the customer
instead of the row as the unit: a customer's gradient is the mean over that customer's rows, and is
clipped once. The three steps are :func:`poisson_batches` (line 3), :func:`clipped_sum` (lines 4 to
8) and :func:`fl.privacy.noise.noised` (line 9); whoever uses the noised sum divides it by the
public expected number of customers, never by the number that came.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from fl.contracts import R
from fl.errors import InputError
from fl.privacy.kernel import AnalyticKernel, Losses, is_analytic, trained_layers
from fl.privacy.noise import NoiseSource
from fl.privacy.oracle import opacus_sum, refuse_unsupported
from fl.seeds import torch_generator

_ROW_BY_ROW = "use layers that treat every row by itself (nn.LayerNorm instead of batch norm)"


_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ClippedSum:
    """What a batch of customers adds up to. Private: only its noised form may be released.

    Attributes:
        gradients: sum over customers of clipped gradients, in the order of ``model.parameters()``;
            float64 where they are many (``layers.precision``), otherwise as the model.
        norms: L2 norm of each customer's gradient before clipping, ``[k]``, in order of customer;
            NaN or infinite where the gradient is.
        customers: how many customers were in the batch.
        not_finite: how many of them counted as zero.
    """

    gradients: list[Tensor]
    norms: Tensor
    customers: int
    not_finite: int

    def __repr__(self) -> str:
        return "ClippedSum(<redacted>)"


def kernel_for(model: nn.Module) -> str:
    """Which code makes the gradients: ``analytic`` or ``opacus``; both give the same sum.

    Guarantee: depends on the types of the model's layers only.

    >>> kernel_for(nn.Linear(2, 1)), kernel_for(nn.LayerNorm(2))
    ('analytic', 'opacus')
    """
    return "analytic" if is_analytic(trained_layers(model)) else "opacus"


class CustomerGradients(Generic[R]):
    """:func:`clipped_sum` for many batches of one model: its structure is inspected once.

    Guarantee: as :func:`clipped_sum`, while no layer is added, removed or replaced.
    """

    def __init__(self, losses: Losses[R], model: nn.Module) -> None:
        _refuse_layers(model)
        self._losses, self._model = losses, model
        self._parameters = list(model.parameters())
        self._keepers = [m for m in model.modules() if m._buffers]
        self._kernel = AnalyticKernel(losses, model) if kernel_for(model) == "analytic" else None

    def clipped_sum(self, batch: R, clip_norm: float) -> ClippedSum:
        """See :func:`clipped_sum`. Guarantee: the same."""
        if not 0 < clip_norm < math.inf:
            raise ValueError(f"Expected clip_norm={clip_norm} > 0 and finite.")
        if not len(batch):
            zeros = [torch.zeros_like(p.detach()) for p in self._parameters]
            return ClippedSum(zeros, torch.zeros(0, dtype=torch.float64), 0, 0)
        before = _buffers(self._keepers)
        if self._kernel is None:
            gradients, norm_k = opacus_sum(self._losses, self._model, batch, clip_norm)
        else:
            gradients, norm_k = self._kernel.clipped_sum(batch, clip_norm)
        if _buffers(self._keepers) != before:
            raise _changes()
        not_finite = len(norm_k) - int(np.isfinite(norm_k).sum())
        if not_finite:  # in the brand's own log; it never travels
            _log.warning("%d customers' gradients were not finite: counted as zero", not_finite)
        return ClippedSum(gradients, torch.from_numpy(norm_k), len(norm_k), not_finite)


def clipped_sum(losses: Losses[R], model: nn.Module, batch: R, clip_norm: float) -> ClippedSum:
    """Sum over the batch's customers of their clipped gradients; never divided, not yet noised.

    A customer's gradient is the mean over that customer's rows of the gradient of the row's loss,
    over all parameters jointly, times ``min(1, clip_norm / L2 norm)``. For many batches of one
    model, :class:`CustomerGradients` is faster.

    Guarantee: adding or removing one customer, with any number of rows and any values, changes the
    sum by at most ``clip_norm`` in L2, up to the rounding that ``layers.precision`` bounds. A
    gradient that is not finite, or whose square is not, counts as zero and is reported. An empty
    batch gives zeros. It assumes that the loss of a row depends on that row only: refused here
    where a layer's type or a changed buffer shows otherwise, and in :func:`check_model` by trial.

    Args:
        losses: ``Task.losses``: model and batch to one loss per row, ``[b]``.
        model: all of its parameters are trained.
        batch: all rows of each sampled customer.
        clip_norm: > 0.

    Raises:
        ValueError: ``clip_norm`` is out of range.
        InputError: the model has no gradient for each customer.
    """
    return CustomerGradients(losses, model).clipped_sum(batch, clip_norm)


def check_model(losses: Losses[R], model: nn.Module, batch: R) -> None:
    """Refuse a model that cannot be trained privately; call it once, before the first step.

    Guarantee: a layer whose type mixes rows is refused, and so is a model whose losses on half of
    ``batch`` differ from the same rows' losses on all of it. A trial cannot find a mixture that
    leaves these losses unchanged. The trial's weights are its own: under weights of somebody's
    choice rounding could decide, and a refusal would tell of rows what no noise covers.

    Raises:
        InputError: naming the layer, and what to use instead.
    """
    _refuse_layers(model)
    if kernel_for(model) == "opacus":
        refuse_unsupported(model)
    model = _with_own_weights(model)
    model.train(model.training and not any(isinstance(m, _DropoutNd) for m in model.modules()))
    keepers = list(model.modules())
    before = _buffers(keepers)
    half = len(batch) // 2
    with torch.no_grad():
        together = losses(model, batch)
        apart = [
            losses(model, part) for part in (batch.span(0, half), batch.span(half, len(batch)))
        ]
    if _buffers(keepers) != before:
        raise _changes()
    alone = torch.cat(apart)
    if together.shape != (len(batch),) or not torch.allclose(
        together, alone, rtol=1e-3, atol=1e-4, equal_nan=True
    ):
        raise InputError("model", "the loss of a row depends on the rows beside it", _ROW_BY_ROW)


def _with_own_weights(model: nn.Module) -> nn.Module:
    """A copy of ``model`` with moderate weights. Guarantee: the same ones whoever asks."""
    made, rng = copy.deepcopy(model), torch_generator(0, "weights of the model check")
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=rng))
    return made


def poisson_batches(examples: R, rate: float, steps: int, rng: NoiseSource) -> Iterator[R]:
    """``steps`` batches; each holds all rows of every sampled customer, and may be empty.

    Guarantee: in every step every customer is in the batch with probability at most ``rate`` (less
    by no more than 2^-64), independently of all others and all other steps; this is the sampling
    that :class:`fl.events.Sampled` describes, for add or remove of one customer. The rows come
    sorted by customer. A step costs one coin a customer and a copy of the batch.

    Args:
        examples: a brand's rows.
        rate: in (0, 1].
        steps: >= 0.
        rng: :class:`fl.privacy.noise.SecureRandom` in a real run.

    Raises:
        ValueError: a number out of range.
    """
    if not 0 < rate <= 1 or steps < 0:
        raise ValueError(f"Expected rate={rate} in (0, 1] and steps={steps} >= 0.")
    sorted_rows = examples.rows(torch.argsort(examples.customer_b, stable=True))
    _, rows_k = torch.unique_consecutive(sorted_rows.customer_b, return_counts=True)
    return _sampled(sorted_rows, rows_k, rate, steps, rng)


def _sampled(
    sorted_rows: R, rows_k: Tensor, rate: float, steps: int, rng: NoiseSource
) -> Iterator[R]:
    """The batches of :func:`poisson_batches`. Guarantee: a customer's rows are in together."""
    start_k = rows_k.cumsum(0) - rows_k
    for _ in range(steps):
        chosen = rng.bernoulli(len(rows_k), rate).nonzero()[:, 0]
        count = rows_k[chosen]
        shift = start_k[chosen] - (count.cumsum(0) - count)
        yield sorted_rows.rows(torch.arange(int(count.sum())) + shift.repeat_interleave(count))


def _refuse_layers(model: nn.Module) -> None:
    """Guarantee: no layer whose type mixes rows, and no parameter that would stay behind."""
    for module in model.modules():
        problem = _problem(module)
        if problem:
            name = next(name for name, other in model.named_modules() if other is module)
            raise InputError(f"layer {name}", *problem)


def _problem(module: nn.Module) -> tuple[str, str] | None:
    """What is wrong with a layer, and the remedy. Guarantee: looks at its options only."""
    if isinstance(module, _BatchNorm):
        return f"{type(module).__name__} mixes rows", _ROW_BY_ROW
    if isinstance(module, nn.Embedding) and (module.max_norm or module.scale_grad_by_freq):
        return "max_norm and scale_grad_by_freq mix rows", "leave them unset"
    if any(p is not None and not p.requires_grad for p in module._parameters.values()):
        return "a parameter is frozen", "register it as a buffer, or let it train"
    return None


def _buffers(keepers: list[nn.Module]) -> list[tuple[int, int]]:
    """What changes when a buffer is written or replaced. Guarantee: sees writes in place too."""
    return [
        (id(buffer), buffer._version)
        for module in keepers
        for buffer in module._buffers.values()
        if buffer is not None
    ]


def _changes() -> InputError:
    """The refusal of a model that remembers rows. Guarantee: names no data."""
    return InputError("model", "a buffer changes in its forward pass", _ROW_BY_ROW)
