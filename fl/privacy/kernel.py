"""One forward and one backward pass for the clipped sum of a model of linear and embedding layers.

Forward hooks record each layer's input and the place of its output in the graph; one backward pass
to those outputs gives the back-signals. ``layers.py`` turns the two into norms and sums.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from fl.contracts import Examples
from fl.errors import InputError
from fl.privacy.layers import EmbeddingSignals, Groups, LinearSignals, Signals

Losses = Callable[[nn.Module, Examples], Tensor]


def is_analytic(model: nn.Module) -> bool:
    """Whether every parameter belongs to one ``nn.Linear`` or ``nn.Embedding``, and to no second.

    Guarantee: decided by exact types, so a subclass with another forward is never mistaken.
    """
    seen: set[int] = set()
    for module in model.modules():
        own = {id(p) for p in module.parameters(recurse=False)}
        if own and (type(module) not in (nn.Linear, nn.Embedding) or own & seen):
            return False
        seen |= own
    return True


def analytic_sum(
    losses: Losses, model: nn.Module, batch: Examples, groups: Groups, clip_norm: float
) -> tuple[list[Tensor], Tensor]:
    """Clipped sum, in the order of ``model.parameters()``, and norms before clipping ``[k]``.

    Guarantee: as :func:`fl.privacy.gradients.clipped_sum`, for a model that is analytic.

    Raises:
        InputError: a layer mixes the rows of a batch, or a parameter is used outside its layer.
    """
    signals = _signals(losses, model, batch)
    squares = [of_layer.squares(groups) for of_layer in signals.values()]
    norm_k = torch.sqrt(torch.stack(squares).sum(0)) if squares else torch.zeros(len(groups.rows_k))
    norm_k = norm_k / groups.rows_k  # the mean over a customer's rows
    finite_k = torch.isfinite(norm_k)
    scale_b = (clip_factor(norm_k, clip_norm) / groups.rows_k)[groups.index_b]
    keep_b = None if bool(finite_k.all()) else finite_k[groups.index_b].nonzero()[:, 0]
    gradients: dict[int, Tensor] = {}
    for layer, of_layer in signals.items():
        for parameter, gradient in zip(
            layer.parameters(), of_layer.sums(scale_b, keep_b), strict=True
        ):
            gradients[id(parameter)] = gradient
    return [gradients.get(id(p), torch.zeros_like(p)) for p in model.parameters()], norm_k


def clip_factor(norm_k: Tensor, clip_norm: float) -> Tensor:
    """``min(1, clip_norm / norm)``, 0 where the norm is not finite.

    Guarantee: factor times norm is at most ``clip_norm`` up to rounding; 1 for the norm 0.
    """
    factor = torch.clamp(clip_norm / norm_k, max=1)
    return torch.where(torch.isfinite(norm_k), factor, 0)


@dataclass(slots=True)
class _Calls:
    """What one layer saw in one forward pass; one entry per call."""

    name: str
    layer: nn.Linear | nn.Embedding
    inputs: list[Tensor] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    outputs: list[GradientEdge] = field(default_factory=list)

    def record(self, _: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        """The forward hook. Guarantee: the edge is the layer's own output, even where an operation
        in place follows."""
        if len(given) != 1:
            raise InputError(
                f"layer {self.name}", "called by keyword", "pass its input by position"
            )
        self.inputs.append(given[0].detach())
        self.versions.append(given[0]._version)
        self.outputs.append(get_gradient_edge(output))

    def signals(self, backs: Sequence[Tensor | None], rows: int) -> Signals | None:
        """All calls side by side; None if the losses do not depend on the layer.

        Guarantee: refuses a layer whose input does not have the batch's rows first, or was
        overwritten since.
        """
        linear = isinstance(self.layer, nn.Linear)
        inputs, backs_d = [], []
        for a, version, d in zip(self.inputs, self.versions, backs, strict=True):
            if d is None:
                continue
            if a._version != version or a.ndim < 1 + linear or len(a) != rows:
                raise InputError(
                    f"layer {self.name}",
                    f"does not see the batch row by row (input {list(a.shape)}, {rows} rows)",
                    "keep the batch in the first dimension and change no layer's input in place",
                )
            inputs.append(a.reshape(rows, -1, a.shape[-1]) if linear else a.reshape(rows, -1))
            backs_d.append(d.reshape(rows, -1, d.shape[-1]))
        if not inputs:
            return None
        a, d = (
            (inputs[0], backs_d[0])
            if len(inputs) == 1
            else (torch.cat(inputs, 1), torch.cat(backs_d, 1))
        )
        if isinstance(self.layer, nn.Linear):
            return LinearSignals(self.layer, a, d)
        if self.layer.padding_idx is not None:
            d = d.masked_fill((a == self.layer.padding_idx)[..., None], 0)
        return EmbeddingSignals(self.layer, a, d)


def _signals(losses: Losses, model: nn.Module, batch: Examples) -> dict[nn.Module, Signals]:
    """Both factors of every layer the losses depend on. Guarantee: no hook stays behind."""
    calls = [
        _Calls(name, m)
        for name, m in model.named_modules()
        if isinstance(m, nn.Linear | nn.Embedding)
    ]
    handles = [of_layer.layer.register_forward_hook(of_layer.record) for of_layer in calls]
    try:
        loss_b = losses(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    edges = [edge for of_layer in calls for edge in of_layer.outputs]
    uses = _uses_of_parameters(loss_b)
    if not edges or loss_b.grad_fn is None:
        return {}
    backs = iter(torch.autograd.grad([loss_b], edges, [torch.ones_like(loss_b)], allow_unused=True))
    found: dict[nn.Module, Signals] = {}
    for of_layer in calls:
        mine = [next(backs) for _ in of_layer.outputs]
        reached = sum(d is not None for d in mine)
        for parameter in of_layer.layer.parameters():
            if uses.get(id(parameter), 0) != reached:
                raise InputError(
                    f"layer {of_layer.name}",
                    "its parameters are used outside its forward",
                    "call the layer",
                )
        of_layer_signals = of_layer.signals(mine, len(batch))
        if of_layer_signals is not None:
            found[of_layer.layer] = of_layer_signals
    return found


def _uses_of_parameters(loss_b: Tensor) -> dict[int, int]:
    """How often the graph reads each leaf. Guarantee: every path from the losses is walked."""
    uses: dict[int, int] = {}
    seen, waiting = set(), [loss_b.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        for following, _ in node.next_functions:
            leaf = getattr(following, "variable", None)
            if leaf is not None:
                uses[id(leaf)] = uses.get(id(leaf), 0) + 1
            else:
                waiting.append(following)
    return uses
