"""Per-customer gradients through Opacus: for every model that the analytic kernel does not cover.

Slower and larger (a gradient per row is made), but general: Opacus (Yousefpour et al., "Opacus:
User-Friendly Differential Privacy Library in PyTorch", 2021) has a rule per layer and falls back to
``torch.func``. It is also what the analytic kernel is tested against. Only its gradients are used,
never its noise, its sampler or its accountant (they draw from the global generator, and book
Poisson sampling that did not happen).
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor, nn

from fl.contracts import Floats, R
from fl.errors import InputError
from fl.privacy.kernel import Losses, clip_factor
from fl.privacy.layers import Groups, precision

_CUSTOMERS = 512  # whose gradients are copied at a time


def refuse_unsupported(model: nn.Module) -> None:
    """Ask Opacus whether it has a private form of every layer (it has none of ``nn.LSTM``).

    Guarantee: a layer that Opacus knows to be unsafe never trains.

    Raises:
        InputError: it has not.
    """
    from opacus.validators import ModuleValidator

    errors = ModuleValidator.validate(model, strict=False)
    if errors:
        reason = str(errors[0]).split(". ")[0].rstrip(".")
        raise InputError("model", reason, "use layers that opacus.validators.ModuleValidator knows")


def opacus_sum(
    losses: Losses[R], model: nn.Module, batch: R, clip_norm: float
) -> tuple[list[Tensor], Floats]:
    """Clipped sum, in the order of ``model.parameters()``, and norms before clipping ``[k]``.

    Guarantee: as :func:`fl.privacy.gradients.clipped_sum`, if Opacus' gradients are right.

    Raises:
        InputError: Opacus has no gradient for some parameter.
    """
    groups = Groups.of(batch.customer_b)
    mean_kp = [
        groups.total(s) / groups.rows_k.view(-1, *[1] * (s.ndim - 1))
        for s in _per_row(losses, model, batch)
    ]
    norms = [torch.linalg.vector_norm(m.flatten(1), dim=1) for m in mean_kp]
    norm_k = torch.linalg.vector_norm(torch.stack(norms).double(), dim=0).numpy()
    keep = torch.from_numpy(np.isfinite(norm_k)).nonzero()[:, 0]
    factor = torch.from_numpy(clip_factor(norm_k, clip_norm))[keep]
    return [_added(factor, m, keep) for m in mean_kp], norm_k


def _added(factor: Tensor, mean_kp: Tensor, keep: Tensor) -> Tensor:
    """The customers ``keep`` times their factors, added up. Guarantee: of ``layers.precision``."""
    dtype = precision(len(keep), mean_kp.dtype)
    total = mean_kp.new_zeros(mean_kp.shape[1:], dtype=dtype)
    for at in range(0, len(keep), _CUSTOMERS):
        some = keep[at : at + _CUSTOMERS]
        total += torch.tensordot(
            factor[at : at + _CUSTOMERS].to(dtype), mean_kp[some].to(dtype), dims=1
        )
    return total


def _per_row(losses: Losses[R], model: nn.Module, batch: R) -> list[Tensor]:
    """The gradient of each row's loss, ``[b, ...]`` for each parameter.

    Guarantee: nothing of Opacus stays on the model, whatever happens; the rows of every result
    add up to autograd's own gradient of the batch, or the model is refused.
    """
    from opacus.grad_sample import GradSampleModule

    try:
        watched = GradSampleModule(model, loss_reduction="sum", strict=False)
    except NotImplementedError as error:
        raise _no_gradient("model", str(error)) from error
    try:
        loss_b = losses(model, batch)
        named = dict(model.named_parameters())
        try:
            with warnings.catch_warnings():  # the first layer's input is data and has no gradient
                warnings.filterwarnings("ignore", "Full backward hook is firing", UserWarning)
                totals = torch.autograd.grad(loss_b.sum(), list(named.values()), allow_unused=True)
        except (NotImplementedError, RuntimeError, TypeError, ValueError) as error:
            raise _no_gradient("model", f"Opacus fails on it ({type(error).__name__})") from error
        return [
            _checked(name, p, total, len(batch))
            for (name, p), total in zip(named.items(), totals, strict=True)
        ]
    finally:
        watched._close()


def _checked(name: str, parameter: nn.Parameter, total: Tensor | None, rows: int) -> Tensor:
    """Opacus' gradients of one parameter, zeros if the losses do not depend on it.

    Guarantee: refuses what does not add up to ``total`` (unless that is not finite).
    """
    if total is None:
        return parameter.new_zeros(rows, *parameter.shape)
    sample: Tensor | None = getattr(parameter, "grad_sample", None)
    if not isinstance(sample, Tensor) or sample.shape != (rows, *parameter.shape):
        raise _no_gradient(name, "Opacus gives no gradient for each row")
    size = sample.abs().sum(0).max() + total.abs().max() if total.numel() else total.sum()
    if bool(torch.isfinite(size)) and bool((sample.sum(0) - total).abs().gt(1e-4 * size).any()):
        raise _no_gradient(name, "Opacus' gradients of the rows do not add up to the batch's")
    return sample.detach()


def _no_gradient(name: str, problem: str) -> InputError:
    """The refusal. Guarantee: names a layer or parameter, never data."""
    return InputError(
        name,
        f"no gradient for each customer: {problem}",
        "build the model of nn.Linear, nn.Embedding and operations without parameters",
    )
