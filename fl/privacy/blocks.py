"""Customers' clipped gradients for many simulated brands side by side.

What ``CustomerPrivacy.gradients`` does for one brand at a time: Poisson samples, one clipped
gradient for each customer, noise on every brand's own sum. The guarantee is that plan's, brand by
brand. Brands of a simulation share a process, so they share one secure generator; no two of them
ever see the same bits of it.

Suffixes: ``_a`` brand of the block, ``_m`` place in its batch, ``_c`` customer of the block.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fl.doors import Training
from fl.privacy import parameters
from fl.privacy.brand import BrandPrivacy
from fl.privacy.customer import CustomerPrivacy
from fl.privacy.kernel import clip_factor
from fl.privacy.layers import Groups, Signals, precision
from fl.privacy.noise import NoiseSource, SecureRandom, noised
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
class Customers:
    """One brand's rows by customer.

    Attributes:
        order: int64 ``[b]``, its rows sorted by customer.
        rows_k: int64, rows of each customer.
    """

    order: Tensor
    rows_k: Tensor

    @staticmethod
    def of(customer_b: Tensor) -> Customers:
        """Guarantee: equal ids are one customer."""
        order = torch.argsort(customer_b, stable=True)
        return Customers(order, torch.unique_consecutive(customer_b[order], return_counts=True)[1])


@dataclass(frozen=True, slots=True)
class Sample:
    """A step's batches: every sampled customer's rows, then padding.

    Attributes:
        row_am: the row, as a number of the block's rows; in padding one of the brand's own.
        present_am: False in padding.
        customer_b: ``[a * m]``, ascending; padding has customers of its own.
        rows_a: rows that are no padding.
    """

    row_am: Tensor
    present_am: Tensor
    customer_b: Tensor
    rows_a: Tensor


class CustomerBlock:
    """DP-SGD for some brands at once.

    Guarantee: for each brand that of ``CustomerPrivacy.gradients``: the batches are those of
    ``poisson_batches``, sums of rows times :meth:`scales` are those of ``clipped_sum``, and
    :meth:`noised` is ``noise.noised`` with noise of the brand's own.

    Args:
        brands: each one's rows by customer, and the number of its first row.
        seeds: of each brand's answer; read under a noise source for tests only.
    """

    def __init__(
        self,
        plan: CustomerPrivacy,
        training: Training,
        brands: Sequence[tuple[Customers, int]],
        seeds: Sequence[int],
    ) -> None:
        if batching(plan) != "clipped":
            raise ValueError("Expected a plan whose steps are clipped, noised and batched.")
        self._plan, self.steps = plan, plan.steps(training)
        self._sources, self._shared = _sources(plan, seeds), plan.noise_source == SecureRandom.name
        self._sizes = [len(of.rows_k) for of, _ in brands]
        self._row = torch.cat([of.order + first for of, first in brands])
        self._rows_c = torch.cat([of.rows_k for of, _ in brands])
        self._start_c = self._rows_c.cumsum(0) - self._rows_c
        self._one_each = len(self._row) == len(self._rows_c)
        sizes = torch.tensor(self._sizes)
        self._brand_c = torch.arange(len(brands)).repeat_interleave(sizes)
        self._end_a = sizes.cumsum(0)
        self._first_a = torch.tensor([first for _, first in brands])

    def sample(self) -> Sample:
        """The next step's batches.

        Guarantee: as ``poisson_batches``: every customer of every brand by itself, with
        probability at most the plan's rate, and with all rows.
        """
        rate = self._plan.sampling_rate
        if self._shared:
            coins = self._sources[0].bernoulli(len(self._rows_c), rate)
        else:
            pairs = zip(self._sources, self._sizes, strict=True)
            coins = torch.cat([source.bernoulli(n, rate) for source, n in pairs])
        chosen = coins.nonzero()[:, 0]
        brand, place, customer = self._brand_c[chosen], chosen, chosen
        if not self._one_each:
            count = self._rows_c[chosen]
            shift = self._start_c[chosen] - (count.cumsum(0) - count)
            place = torch.arange(int(count.sum())) + shift.repeat_interleave(count)
            brand, customer = brand.repeat_interleave(count), chosen.repeat_interleave(count)
        came_a = torch.bincount(brand, minlength=len(self._sizes))
        most = max(1, int(came_a.max()))
        m = torch.arange(most)
        present_am = m < came_a[:, None]
        row_am = self._first_a[:, None].expand(-1, most).clone()
        row_am[present_am] = self._row[place]
        # ascending over the block: a brand's customers, then its padding, then the next brand's
        beside = torch.arange(len(self._sizes)) * most
        customer_am = self._end_a[:, None] + (m - came_a[:, None]) + beside[:, None]
        customer_am[present_am] = customer + beside[brand]
        return Sample(row_am, present_am, customer_am.view(-1), came_a)

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
        scale_k = torch.from_numpy(clip_factor(norm_k, self._plan.clip_norm) / rows_k).float()
        scale_b = scale_k if groups.one_each else scale_k[groups.index_b]
        scale_am = scale_b.view_as(sample.present_am) * sample.present_am
        finite_k = np.isfinite(norm_k)
        if finite_k.all():
            return scale_am, None
        bad_b = ~torch.from_numpy(finite_k)[groups.index_b]
        gone = len(torch.unique(groups.index_b[bad_b & sample.present_am.view(-1)]))
        if gone:  # in the brand's own log; it never travels
            _log.warning("%d customers' gradients were not finite: counted as zero", gone)
        return scale_am, bad_b.view_as(sample.present_am)

    def precision(self, sample: Sample, uses: int) -> torch.dtype:
        """In what the block's sums are added.

        Guarantee: as ``layers.precision`` for the brand with the most rows.

        Args:
            uses: how often one row reads a layer at most, such as columns of one table.
        """
        return precision(int(sample.rows_a.max()) * uses, torch.float32)

    def noised(self, sums: Sequence[Tensor], sample: Sample, uses: int) -> list[Tensor]:
        """Every brand's mean gradient: its noised sum over the public expected number of customers.

        Guarantee: each brand's line of ``sums`` gets noise of its own, as ``noise.noised`` adds it.

        Args:
            sums: ``[a, ...]`` for each parameter, in the model's order.
            sample, uses: as in :meth:`precision`; a test's source draws as one brand by itself.
        """
        plan = self._plan
        if self._shared:
            noisy = noised(sums, plan.clip_norm, plan.sigma, self._sources[0])
        else:
            lines = []
            for i, source in enumerate(self._sources):
                own = precision(int(sample.rows_a[i]) * uses, torch.float32)
                of = [s[i].to(own) for s in sums]
                lines.append(
                    [x.to(sums[0].dtype) for x in noised(of, plan.clip_norm, plan.sigma, source)]
                )
            noisy = [torch.stack(parts) for parts in zip(*lines, strict=True)]
        return [g.float() for g in torch._foreach_div(noisy, plan._expected)]


def _sources(plan: CustomerPrivacy, seeds: Sequence[int]) -> list[NoiseSource]:
    """One secure generator for the block, or each brand's own source of a test.

    Guarantee: under ``secure`` nothing depends on ``seeds``.
    """
    if plan.noise_source == SecureRandom.name:
        return [parameters.source(plan.noise_source, 0)]
    return [parameters.source(plan.noise_source, seed) for seed in seeds]
