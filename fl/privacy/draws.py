"""Which customers of a block's brands are in which step, drawn beforehand, and the steps' noise.

Poisson samples depend on no parameter, so all steps' coins fall together. Brands of a simulation
share a process, so they share one secure generator; no two of them ever see the same bits of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fl.contracts import Ints
from fl.privacy import variates_compiled
from fl.privacy.layers import precision
from fl.privacy.noise import NoiseSource

_COINS = 1 << 22  # that fall at a time


@dataclass(frozen=True, slots=True)
class Customers:
    """One brand's rows by customer.

    Attributes:
        first: the number of its first row among all brands'.
        row: ``[b]``, numbers of its rows, sorted by customer.
        rows_k: rows of each customer.
    """

    first: int
    row: Ints
    rows_k: Ints

    @staticmethod
    def of(customer_b: Tensor, first: int) -> Customers:
        """Guarantee: equal ids are one customer."""
        order = torch.argsort(customer_b, stable=True)
        rows_k = torch.unique_consecutive(customer_b[order], return_counts=True)[1]
        return Customers(first, order.numpy() + first, rows_k.numpy())


@dataclass(frozen=True, slots=True)
class Pool:
    """The customers of all brands of a block, one brand's after the other's.

    Attributes:
        sizes_a: customers of each brand.
        row: the rows' numbers in the block's data, by customer.
        rows_c: rows of each customer.
        one_each: whether every customer has one row.
    """

    sizes_a: Ints
    row: Ints
    rows_c: Ints
    one_each: bool

    @staticmethod
    def of(brands: Sequence[Customers]) -> Pool:
        """Of these brands."""
        row = np.concatenate([of.row for of in brands])
        rows_c = np.concatenate([of.rows_k for of in brands])
        sizes_a = np.array([len(of.rows_k) for of in brands], np.int64)
        return Pool(sizes_a, row, rows_c, len(row) == len(rows_c))


@dataclass(frozen=True, slots=True)
class Drawn:
    """The rows of every step: brand after brand, of each brand step after step.

    Attributes:
        row_n: numbers of the block's rows.
        customer_n: whose they are, numbered over the block.
        edge: ``[a * steps + 1]``, where each step's rows begin.
        noise_a: under a test's source each brand's noise of every step, ``[entries]`` in units of
            the grid; else empty.
    """

    row_n: Ints
    customer_n: Ints
    edge: Ints
    noise_a: list[list[Tensor]]


def drawn_together(
    pool: Pool, steps: int, rate: float, source: NoiseSource, *, compiled: bool
) -> Drawn:
    """The batches of all brands by one source.

    Guarantee: as ``poisson_batches``: in every step every customer of every brand by itself, with
    probability at most ``rate``, and with all rows.
    """
    lines = pool.sizes_a.repeat(steps)
    first = (pool.sizes_a.cumsum() - pool.sizes_a).repeat(steps)
    found = [
        _chosen(source, rate, lines[part], first[part], compiled) for part in _stretches(lines)
    ]
    return _with_rows(pool, found, [])


def drawn_apart(
    pool: Pool,
    steps: int,
    rate: float,
    sources: Sequence[NoiseSource],
    *,
    entries: int,
    std: float,
    uses: int,
) -> Drawn:
    """Batches and noise by sources of the brands' own, in the order in which one brand draws.

    Guarantee: as :func:`drawn_together`.

    Args:
        std: of the noise, in units of the grid.
        uses: how often one row reads a layer at most.
    """
    found: list[tuple[Ints, Ints]] = []
    noise_a: list[list[Tensor]] = []
    first = pool.sizes_a.cumsum() - pool.sizes_a
    for i, source in enumerate(sources):
        noise_a.append([])
        for _ in range(steps):
            line = _chosen(source, rate, pool.sizes_a[i : i + 1], first[i : i + 1], False)
            dtype = precision(int(pool.rows_c[line[0]].sum()) * uses, torch.float32)
            noise_a[i].append(source.normal((entries,), std, dtype))
            found.append(line)
    return _with_rows(pool, found, noise_a)


def _chosen(
    source: NoiseSource, rate: float, lines: Ints, first: Ints, compiled: bool
) -> tuple[Ints, Ints]:
    """Numbers of the customers that are in, and how many of each line.

    Args:
        lines: customers of each brand and step.
        first: the number of the first of them.
    """
    coins: npt.NDArray[np.bool_] = source.bernoulli(int(lines.sum()), rate).numpy()
    if compiled:
        return variates_compiled.chosen(coins, lines, first)
    place, start = np.flatnonzero(coins), lines.cumsum() - lines
    count = np.diff(np.searchsorted(place, start), append=len(place))
    return place + (first - start).repeat(count), count


def _with_rows(pool: Pool, found: list[tuple[Ints, Ints]], noise_a: list[list[Tensor]]) -> Drawn:
    """Guarantee: every chosen customer with all rows, and nobody else."""
    customer = np.concatenate([who for who, _ in found])
    edge = np.concatenate([[0], *(count for _, count in found)]).cumsum()
    if pool.one_each:
        return Drawn(pool.row[customer], customer, edge, noise_a)
    rows = pool.rows_c[customer]
    end, start_c = rows.cumsum(), pool.rows_c.cumsum() - pool.rows_c
    place = np.arange(rows.sum()) + (start_c[customer] - (end - rows)).repeat(rows)
    edge = np.concatenate([[0], end])[edge]
    return Drawn(pool.row[place], customer.repeat(rows), edge, noise_a)


def _stretches(lines: Ints) -> Iterator[slice]:
    """Some lines at a time. Guarantee: every line is in one."""
    group = (lines.cumsum() - lines) // _COINS
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    for start, stop in zip(starts, [*starts[1:], len(lines)], strict=True):
        yield slice(int(start), int(stop))
