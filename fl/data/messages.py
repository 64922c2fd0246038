"""Messages of one brand as a model takes them: bags of n-grams, perhaps a sentence vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fl.sparse import chosen


@dataclass(frozen=True, slots=True)
class Messages:
    """Encoded messages; a batch is ``Messages`` too. The bags are those of ``fl/sparse.py``.

    Attributes:
        code_n: int32, the bucket of an entry; rising within a message.
        value_n: float32.
        start_b: int32 ``[b + 1]``: message ``b`` has the entries ``start_b[b] .. start_b[b + 1]``.
        x_bf: float32 sentence vectors, ``[b, 0]`` without them.
        y_b: int64, the class.
        customer_b: int64, the same for all messages of a customer.
    """

    code_n: Tensor
    value_n: Tensor
    start_b: Tensor
    x_bf: Tensor
    y_b: Tensor
    customer_b: Tensor

    def __len__(self) -> int:
        return len(self.y_b)

    def rows(self, index: Tensor) -> Messages:
        """The messages at ``index`` (int64), in that order."""
        entry, start_b = chosen(self.start_b, index)
        return Messages(
            self.code_n[entry],
            self.value_n[entry],
            start_b,
            self.x_bf[index],
            self.y_b[index],
            self.customer_b[index],
        )

    def span(self, start: int, stop: int) -> Messages:
        """The messages from ``start`` up to ``stop``, without copying their entries."""
        start, stop, _ = slice(start, stop).indices(len(self))
        stop = max(start, stop)
        first, last = int(self.start_b[start]), int(self.start_b[stop])
        return Messages(
            self.code_n[first:last],
            self.value_n[first:last],
            self.start_b[start : stop + 1] - first,
            self.x_bf[start:stop],
            self.y_b[start:stop],
            self.customer_b[start:stop],
        )

    def renumbered(self, customer_b: Tensor) -> Messages:
        """The same messages under other numbers of customers."""
        return replace(self, customer_b=customer_b)

    def followed_by(self, others: Sequence[Messages]) -> Messages:
        """These messages, then those of ``others``, in order."""
        parts = [self, *others]
        lengths = torch.cat([p.start_b.diff() for p in parts])
        start_b = torch.zeros(len(lengths) + 1, dtype=self.start_b.dtype)
        torch.cumsum(lengths, 0, out=start_b[1:])
        return Messages(
            torch.cat([p.code_n for p in parts]),
            torch.cat([p.value_n for p in parts]),
            start_b,
            torch.cat([p.x_bf for p in parts]),
            torch.cat([p.y_b for p in parts]),
            torch.cat([p.customer_b for p in parts]),
        )
