"""From purchases to customers' histories: what came before, and what came next.

Everything a customer buys at once is a basket; a customer's baskets are in order of time. The last
basket is the test row's target, the last but one the validation row's; what is before them is for
training (leave one out, as in Kang and McAuley 2018, section IV-B, with baskets for items). A row
is one history: a customer with a long past has several training rows.

With a date, time is cut instead, for all customers at once: what was bought before it is for
training, and every later basket is a test row, predicted from all that its customer bought before
that basket. Nobody's future is then known to a model that is tested on another's past (Ji, Sun,
Zhang, Li, "A Critical Study on Data Leakage in Recommender System Offline Evaluation", TOIS 2023).

A held-out row whose history is cut to its latest items also names what its customer had before
them: whoever looks for what is new must know all that is old.

Who bought once only has no past to predict from: that basket is for training. A customer whose only
basket holds a single item teaches nothing about what follows and is left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fl.data.schema import Category, Schema

HISTORY, NEXT = "history", "next"  # columns: items before, oldest first; items of the next basket
OWNED = "owned"  # column: what the customer had before all of the history, each item once
BRAND, CUSTOMER, SPLIT = "brand", "customer", "split"
Items = tuple[str, ...]
_Row = tuple[str, Items, Items, Items]  # split, history, next, owned
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True, slots=True)
class Cut:
    """How histories are cut into rows.

    Attributes:
        length: items of a row, the latest ones, >= 2.
        windows: training rows a customer has at most, the latest ones, >= 1.
        targets: items of the next basket that are looked at, the first ones, >= 1.
        new_only: of the next basket, only what the customer never bought before; where nothing of
            it is new there is no such row.
        test_from: the date, such as ``2010-08-01``; empty holds the last two baskets out.
        test_until: later baskets are left out; empty leaves none out.
    """

    length: int = 50
    windows: int = 1
    targets: int = 20
    new_only: bool = False
    test_from: str = ""
    test_until: str = ""

    def __post_init__(self) -> None:
        for name, date in (("test_from", self.test_from), ("test_until", self.test_until)):
            if date and not _DATE.fullmatch(date):
                raise ValueError(f"Expected {name}={date!r} to be a date such as 2010-08-01.")
        if self.test_until and not "" < self.test_from < self.test_until:
            raise ValueError(
                f"Expected test_from={self.test_from!r} before test_until={self.test_until!r}."
            )
        if self.length < 2 or self.windows < 1 or self.targets < 1:
            raise ValueError(
                f"Expected length={self.length} >= 2, windows={self.windows} >= 1 and "
                f"targets={self.targets} >= 1."
            )


def history_rows(purchases: pd.DataFrame, cut: Cut) -> pd.DataFrame:
    """One row per history: ``brand``, ``customer``, ``split``, ``history``, ``next``, ``owned``.

    The last three hold tuples of item names; ``next`` is empty in training rows, where every item
    follows the one before it. ``owned`` are the items of a held-out row's past that are not in its
    ``history``; empty where nothing was cut off, and in training rows.

    Args:
        purchases: ``brand``, ``customer``, ``basket``, ``item`` (text), a customer's purchases in
            order of time and a basket's side by side; with a date in ``cut``, ``time`` as well.
    """
    # An item bought twice in one basket is one want.
    once = purchases.drop_duplicates([BRAND, CUSTOMER, "basket", "item"])
    found: list[tuple[str, str, *_Row]] = []
    for (brand, customer), own in once.groupby([BRAND, CUSTOMER], sort=True):
        items, basket = own["item"].to_numpy(object), own["basket"].to_numpy(object)
        starts = np.flatnonzero(np.r_[True, basket[1:] != basket[:-1]])
        baskets = [tuple(part) for part in np.split(items, starts[1:])]
        rows = _rows(baskets, cut)
        if cut.test_from:
            rows = _rows_by_date(baskets, own["time"].to_numpy("datetime64[s]")[starts], cut)
        found += [(str(brand), str(customer), *row) for row in rows]
    return pd.DataFrame(found, columns=[BRAND, CUSTOMER, SPLIT, HISTORY, NEXT, OWNED])


def _rows(baskets: Sequence[Items], cut: Cut) -> Iterator[_Row]:
    """Split, history, next basket and what was owned before, of one customer's rows."""
    held_out = min(2, len(baskets) - 1)
    yield from _training(baskets[: len(baskets) - held_out], cut)
    for back, split in ((2, "validation"), (1, "test")):
        if held_out >= back:
            yield from _held_out(split, baskets, len(baskets) - back, cut)


