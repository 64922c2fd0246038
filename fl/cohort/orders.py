"""Which rows a block's brands read in each step, where no guarantee decides: shuffled batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fl.doors import Training
from fl.privacy.none import orders, steps
from fl.seeds import torch_generator

Batch = Sequence[Tensor]


@dataclass(frozen=True, slots=True)
class Share:
    """One brand's rows among those of all brands: ``first`` up to ``first + rows``."""

    first: int
    rows: int


class Shuffled:
    """The batches of ``NoPrivacy``, brand by brand, for brands sorted by steps, most first.

    Attributes:
        steps: of each brand.

    Args:
        compiled: whether only :meth:`rows` will be asked for.
    """

    def __init__(
        self,
        stored: Batch,
        shares: Sequence[Share],
        training: Training,
        seeds: Sequence[int],
        compiled: bool = False,
    ) -> None:
        kinds = sorted({share.rows for share in shares}, reverse=True)
        self._stored, self._size, self._kinds = stored, training.batch_size, len(kinds)
        self._kind = torch.tensor([kinds.index(share.rows) for share in shares])
        by_kind = [steps(rows, training) for rows in kinds]
        self.steps = [by_kind[kind] for kind in self._kind.tolist()]
        sizes = torch.tensor([self._batch_sizes(rows, training) for rows in kinds])
        self._sizes, self._shares = sizes, shares
        self._widest = sizes.amax(0).tolist()
        inside = torch.arange(self._size) < sizes[:, :, None]
        self._mean = inside / sizes.clamp(min=1)[:, :, None]
        self._per_epoch = -(-kinds[0] // self._size)
        self._whole = self._in_place(shares, training, copy=not compiled)
        if self._whole is None:
            lines = [
                self._line(share, training, seed) for share, seed in zip(shares, seeds, strict=True)
            ]
            self._row = torch.stack(lines).view(len(shares), -1, self._size)

    def __call__(self, step: int, active: int) -> tuple[Batch, Tensor]:
        """The batch ``[active, m, ...]`` and each row's share of its mean, 0 in padding."""
        m = self._widest[step]
        if self._whole is not None:
            start = step % self._per_epoch * self._size
            batch: Batch = [part[:, start : start + m] for part in self._whole]
        else:
            row = self._row[:active, step, :m].reshape(-1)
            batch = [
                part.index_select(0, row).view(active, m, *part.shape[1:]) for part in self._stored
            ]
        mean = self._mean[:, step, :m]
        return batch, mean if self._kinds == 1 else mean[self._kind[:active]]

    def rows(self) -> tuple[Tensor, Tensor]:
        """Every step's rows ``[a, s, m]`` and their numbers ``[a, s]``; beyond them is padding."""
        size = self._sizes[self._kind]
        if self._whole is None:
            return self._row, size
        steps, m = len(self._widest), torch.arange(self._size)
        start = torch.arange(steps) % self._per_epoch * self._size
        last = self._shares[0].rows - 1
        within = (start[:, None] + m).clamp(max=last)
        return torch.tensor([s.first for s in self._shares])[:, None, None] + within, size

    def _batch_sizes(self, rows: int, training: Training) -> list[int]:
        """Of the steps of a brand with so many rows; 0 from its last one on."""
        whole, rest = divmod(rows, self._size)
        epoch = [self._size] * whole + ([rest] if rest else [])
        n = steps(rows, training)
        return (epoch * -(-n // len(epoch)))[:n] + [0] * (self.steps[0] - n)

    def _in_place(self, shares: Sequence[Share], training: Training, *, copy: bool) -> Batch | None:
        """All brands' rows ``[a, rows, ...]``, where they are equal in number and in stored order;
        without copying where they lie side by side."""
        if training.shuffle or self._kinds > 1:
            return None
        first, rows, brands = shares[0].first, shares[0].rows, len(shares)
        if all(share.first == first + i * rows for i, share in enumerate(shares)):
            stop = first + rows * brands
            return [part[first:stop].view(brands, rows, *part.shape[1:]) for part in self._stored]
        if not copy:
            return []
        return [
            torch.stack([part[s.first : s.first + rows] for s in shares]) for part in self._stored
        ]

    def _line(self, share: Share, training: Training, seed: int) -> Tensor:
        """One brand's rows in the order of its steps; padding reads the brand's own first row."""
        per_epoch = -(-share.rows // self._size)
        line = torch.full((self.steps[0] * self._size,), share.first)
        drawn = orders(share.rows, training, torch_generator(seed, "batches"))
        for start in range(0, steps(share.rows, training), per_epoch):
            room = line[start * self._size :][: share.rows]
            room.copy_(next(drawn)[: len(room)]).add_(share.first)
        return line
