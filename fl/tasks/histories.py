"""Rows of the preference task: a customer's history, and the basket that followed.

Suffixes: ``_b`` row, ``_l`` place in the history, ``_k`` item of the next basket, ``_o`` item owned
before the history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from fl.contracts import Ints
from fl.data.histories import HISTORY, NEXT, OWNED, before_them
from fl.errors import InputError
from fl.rows import each, joined


@dataclass(frozen=True, slots=True)
class Histories:
    """Rows of histories.

    Attributes:
        item_bl: int64 items from 1, oldest first, padded with 0 on the left.
        next_bk: int64 items of the next basket, padded with 0 on the right; -1 is an item outside
            the catalogue. All 0 in training rows, where each item follows the one before it.
        customer_b: int64, the same for all rows of a customer; the unit of privacy.
        owned_bo: int32 items that the customer had before those of ``item_bl``, padded with 0 on
            the right. No model sees them; a ranking of what is new leaves them out. As wide as the
            longest row needs: 0 where no history was cut.
    """

    item_bl: Tensor
    next_bk: Tensor
    customer_b: Tensor
    owned_bo: Tensor

    def __len__(self) -> int:
        return len(self.customer_b)

    def rows(self, index: Tensor) -> Histories:
        """The rows at ``index`` (int64), in that order."""
        return each(self, lambda x: x[index])

    def span(self, start: int, stop: int) -> Histories:
        """The rows from ``start`` up to ``stop``, without copying."""
        return each(self, lambda x: x[start:stop])

    def renumbered(self, customer_b: Tensor) -> Histories:
        """The same rows under other numbers of customers."""
        return replace(self, customer_b=customer_b)

    def followed_by(self, others: Sequence[Histories]) -> Histories:
        """These rows, then those of ``others``, in order."""
        parts = [self, *others]
        widest = max(p.owned_bo.shape[1] for p in parts)
        padded = [functional.pad(p.owned_bo, (0, widest - p.owned_bo.shape[1])) for p in parts]
        return joined([replace(p, owned_bo=x) for p, x in zip(parts, padded, strict=True)])

    def pairs(self) -> tuple[Tensor, Tensor]:
        """What followed, and after which place: int64 ``[b, l - 1 + k]`` each; 0 follows nothing.

        In a training row each item follows the place before it; in another, the whole next basket
        follows the last place.
        """
        taught_b1 = (self.next_bk == 0).all(1, keepdim=True)
        last = self.item_bl.shape[1] - 1
        after_bl = self.item_bl[:, 1:] * (taught_b1 & (self.item_bl[:, :-1] > 0))
        at_m = torch.cat([torch.arange(last), torch.full((self.next_bk.shape[1],), last)])
        follows_bm = torch.cat([after_bl, self.next_bk.clamp(min=0)], 1)
        return follows_bm, at_m.expand_as(follows_bm)


def encoded(
    table: pd.DataFrame,
    customers: Ints,
    codes: Mapping[str, int],
    *,
    length: int,
    targets: int,
    where: str,
) -> Histories:
    """Histories by the catalogue alone, row by row.

    Args:
        table: columns ``history`` and ``next`` of lists of item names, oldest first; also
            ``owned``, if its histories were cut.
        codes: the number of each item of the catalogue, from 1.
        length, targets: places of a row; the latest items, and the first of the next basket.
        where: how messages call the table.

    Raises:
        InputError: a column is missing, or a cell is no list of items.
    """
    if absent := [name for name in (HISTORY, NEXT) if name not in table.columns]:
        raise InputError(
            f"{where}, column {absent[0]}", "is missing", "add it: lists of items, oldest first"
        )
    empty: list[tuple[str, ...]] = [()] * len(table)
    owned = table[OWNED] if OWNED in table.columns else empty
    item_bl = np.zeros((len(table), length), np.int64)
    next_bk = np.zeros((len(table), targets), np.int64)
    earlier: list[npt.NDArray[np.int32]] = []
    cells = zip(table[HISTORY], table[NEXT], owned, strict=True)
    for row, (past, follows, had) in enumerate(cells):
        for cell, column in ((past, HISTORY), (follows, NEXT), (had, OWNED)):
            if not isinstance(cell, tuple | list):
                raise InputError(
                    f"{where}, column {column}, row {row + 1}",
                    f"value {str(cell)!r} is no list of items",
                    "give each cell a list of item names, oldest first; it may be empty",
                )
        known = [item for item in past if item in codes]
        seen = known[-length:]
        item_bl[row, length - len(seen) :] = [codes[item] for item in seen]
        rest = before_them([*had, *known], seen) if had or len(known) > length else ()
        earlier.append(np.array([codes[item] for item in rest if item in codes], np.int32))
        then = [codes.get(item, -1) for item in follows][:targets]
        next_bk[row, : len(then)] = then
    return Histories(
        torch.from_numpy(item_bl),
        torch.from_numpy(next_bk),
        torch.from_numpy(customers.copy()),
        torch.from_numpy(_padded(earlier)),
    )


def _padded(lists: Sequence[npt.NDArray[np.int32]]) -> npt.NDArray[np.int32]:
    """Rows as wide as the longest, padded with 0 on the right."""
    padded = np.zeros((len(lists), max(map(len, lists), default=0)), np.int32)
    for row, numbers in enumerate(lists):
        padded[row, : len(numbers)] = numbers
    return padded
