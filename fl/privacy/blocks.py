"""Customers' clipped gradients for many simulated brands side by side.

What ``CustomerPrivacy.gradients`` does for one brand at a time: Poisson samples (``draws.py``), one
clipped gradient for each customer, noise on every brand's own sum. The guarantee is that plan's,
brand by brand. ``blocks_compiled.py`` does whole steps where numba is installed.

Suffixes: ``_a`` brand of the block, ``_m`` place in its batch, ``_c`` customer of the block.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fl.doors import Training
from fl.privacy import parameters
from fl.privacy.brand import BrandPrivacy
from fl.privacy.customer import CustomerPrivacy
from fl.privacy.draws import Customers, Pool, drawn_apart, drawn_together
from fl.privacy.kernel import clip_factor
from fl.privacy.layers import Groups, Signals, precision
from fl.privacy.noise import SecureRandom, grid_of, on_grid
from fl.privacy.none import NoPrivacy

_log = logging.getLogger(__name__)


def batching(plan: object) -> str:
    """How a plan's training steps can be taken for many brands at once: ``exact``, ``clipped``, or
    empty where they cannot.

    Guarantee: a plan of any other type, and one whose clip moves or whose noise is shared, is
    never batched.
    """
    if type(plan) in (NoPrivacy, BrandPrivacy):
        return "exact"
    if type(plan) is CustomerPrivacy and plan.name == "local" and not plan.clip_quantile:
        return "clipped"
    return ""


@dataclass(frozen=True, slots=True)
class Sample:
    """A step's batches: every sampled customer's rows, then padding.

    Attributes:
        row_am: the row, as a number of the block's rows; in padding one of the brand's own.
        present_am: False in padding.
        customer_b: ``[a * m]``, ascending; padding has customers of its own.
    """

    row_am: Tensor
    present_am: Tensor
    customer_b: Tensor


class CustomerBlock:
    """DP-SGD for some brands at once.

    Guarantee: for each brand that of ``CustomerPrivacy.gradients``: the batches are those of
    ``poisson_batches``, sums of rows times :meth:`scales` are those of ``clipped_sum``, and
    :meth:`noised` is ``noise.noised`` with noise of the brand's own.

    Attributes:
        steps: of each brand.
        drawn: the batches of all steps.
        one_each: whether every customer has one row.
        clip_norm, grid, expected: the plan's, public.

    Args:
        brands: each one's rows by customer.
        seeds: of each brand's answer; read under a noise source for tests only.
        entries: of the model.
        uses: how often one row reads a layer at most, such as columns of one table.
        compiled: whether numba is installed, and wanted.
    """

    def __init__(
        self,
        plan: CustomerPrivacy,
        training: Training,
        brands: Sequence[Customers],
        seeds: Sequence[int],
        *,
        entries: int,
        uses: int = 1,
        compiled: bool = False,
    ) -> None:
        if batching(plan) != "clipped":
            raise ValueError("Expected a plan whose steps are clipped, noised and batched.")
        self.steps, self.clip_norm = plan.steps(training), plan.clip_norm
        std = parameters.known(plan.sigma) * plan.clip_norm
        self.grid, self.expected = grid_of(std), plan.most_weight
        self._std, self._entries, self._uses = std / self.grid, entries, uses
        pool, rate = Pool.of(brands), plan.sampling_rate
        if plan.noise_source == SecureRandom.name:  # one for the block
            self._source = SecureRandom(compiled=compiled)
            self.drawn = drawn_together(pool, self.steps, rate, self._source, compiled=compiled)
        else:  # a test's: nothing depends on seeds but this
            sources = [parameters.source(plan.noise_source, seed) for seed in seeds]
            self.drawn = drawn_apart(
                pool, self.steps, rate, sources, entries=entries, std=self._std, uses=uses
            )
        self.one_each, self._room = pool.one_each, torch.empty(0)
        self._end_a, self._first_a = pool.sizes_a.cumsum(), np.array([of.first for of in brands])
        self._rows_as = np.diff(self.drawn.edge).reshape(len(brands), self.steps)

    def sample(self, step: int) -> Sample:
        """A step's batches. Guarantee: those of :attr:`drawn`."""
        came_a = self._rows_as[:, step]
        most = max(1, int(came_a.max()))
        m = np.arange(most)
        present_am = m < came_a[:, None]
        place = (self.drawn.edge[step :: self.steps][: len(came_a), None] + m)[present_am]
        row_am = self._first_a[:, None].repeat(most, 1)
        row_am[present_am] = self.drawn.row_n[place]
        # ascending over the block: a brand's customers, then its padding, then the next brand's
        beside = (np.arange(len(came_a)) * most)[:, None]
        customer_am = self._end_a[:, None] + (m - came_a[:, None])
        customer_am[present_am] = self.drawn.customer_n[place]
        whole = torch.from_numpy((customer_am + beside).reshape(-1))
        return Sample(torch.from_numpy(row_am), torch.from_numpy(present_am), whole)

    def scales(self, signals: Sequence[Signals], sample: Sample) -> tuple[Tensor, Tensor | None]:
        """What each row's back-signal is multiplied by, float32 ``[a, m]``; and rows to leave out.

        Guarantee: the sum over one customer's rows of gradient times scale is that customer's mean
        gradient, clipped jointly over all layers; padding counts zero. Rows of a customer whose
        gradient is not finite are in the second result, and must be set to zero, not scaled.

        Args:
            signals: of all layers, for the block's rows one after the other.
        """
        groups = Groups.of(sample.customer_b)
        square_k = np.zeros(len(groups.rows_k))
        for s in signals:
            square_k += s.squares(groups).numpy()
        rows_k = groups.rows_k.numpy()
        norm_k = np.sqrt(square_k) / rows_k
        scale_k = torch.from_numpy(clip_factor(norm_k, self.clip_norm) / rows_k).float()
        scale_b = scale_k if groups.one_each else scale_k[groups.index_b]
        scale_am = scale_b.view_as(sample.present_am) * sample.present_am
        finite_k = np.isfinite(norm_k)
        if finite_k.all():
            return scale_am, None
        bad_b = ~torch.from_numpy(finite_k)[groups.index_b]
        gone = len(torch.unique(groups.index_b[bad_b & sample.present_am.view(-1)]))
        self.tell(gone)
        return scale_am, bad_b.view_as(sample.present_am)

    def tell(self, gone: int) -> None:
        """Guarantee: in the brand's own log; it never travels."""
        if gone:
            _log.warning("%d customers' gradients were not finite: counted as zero", gone)

    def precision(self, step: int | None = None) -> torch.dtype:
        """In what the block's sums of a step are added; None: of all steps.

        Guarantee: as ``layers.precision`` for the brand with the most rows.
        """
        rows = self._rows_as if step is None else self._rows_as[:, step]
        return precision(int(rows.max(initial=0)) * self._uses, torch.float32)

    def noised(self, sums: Sequence[Tensor], step: int) -> list[Tensor]:
        """Every brand's mean gradient: its noised sum over the public expected number of customers.

        Guarantee: each brand's line of ``sums`` gets noise of its own, as ``noise.noised`` adds it.

        Args:
            sums: ``[a, ...]`` for each parameter, in the model's order.
        """
        dtype = sums[0].dtype
        if not self.drawn.noise_a:
            brands = len(self._rows_as)
            flat = self._source.normal((brands * self._entries,), self._std, dtype)
            noisy = on_grid(sums, flat, self.grid)
        else:
            lines = []
            for i, own in enumerate(self.drawn.noise_a):
                line = on_grid([s[i].to(own[step].dtype) for s in sums], own[step], self.grid)
                lines.append([x.to(dtype) for x in line])
            noisy = [torch.stack(parts) for parts in zip(*lines, strict=True)]
        return [g.float() for g in torch._foreach_div(noisy, self.expected)]

    def noise(self, brands: slice, dtype: torch.dtype) -> Tensor:
        """``[a, s, entries]`` for some brands' steps, in units of the grid; valid until the next.

        Guarantee: as the noise of :meth:`noised`; it is fresh in every call.
        """
        shape = (brands.stop - brands.start, self.steps, self._entries)
        if self.drawn.noise_a:
            return torch.stack(
                [torch.stack([z.to(dtype) for z in own]) for own in self.drawn.noise_a[brands]]
            )
        if dtype != torch.float32:
            return self._source.normal(shape, self._std, dtype)
        n = math.prod(shape)
        if len(self._room) < n:
            self._room = torch.empty(n + n % 2)
        self._source.fill(self._room[: n + n % 2], self._std)
        return self._room[:n].view(shape)