def _rows_by_date(baskets: Sequence[Items], time: Any, cut: Cut) -> Iterator[_Row]:
    """The same where every basket from a date on is tested; ``time`` is that of each basket."""
    first = int((time < np.datetime64(cut.test_from)).sum())
    stop = int((time < np.datetime64(cut.test_until)).sum()) if cut.test_until else len(baskets)
    yield from _training(baskets[:first], cut)
    for at in range(max(1, first), stop):
        yield from _held_out("test", baskets, at, cut)


def _training(baskets: Sequence[Items], cut: Cut) -> Iterator[_Row]:
    past = [item for basket in baskets for item in basket]
    for window in range(cut.windows):
        stop = len(past) - window * cut.length
        row = past[max(0, stop - cut.length) : max(0, stop)]
        if len(row) >= 2:
            yield "train", tuple(row), (), ()


def _held_out(split: str, baskets: Sequence[Items], at: int, cut: Cut) -> Iterator[_Row]:
    """The row that asks for basket ``at``, if there is anything to ask for."""
    before = [item for basket in baskets[:at] for item in basket]
    known = set(before) if cut.new_only else set()
    follows = [item for item in baskets[at] if item not in known]
    if follows:
        history = tuple(before[-cut.length :])
        yield split, history, tuple(follows[: cut.targets]), before_them(before, history)


def before_them(past: Sequence[str], history: Sequence[str]) -> Items:
    """Items of ``past``, each once and in order, that are not in ``history``.

    >>> before_them("abacbd", "bd")
    ('a', 'c')
    """
    kept = set(history)
    return tuple(dict.fromkeys(item for item in past if item not in kept))


def with_customers(rows: pd.DataFrame, least: int, split: str = "test") -> pd.DataFrame:
    """The rows of brands with at least ``least`` customers in ``split`` and somebody to test.

    Those of all brands where ``least`` is 0.
    """
    if not least:
        return rows
    many = rows[rows[SPLIT] == split].groupby(BRAND)[CUSTOMER].nunique() >= least
    tested = rows[rows[SPLIT] == "test"][BRAND]
    kept = rows[BRAND].isin(many.index[many]) & rows[BRAND].isin(tested)
    return rows[kept].reset_index(drop=True)


def of_histories(schema: Schema) -> bool:
    """Whether rows of this schema are histories: a catalogue and nothing else."""
    return schema.label == SPLIT and [c.name for c in schema.codes] == [HISTORY] == [
        c.name for c in schema.columns
    ]


def listed(cells: pd.Series) -> tuple[pd.Series, npt.NDArray[np.bool_]]:
    """Cells as tuples of item names, and which of them are no list of items.

    A list is one (of Parquet, of a database) or its text as JSON (in CSV); an empty cell is the
    empty history. Names that are whole numbers become text.

    >>> made, bad = listed(pd.Series(['["a", 7]', ["b"], None, '"a b"']))
    >>> made.tolist(), bad.tolist()
    ([('a', '7'), ('b',), (), ()], [False, False, False, True])
    """
    found = [_items(cell) for cell in cells]
    bad = np.array([items is None for items in found], np.bool_)
    made: list[Items] = [items or () for items in found]
    return pd.Series(made, cells.index, dtype=object), bad


def _items(cell: Any) -> Items | None:
    if isinstance(cell, str) and cell.strip():
        try:
            found = json.loads(cell)
        except ValueError:
            return None
        cell = found if isinstance(found, list) else 0
    if not isinstance(cell, list | tuple | np.ndarray):
        return () if isinstance(cell, str) or pd.isna(cell) else None
    names = [x.item() if isinstance(x, np.generic) else x for x in cell]
    if not all(isinstance(x, str | int) and not isinstance(x, bool) for x in names):
        return None
    return tuple(map(str, names))


def catalogue_schema(items: Sequence[str]) -> Schema:
    """A schema whose one column is the catalogue, a public list of item names.

    Its label says what a row is for: rows of histories have no other, as what follows is in them.
    """
    return Schema(
        (Category(HISTORY, tuple(items)),), SPLIT, classes=("train", "validation", "test")
    )
