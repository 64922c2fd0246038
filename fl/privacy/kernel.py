"""One forward and one backward pass for the clipped sum of a model of linear and embedding layers.

Forward hooks record each layer's input and the place of its output in the graph; one backward pass
to those outputs gives the back-signals. ``layers.py`` turns the two into norms and sums.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

from fl.contracts import Floats, R
from fl.errors import InputError
from fl.privacy.layers import EmbeddingSignals, Groups, LinearSignals, joined, precision
from fl.privacy.sparse import SparseSignals
from fl.sparse import SparseLinear

Losses = Callable[[nn.Module, R], Tensor]
AnySignals = LinearSignals | EmbeddingSignals | SparseSignals


def trained_layers(model: nn.Module) -> list[nn.Module]:
    """The modules that own parameters, in the order of ``model.parameters()``.

    Guarantee: every parameter of the model belongs to one of them.
    """
    return [m for m in model.modules() if list(m.parameters(recurse=False))]


def is_analytic(layers: Sequence[nn.Module]) -> bool:
    """Whether all are of exactly the types below, and no two share a parameter.

    Guarantee: decided by exact types, so a subclass with another forward is never mistaken.
    """
    if any(type(layer) not in (nn.Linear, nn.Embedding, SparseLinear) for layer in layers):
        return False
    own = [id(p) for layer in layers for p in layer.parameters(recurse=False)]
    return len(own) == len(set(own))


def clip_factor(norm_k: Floats, clip_norm: float) -> Floats:
    """``min(1, clip_norm / norm)``, 0 where the norm is not finite.

    Guarantee: factor times norm is at most ``clip_norm`` up to rounding; 1 for the norm 0.

    >>> clip_factor(np.array([0.0, 1.0, 4.0, np.inf, np.nan]), 2.0).tolist()
    [1.0, 1.0, 0.5, 0.0, 0.0]
    """
    return np.where(np.isfinite(norm_k), clip_norm / np.maximum(norm_k, clip_norm), 0.0)


class AnalyticKernel(Generic[R]):
    """The kernel of one model. What a model's structure decides is looked up once."""

    def __init__(self, losses: Losses[R], model: nn.Module) -> None:
        self._losses, self._model, self._layers = losses, model, trained_layers(model)
        self._parameters = [list(layer.parameters(recurse=False)) for layer in self._layers]
        self._dtype = next((p.dtype for own in self._parameters for p in own), torch.float32)
        self._walked = False  # whether the graph of a batch was compared with the recorded calls

    def clipped_sum(self, batch: R, clip_norm: float) -> tuple[list[Tensor], Floats]:
        """Clipped sum, in the order of ``model.parameters()``, and norms before clipping ``[k]``.

        Guarantee: as :func:`fl.privacy.gradients.clipped_sum`, for an analytic model and a batch
        that is not empty.

        Raises:
            InputError: a layer mixes the rows of a batch, or a parameter is used outside its layer.
        """
        groups = Groups.of(batch.customer_b)
        signals = _fewer(self._signals(batch))
        square_k = np.zeros(len(groups.rows_k))
        for s in signals:
            square_k += s.squares(groups).numpy()
        rows_k = groups.rows_k.numpy()
        norm_k = np.sqrt(square_k) / rows_k  # of the mean over a customer's rows
        dtype = precision(max((s.terms for s in signals), default=0), self._dtype)
        scale_k = torch.from_numpy(clip_factor(norm_k, clip_norm) / rows_k).to(dtype)
        scale_b = scale_k if groups.one_each else scale_k[groups.index_b]
        finite_k = np.isfinite(norm_k)
        if not finite_k.all():
            keep_b = torch.from_numpy(finite_k)[groups.index_b].nonzero()[:, 0]
            signals, scale_b = [s.only(keep_b) for s in signals], scale_b[keep_b]
        return self._sums(signals, scale_b), norm_k

    def _sums(self, signals: Sequence[AnySignals], scale_b: Tensor) -> list[Tensor]:
        """One gradient for each parameter. Guarantee: zero where the losses read none."""
        made: dict[nn.Module, list[Tensor]] = {}
        for s in signals:
            if not isinstance(s, EmbeddingSignals):
                made[s.layers[0]] = s.sums(scale_b)
            else:
                made |= {of: [t] for of, t in zip(s.layers, s.sums(scale_b), strict=True)}
        gradients: list[Tensor] = []
        for layer, own in zip(self._layers, self._parameters, strict=True):
            gradients += made.get(layer) or [
                torch.zeros_like(p.detach(), dtype=scale_b.dtype) for p in own
            ]
        return gradients

    def _signals(self, batch: R) -> list[AnySignals | None]:
        """Both factors of every layer. Guarantee: no hook stays behind; a layer that does not see
        the batch row by row, or whose parameters are read by anything else, is refused."""
        calls = [_Calls(layer) for layer in self._layers]
        handles = [of_layer.layer.register_forward_hook(of_layer.record) for of_layer in calls]
        try:
            loss_b = self._losses(self._model, batch)
        finally:
            for handle in handles:
                handle.remove()
        edges = [edge for of_layer in calls for edge in of_layer.edges]
        one_b = torch.ones_like(loss_b)
        backs = iter(
            torch.autograd.grad([loss_b], edges, [one_b], allow_unused=True) if edges else ()
        )
        signals = []
        for of_layer in calls:
            if not of_layer.row_by_row(len(batch)):
                raise self._refused(of_layer, "it does not see the batch row by row")
            signals.append(of_layer.signals([next(backs) for _ in of_layer.edges]))
        if not self._walked:
            self._walk(loss_b, calls, signals)
        return signals

    def _walk(
        self, loss_b: Tensor, calls: Sequence[_Calls], signals: Sequence[AnySignals | None]
    ) -> None:
        """Guarantee: refuses a parameter that the losses read other than by calling its layer."""
        uses = _uses_of_parameters(loss_b)
        for of_layer, own, s in zip(calls, self._parameters, signals, strict=True):
            expected = 0 if s is None else of_layer.reached
            if any(uses.get(id(p), 0) != expected for p in own):
                raise self._refused(of_layer, "its parameters are read outside its forward")
        self._walked = True

    def _refused(self, of_layer: _Calls, problem: str) -> InputError:
        """Guarantee: names the layer, never data."""
        named = self._model.named_modules()
        return InputError(
            f"layer {next(name for name, module in named if module is of_layer.layer)}",
            problem,
            "call every layer on a tensor whose first dimension is the batch, and change no "
            "layer's input in place",
        )


