"""SASRec: self-attention over a customer's history, as a model of the item that follows.

Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, section III: item and
position embeddings (A), causal self-attention blocks with point-wise feed-forward layers (B, C),
and item embeddings as output weights (D). Layer norms here have no weights of their own: the linear
layer that follows each can express them, and without them the model is made of linear layers and
embeddings only, whose gradients a privacy plan can bound for every customer at little cost.

There is no parameter per customer: what is known of a customer is computed from the history, at the
brand, whenever it is needed. All parameters belong to items, and are what brands share.

Suffixes: ``_b`` customer's row, ``_l`` place in the history, ``_d`` width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fl.models.parameters import linear, uniform_
from fl.seeds import torch_generator


class SasRecModule(nn.Module):
    """See the module's docstring; built by :class:`SasRec`."""

    def __init__(self, items: int, length: int, how: SasRec) -> None:
        super().__init__()
        d = how.dim
        self.how, self.length, self.row_by_row = how, length, how.per_customer
        self.rng: torch.Generator | None = None  # of dropout masks and sampled items
        self.item = nn.Embedding(items + 1, d, padding_idx=0, _weight=torch.zeros(items + 1, d))
        self.position = nn.Embedding(length, d, _weight=torch.zeros(length, d))
        self.blocks = nn.ModuleList(_Block(d) for _ in range(how.blocks))
        self.output = linear(d, items) if how.per_customer else None

    def forward(self, item_bl: Tensor) -> Tensor:
        """The state after each place of the history, float32 ``[b, l, d]``.

        Args:
            item_bl: int64 item numbers from 1, oldest first, padded with 0 on the left; at most
                ``length`` places.
        """
        real_bl, places = item_bl > 0, item_bl.shape[1]
        place_bl = torch.arange(self.length - places, self.length).expand_as(item_bl)
        at = None if self.row_by_row else real_bl.flatten().nonzero()[:, 0]
        code, place = _pack(item_bl, at), _pack(place_bl, at)
        x = self.item(code) * math.sqrt(self.how.dim) + self.position(place)
        x = self._drop(x)
        causal_ll = torch.ones(places, places, dtype=torch.bool).tril()
        may_bll = causal_ll & real_bl[:, None, :] | torch.eye(places, dtype=torch.bool)  # itself
        for block in self.blocks:
            x = self._through(block, x, may_bll, at)
        return _unpack(_norm(x), at, real_bl)

    def score(self, state: Tensor) -> Tensor:
        """The score of every item, ``[..., items]``; column ``i`` is item number ``i + 1``."""
        if self.output is not None:
            scores: Tensor = self.output(state)
            return scores
        return state @ self.item.weight[1:].t()

    def output_of(self, item: Tensor) -> tuple[Tensor, Tensor]:
        """What a state is multiplied by for these items, ``[..., d]``, and what is added."""
        if self.output is None:
            return self.item(item), torch.zeros(())
        return self.output.weight[item - 1], self.output.bias[item - 1]

    def _through(self, block: Any, x: Tensor, may_bll: Tensor, at: Tensor | None) -> Tensor:
        """One block: attention, then the point-wise layers, each on normed input and added."""
        x = x + self._drop(self._attend(block, _norm(x), may_bll, at))
        hidden = self._drop(torch.relu(block.wide(_norm(x))))
        out: Tensor = x + self._drop(block.narrow(hidden))
        return out

    def _attend(self, block: _Block, x: Tensor, may_bll: Tensor, at: Tensor | None) -> Tensor:
        b, places, heads = len(may_bll), may_bll.shape[1], self.how.heads
        q, k, v = (
            _spread(layer(x), at, b * places).view(b, places, heads, -1).transpose(1, 2)
            for layer in (block.query, block.key, block.value)
        )
        weight = q @ k.transpose(2, 3) / math.sqrt(q.shape[3])
        weight = weight.masked_fill(~may_bll[:, None], -1e9).softmax(3)
        mixed = (self._drop(weight) @ v).transpose(1, 2).flatten(2)
        joined: Tensor = block.join(_pack(mixed, at))
        return joined

    def _drop(self, x: Tensor) -> Tensor:
        """Dropout with the module's own generator: equal seeds give equal masks."""
        rate = self.how.dropout
        if not self.training or not rate:
            return x
        kept = torch.rand(x.shape, generator=self.rng) >= rate
        return x * kept / (1 - rate)


class _Block(nn.Module):
    """The linear layers of one block."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.query, self.key, self.value, self.join = (linear(d, d) for _ in range(4))
        self.wide, self.narrow = linear(d, d), linear(d, d)


@dataclass(frozen=True, slots=True)
class SasRec:
    """Config of the self-attention model.

    Attributes:
        dim: width ``d``, a multiple of ``heads``.
        blocks: attention blocks, >= 1.
        heads: attention heads, >= 1.
        dropout: rate in [0, 1); its masks are drawn from the run's seed, never from secrets.
        per_customer: let a privacy plan see every layer customer by customer: items are scored by
            weights of their own instead of their input embeddings (the paper's choice), and padding
            is computed with, several times slower where histories are short. Needs dropout 0.
    """

    name: str = "sasrec"
    dim: int = 32
    blocks: int = 2
    heads: int = 1
    dropout: float = 0.2
    per_customer: bool = False

    losses: ClassVar[tuple[str, ...]] = ("softmax", "sampled_softmax", "bce")

    def __post_init__(self) -> None:
        if min(self.dim, self.blocks, self.heads) < 1 or self.dim % self.heads:
            raise ValueError(
                f"Expected blocks={self.blocks} >= 1, heads={self.heads} >= 1 and dim={self.dim} "
                "a multiple of heads."
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"Expected dropout={self.dropout} in [0, 1).")
        if self.per_customer and self.dropout:
            raise ValueError(f"Expected dropout={self.dropout} to be 0 with per_customer=true.")

    def build(self, items: int, length: int, rng: torch.Generator) -> SasRecModule:
        """A fresh module for a catalogue of ``items`` and histories of at most ``length``."""
        model = SasRecModule(items, length, self)
        with torch.no_grad():
            for table in (model.item, model.position):
                table.weight.normal_(0, 0.02, generator=rng)
            model.item.weight[0] = 0
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                uniform_(layer.weight, layer.in_features, rng)
        model.rng = torch_generator(int(torch.randint(2**62, (), generator=rng)), "masks")
        return model

    def unbounded(self) -> tuple[str, str] | None:
        """Why a privacy plan cannot bound each customer's gradient, and what to set instead."""
        if self.per_customer:
            return None
        remedy = "set model.per_customer=true and model.dropout=0"
        return "its layers see all customers of a batch at once", remedy


def _norm(x: Tensor) -> Tensor:
    return nn.functional.layer_norm(x, x.shape[-1:], eps=1e-8)


def _pack(x: Tensor, at: Tensor | None) -> Tensor:
    """``[b, l, ...]`` as ``[t, ...]``: the places in ``at`` only."""
    return x if at is None else x.flatten(0, 1)[at]


def _spread(x: Tensor, at: Tensor | None, places: int) -> Tensor:
    """``[t, ...]`` back in their places, zeros elsewhere."""
    if at is None:
        return x
    return x.new_zeros(places, *x.shape[1:]).index_copy(0, at, x)


def _unpack(x: Tensor, at: Tensor | None, real_bl: Tensor) -> Tensor:
    return x if at is None else _spread(x, at, real_bl.numel()).view(*real_bl.shape, -1)
