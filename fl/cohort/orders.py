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
    """

    def __init__(
        self, stored: Batch, shares: Sequence[Share], training: Training, seeds: Sequence[int]
    ) -> None:
        self.steps = [steps(share.rows, training) for share in shares]
        self._stored, self._size = stored, training.batch_size
        self._sizes = torch.tensor([self._batch_sizes(s, training) for s in _distinct(shares)])
        which = {share.rows: i for i, share in enumerate(_distinct(shares))}
        self._kind = torch.tensor([which[share.rows] for share in shares])
        self._widest = self._sizes.amax(0).tolist()
        self._whole = self._in_place(shares, training)
        if self._whole is None:
            lines = [
                self._line(share, training, seed) for share, seed in zip(shares, seeds, strict=True)
            ]
            self._row = torch.stack(lines).view(len(shares), -1, self._size)

    def __call__(self, step: int, active: int) -> tuple[Batch, Tensor]:
        """The batch ``[active, m, ...]`` and each row's share of its mean, 0 in padding."""
        m = self._widest[step]
        if self._whole is not None:
            start = step % self.per_epoch * self._size
            batch: Batch = [part[:, start : start + m] for part in self._whole]
        else:
            row = self._row[:active, step, :m].reshape(-1)
            batch = [
                part.index_select(0, row).view(active, m, *part.shape[1:]) for part in self._stored
            ]
        size_k = self._sizes[:, step]
        one = (torch.arange(m) < size_k[:, None]) / size_k.clamp(min=1)[:, None]
        return batch, one[self._kind[:active]] if len(one) > 1 else one

    def _batch_sizes(self, share: Share, training: Training) -> list[int]:
        """Of one brand's steps; 0 from its last one on."""
        whole, rest = divmod(share.rows, self._size)
        epoch = [self._size] * whole + ([rest] if rest else [])
        n = steps(share.rows, training)
        return (epoch * -(-n // len(epoch)))[:n] + [0] * (self.steps[0] - n)

    def _in_place(self, shares: Sequence[Share], training: Training) -> Batch | None:
        """All brands' rows without copying: equal in number, side by side, in stored order."""
        first, rows = shares[0].first, shares[0].rows
        self.per_epoch = -(-rows // self._size)
        expected = [Share(first + i * rows, rows) for i in range(len(shares))]
        if training.shuffle or list(shares) != expected:
            return None
        stop = first + rows * len(shares)
        return [part[first:stop].view(len(shares), rows, *part.shape[1:]) for part in self._stored]

    def _line(self, share: Share, training: Training, seed: int) -> Tensor:
        """One brand's rows in the order of its steps; padding reads the brand's own first row."""
        per_epoch = -(-share.rows // self._size)
        line = torch.full((self.steps[0] * self._size,), share.first)
        drawn = orders(share.rows, training, torch_generator(seed, "batches"))
        for start in range(0, steps(share.rows, training), per_epoch):
            room = line[start * self._size :][: share.rows]
            room.copy_(next(drawn)[: len(room)]).add_(share.first)
        return line


def _distinct(shares: Sequence[Share]) -> list[Share]:
    return list({share.rows: share for share in shares}.values())