def _fewer(signals: Sequence[AnySignals | None]) -> list[AnySignals]:
    """Without the layers that were not used, and with tables of equal width as one.

    Guarantee: norms and sums are those of all layers together.
    """
    others: list[AnySignals] = [s for s in signals if isinstance(s, LinearSignals | SparseSignals)]
    tables: dict[int, list[EmbeddingSignals]] = {}
    for s in signals:
        if isinstance(s, EmbeddingSignals):
            tables.setdefault(s.d_btd.shape[2], []).append(s)
    return [*others, *(joined(parts) for parts in tables.values())]


@dataclass(slots=True)
class _Calls:
    """What one layer saw in one forward pass: input, its version, place of the output in the graph.

    ``inputs``, ``versions`` and ``edges`` have one entry for each call; an input is one tensor, or
    the three of a sparse layer.
    """

    layer: nn.Module
    inputs: list[tuple[Tensor, ...]] = field(default_factory=list)
    versions: list[list[int]] = field(default_factory=list)
    edges: list[GradientEdge] = field(default_factory=list)
    reached: int = 0  # calls that the losses depend on

    def record(self, _: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        """The forward hook. Guarantee: the edge is the layer's own output, even where an operation
        in place follows."""
        node = output.grad_fn
        if len(given) != (3 if type(self.layer) is SparseLinear else 1) or node is None:
            raise InputError("model", "a layer's input is no single position", "call layer(x)")
        self.inputs.append(tuple(tensor.detach() for tensor in given))
        self.versions.append([tensor._version for tensor in given])
        self.edges.append(GradientEdge(node, output.output_nr))

    def row_by_row(self, rows: int) -> bool:
        """Guarantee: only if every input has the batch's rows first and was not overwritten."""
        least = 2 if type(self.layer) is nn.Linear else 1
        for given, versions in zip(self.inputs, self.versions, strict=True):
            if [tensor._version for tensor in given] != versions:
                return False
            if type(self.layer) is SparseLinear:
                start_b, entries = given[2], len(given[0])
                ends = len(start_b) == rows + 1 and int(start_b[0]) == 0
                if not ends or int(start_b[-1]) != entries or len(self.inputs) > 1:
                    return False
            elif given[0].ndim < least or len(given[0]) != rows:
                return False
        return True

    def signals(self, backs: Sequence[Tensor | None]) -> AnySignals | None:
        """All calls side by side, ``[b, t, ...]``; None if the losses do not depend on the layer.

        Guarantee: every call that the losses depend on is in it.
        """
        reached = [(g, d) for g, d in zip(self.inputs, backs, strict=True) if d is not None]
        self.reached = len(reached)
        if not reached:
            return None
        if isinstance(self.layer, SparseLinear):
            (code_n, value_n, start_b), d_bo = reached[0]
            return SparseSignals((self.layer,), code_n, value_n, start_b, d_bo)
        pairs = [(given[0], d) for given, d in reached]
        d = _side_by_side([d.unsqueeze(1) if d.ndim == 2 else d.flatten(1, -2) for _, d in pairs])
        if isinstance(self.layer, nn.Linear):
            inputs = [a.unsqueeze(1) if a.ndim == 2 else a.flatten(1, -2) for a, _ in pairs]
            return LinearSignals((self.layer,), _side_by_side(inputs), d)
        if isinstance(self.layer, nn.Embedding):
            codes = _side_by_side(
                [a.unsqueeze(1) if a.ndim == 1 else a.flatten(1) for a, _ in pairs]
            )
            if self.layer.padding_idx is not None:
                d = d.masked_fill((codes == self.layer.padding_idx)[..., None], 0)
            return EmbeddingSignals((self.layer,), codes, d, codes.shape[1] == 1)
        raise TypeError(f"Expected a linear layer or an embedding, got {type(self.layer)}.")


def _side_by_side(calls: list[Tensor]) -> Tensor:
    """``[b, t, ...]`` of every call as one. Guarantee: no call is left out."""
    return calls[0] if len(calls) == 1 else torch.cat(calls, 1)


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
