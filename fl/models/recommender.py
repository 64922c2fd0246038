"""What the preference task asks of a model: a ranking of a catalogue from histories."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor


class Recommender(Protocol):
    """What a module of this task offers beside ``forward``: histories ``[b, l]`` to states."""

    row_by_row: bool  # every layer sees the batch row by row
    rng: torch.Generator | None  # of its masks and of sampled items

    def score(self, state: Tensor) -> Tensor: ...

    def output_of(self, item: Tensor) -> tuple[Tensor, Tensor]: ...


class RecommenderConfig(Protocol):
    """A model of this task before it knows the catalogue."""

    @property
    def name(self) -> str: ...

    @property
    def losses(self) -> tuple[str, ...]:
        """What it can be trained by."""

    def build(self, items: int, length: int, rng: torch.Generator) -> Any:
        """A fresh module: an ``nn.Module`` and a :class:`Recommender`."""

    def unbounded(self) -> tuple[str, str] | None:
        """Why a privacy plan cannot train it, and what to set instead; None if it can."""
