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


def trained_layers(model: nn.Module) -> list[nn.Module]:
    """The modules that own parameters, in the order of ``model.parameters()``.

    Guarantee: every parameter of the model belongs to one of them.
    """
    return [m for m in model.modules() if any(p is not None for p in m._parameters.values())]


def is_analytic(layers: Sequence[nn.Module]) -> bool:
    """Whether all are exactly ``nn.Linear`` or ``nn.Embedding``, and no two share a parameter.

    Guarantee: decided by exact types, so a subclass with another forward is never mistaken.
    """
    if any(type(layer) not in (nn.Linear, nn.Embedding) for layer in layers):
        return False
    own = [id(p) for layer in layers for p in layer._parameters.values() if p is not None]
    return len(own) == len(set(own))


def analytic_sum(
    losses: Losses, model: nn.Module, batch: Examples, groups: Groups, clip_norm: float
) -> tuple[list[Tensor], Tensor]:
    """Clipped sum, in the order of ``model.parameters()``, and norms before clipping ``[k]``.

    Guarantee: as :func:`fl.privacy.gradients.clipped_sum`, for a model that is analytic.

    Raises:
        InputError: a layer mixes the rows of a batch, or a parameter is used outside its layer.
    """
    layers = trained_layers(model)
    signals = _signals(losses, model, batch, layers)
    squares = [s.squares(groups) for s in signals if s is not None]
    norm_k = torch.stack(squares).sum(0).sqrt_() if squares else torch.zeros(len(groups.rows_k))
    norm_k /= groups.rows_k  # the mean over a customer's rows
    finite_k = torch.isfinite(norm_k)
    scale_b = clip_factor(norm_k, clip_norm).div_(groups.rows_k)[groups.index_b]
    keep_b = None if bool(finite_k.all()) else finite_k[groups.index_b].nonzero()[:, 0]
    gradients: list[Tensor] = []
    for layer, of_layer in zip(layers, signals, strict=True):
        if of_layer is None:
            gradients += [torch.zeros_like(p.detach()) for p in layer.parameters()]
        else:
            gradients += of_layer.sums(scale_b, keep_b)
    return gradients, norm_k


def clip_factor(norm_k: Tensor, clip_norm: float) -> Tensor:
    """``min(1, clip_norm / norm)``, 0 where the norm is not finite.

    Guarantee: factor times norm is at most ``clip_norm`` up to rounding; 1 for the norm 0.
    """
    factor = torch.clamp(clip_norm / norm_k, max=1)
    return torch.where(torch.isfinite(norm_k), factor, 0)


@dataclass(slots=True)
class _Calls:
    """What one layer saw in one forward pass: input, its version, place of the output in the graph.

    ``inputs``, ``versions`` and ``edges`` have one entry for each call.
    """

    layer: nn.Module
    inputs: list[Tensor] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    edges: list[GradientEdge] = field(default_factory=list)

    def record(self, _: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        """The forward hook. Guarantee: the edge is the layer's own output, even where an operation
        in place follows."""
        if len(given) != 1:
            raise InputError("model", "calls a layer by keyword", "pass its input by position")
        self.inputs.append(given[0].detach())
        self.versions.append(given[0]._version)
        self.edges.append(get_gradient_edge(output))

    def row_by_row(self, rows: int) -> bool:
        """Guarantee: only if every input has the batch's rows first and was not overwritten."""
        least = 2 if type(self.layer) is nn.Linear else 1
        return all(
            a._version == version and a.ndim >= least and len(a) == rows
            for a, version in zip(self.inputs, self.versions, strict=True)
        )

    def signals(self, backs: Sequence[Tensor | None]) -> Signals | None:
        """All calls side by side, ``[b, t, ...]``; None if the losses do not depend on the layer.

        Guarantee: every call that the losses depend on is in it.
        """
        pairs = [(a, d) for a, d in zip(self.inputs, backs, strict=True) if d is not None]
        if not pairs:
            return None
        d = _side_by_side([d.unsqueeze(1) if d.ndim == 2 else d.flatten(1, -2) for _, d in pairs])
        if isinstance(self.layer, nn.Linear):
            inputs = [a.unsqueeze(1) if a.ndim == 2 else a.flatten(1, -2) for a, _ in pairs]
            return LinearSignals(self.layer, _side_by_side(inputs), d)
        if isinstance(self.layer, nn.Embedding):
            codes = _side_by_side(
                [a.unsqueeze(1) if a.ndim == 1 else a.flatten(1) for a, _ in pairs]
            )
            if self.layer.padding_idx is not None:
                d = d.masked_fill((codes == self.layer.padding_idx)[..., None], 0)
            return EmbeddingSignals(self.layer, codes, d)
        raise TypeError(f"Expected a linear layer or an embedding, got {type(self.layer)}.")


def _side_by_side(calls: list[Tensor]) -> Tensor:
    """``[b, t, ...]`` of every call as one. Guarantee: no call is left out."""
    return calls[0] if len(calls) == 1 else torch.cat(calls, 1)


def _signals(
    losses: Losses, model: nn.Module, batch: Examples, layers: Sequence[nn.Module]
) -> list[Signals | None]:
    """Both factors of every layer. Guarantee: no hook stays behind; a layer that does not see the
    batch row by row, or whose parameters are read by anything else, is refused."""
    calls = [_Calls(layer) for layer in layers]
    handles = [of_layer.layer.register_forward_hook(of_layer.record) for of_layer in calls]
    try:
        loss_b = losses(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    edges = [edge for of_layer in calls for edge in of_layer.edges]
    one_b = torch.ones_like(loss_b)
    backs = iter(torch.autograd.grad([loss_b], edges, [one_b], allow_unused=True) if edges else ())
    uses = _uses_of_parameters(loss_b)
    found: list[Signals | None] = []
    for of_layer in calls:
        mine = [next(backs) for _ in of_layer.edges]
        reached = sum(d is not None for d in mine)
        own = [p for p in of_layer.layer._parameters.values() if p is not None]
        if any(uses.get(id(p), 0) != reached for p in own):
            raise _refused(model, of_layer.layer, "its parameters are read outside its forward")
        if not of_layer.row_by_row(len(batch)):
            raise _refused(model, of_layer.layer, "it does not see the batch row by row")
        found.append(of_layer.signals(mine))
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


def _refused(model: nn.Module, layer: nn.Module, problem: str) -> InputError:
    """Guarantee: names the layer, never data."""
    name = next(name for name, module in model.named_modules() if module is layer)
    return InputError(
        f"layer {name}",
        problem,
        "call every layer on a tensor whose first dimension is the batch, and change no layer's "
        "input in place",
    )
