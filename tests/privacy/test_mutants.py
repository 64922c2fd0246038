"""A privacy bug of every known kind, planted into the real code, is caught by a named check.

A mutant replaces one piece of text in one function; the function keeps its identity, so everybody
who imported it runs the mutant. The text must be there exactly once: a mutant cannot go stale.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType

import pytest

from fl import round as rounds
from fl.brand import LocalBrand
from fl.privacy import (
    BrandPrivacy,
    CustomerPrivacy,
    accounting,
    draws,
    gradients,
    lattice,
    noise,
    statistics,
)
from fl.privacy.blocks import CustomerBlock
from fl.privacy.kernel import AnalyticKernel
from tests.privacy import checks
from tests.privacy.checks import CHECKS


@dataclass(frozen=True)
class Mutant:
    """What is changed, and which check must see it."""

    function: object
    old: str
    new: str
    check: Callable[[], None]


GDP = """from opacus.accountants.analysis.gdp import compute_eps_poisson as gdp
        (r,) = found
        try:
            return gdp(
                steps=r.times, noise_multiplier=r.noise_multiplier, sample_rate=r.rate, delta=delta
            )
        except ValueError:  # so little that its search finds nothing
            return 0.0
        return"""
STD = "std = noise_multiplier * clip_norm"
BOOKED = "if self.plan.unit is Unit.CUSTOMER:"
MUTANTS = {
    # the noise
    "noise halved": Mutant(
        noise.noised, STD, STD + " / 2", checks.a_gradient_sum_has_the_noise_that_is_booked
    ),
    "noise 5 % low": Mutant(
        noise.noised, STD, STD + " * 0.95", checks.a_gradient_sum_has_the_noise_that_is_booked
    ),
    "noise of steps 5 % low": Mutant(
        CustomerPrivacy.gradients,
        "clip.norm, self.sigma, rng)",
        "clip.norm, 0.95 * self.sigma, rng)",
        checks.a_step_has_the_noise_that_is_booked,
    ),
    "noise of queries 5 % low": Mutant(
        CustomerPrivacy.release,
        "self._add, 1.0, multiplier",
        "self._add, 1.0, 0.95 * multiplier",
        checks.a_query_has_the_noise_that_is_booked,
    ),
    "an answer asked alone has a share only": Mutant(
        CustomerPrivacy.release,
        "if asked.alone:",
        "if not asked:",
        checks.records_have_the_noise_that_is_booked_for_their_share,
    ),
    "a part of the budget has all of its noise saved": Mutant(
        CustomerPrivacy._multiplier,
        "/ math.sqrt(asked.share)",
        "* math.sqrt(asked.share)",
        checks.records_have_the_noise_that_is_booked_for_their_share,
    ),
    "count noised as a query": Mutant(
        CustomerPrivacy.release,
        "self._multiplier(asked)",
        "self.query_noise_multiplier",
        checks.a_count_has_the_noise_that_is_booked,
    ),
    "central noise 5 % low": Mutant(
        BrandPrivacy.noise,
        "noise_multiplier=multiplier",
        "noise_multiplier=0.95 * multiplier",
        checks.a_sum_of_brands_has_the_noise_that_is_booked,
    ),
    "no central noise": Mutant(
        BrandPrivacy.noise,
        "return Update(statistics.with_noise(total.sums, divided_by, add), total.weight)",
        "return total",
        checks.a_sum_of_brands_has_the_noise_that_is_booked,
    ),
    "metrics released raw": Mutant(
        CustomerPrivacy.release,
        "return statistics.with_noise(sums, statistics.scales(limits), add), 1.0",
        "return sums, 1.0",
        checks.a_query_has_the_noise_that_is_booked,
    ),
    "noise from torch's global generator": Mutant(
        noise.noised,
        "rng.normal((sum(sizes),), std / grid, sums[0].dtype)",
        "torch.randn(sum(sizes), dtype=sums[0].dtype) * (std / grid)",
        checks.no_seed_makes_two_releases_equal,
    ),
    "share of noise from torch's global generator": Mutant(
        lattice.shared,
        "torch.from_numpy(rng.discrete_gaussian((entries,), std / gamma))",
        "(torch.randn(entries) * (std / gamma)).round()",
        checks.no_seed_makes_two_releases_equal,
    ),
    "sample from torch's global generator": Mutant(
        gradients._sampled,
        "rng.bernoulli(len(rows_k), rate)",
        "(torch.rand(len(rows_k)) < rate)",
        checks.no_seed_makes_two_releases_equal,
    ),
    "noise share missing: every brand is counted on": Mutant(
        CustomerPrivacy.shares,
        "self.brands - self.dropouts - self.colluders",
        "self.brands",
        checks.the_shares_that_are_counted_on_make_up_the_noise,
    ),
    "noise share missing: not added": Mutant(
        lattice.shared,
        "(s.double() / gamma).round() + n.view(s.shape)",
        "(s.double() / gamma).round()",
        checks.the_shares_that_are_counted_on_make_up_the_noise,
    ),
    "noise share 5 % low": Mutant(
        lattice.shared,
        "std = noise_multiplier",
        "std = 0.95 * noise_multiplier",
        checks.the_shares_that_are_counted_on_make_up_the_noise,
    ),
    "rounding not in the sensitivity": Mutant(
        lattice.shared,
        "inflated(sensitivity, entries)",
        "sensitivity",
        checks.a_share_covers_what_rounding_adds,
    ),
    # the sensitivity
    "clip off": Mutant(
        AnalyticKernel.clipped_sum,
        "clip_factor(norm_k, clip_norm) / rows_k",
        "1 / rows_k",
        checks.one_customer_moves_a_gradient_by_at_most_the_clip,
    ),
    "clip per row": Mutant(
        gradients.CustomerGradients.clipped_sum,
        "self._kernel.clipped_sum(batch, clip_norm)",
        "self._kernel.clipped_sum(batch.renumbered(torch.arange(len(batch))), clip_norm)",
        checks.one_customer_moves_a_gradient_by_at_most_the_clip,
    ),
    "sum of a customer's rows clipped by their mean": Mutant(
        AnalyticKernel.clipped_sum,
        "clip_factor(norm_k, clip_norm) / rows_k",
        "clip_factor(norm_k, clip_norm)",
        checks.one_customer_moves_a_gradient_by_at_most_the_clip,
    ),
    "not a number is added": Mutant(
        AnalyticKernel.clipped_sum,
        "if not finite_k.all():",
        "if False:",
        checks.a_customer_that_is_not_a_number_counts_as_zero,
    ),
    "statistics not clipped": Mutant(
        statistics.sum_over_customers,
        "_clipped_sum(per_customer, scales(limits))",
        "{n: x.sum(0) for n, x in per_customer.items()}",
        checks.one_customer_moves_a_query_by_at_most_one,
    ),
    "statistics per row": Mutant(
        statistics.sum_over_customers,
        "_means(per_example, customer_b)",
        "per_example",
        checks.one_customer_moves_a_query_by_at_most_one,
    ),
    "largest shares not clipped": Mutant(
        statistics.largest_shares,
        "scaled = _clipped_by_rows(scaled)",
        "pass",
        checks.one_customer_moves_largest_shares_by_at_most_one,
    ),
    "shares noised as if of the largest total": Mutant(
        statistics.largest_shares,
        "of[n].min(1)",
        "of[n].max(1)",
        checks.one_customer_moves_largest_shares_by_at_most_one,
    ),
    "noise of largest shares 5 % low": Mutant(
        CustomerPrivacy.release,
        "noise_multiplier=multiplier, rng",
        "noise_multiplier=0.95 * multiplier, rng",
        checks.largest_shares_have_the_noise_that_is_booked,
    ),
    "brand update not clipped": Mutant(
        BrandPrivacy.bound,
        "return Update(bounded, 1.0)",
        "return update",
        checks.one_brand_moves_the_mean_by_at_most_the_clip_over_a_constant,
    ),
    "mean over the brands that came": Mutant(
        BrandPrivacy.denominator,
        "self.brands * (1.0 if limits is not None else self.sampling_rate)",
        "total.weight",
        checks.one_brand_moves_the_mean_by_at_most_the_clip_over_a_constant,
    ),
    # public numbers and sampling
    "batch size realised, in a step": Mutant(
        CustomerPrivacy.gradients,
        "torch._foreach_div(noisy, self.most_weight)",
        "torch._foreach_div(noisy, max(1.0, total.customers))",
        checks.means_are_taken_with_public_numbers,
    ),
    "batch size realised, in a sum": Mutant(
        CustomerPrivacy.gradient,
        "total.gradients), self.most_weight",
        "total.gradients), max(1.0, total.customers)",
        checks.means_are_taken_with_public_numbers,
    ),
    "weight is the number of examples": Mutant(
        CustomerPrivacy.weight,
        "return 1.0",
        "return float(examples)",
        checks.weights_say_nothing_about_sizes,
    ),
    "weight of a statistic is the number of customers": Mutant(
        CustomerPrivacy.release,
        "scales(limits), add), 1.0",
        "scales(limits), add), float(next(iter(sums.values())).max())",
        checks.weights_say_nothing_about_sizes,
    ),
    "shuffled, booked as Poisson": Mutant(
        gradients._sampled,
        "rng.bernoulli(len(rows_k), rate).nonzero()[:, 0]",
        "rng.normal((len(rows_k),), 1.0).argsort()[: round(rate * len(rows_k))].sort().values",
        checks.batches_are_poisson_samples_at_the_booked_rate,
    ),
    "sampled at twice the booked rate": Mutant(
        CustomerPrivacy.gradient,
        "poisson_batches(examples, self.sampling_rate, 1, rng)",
        "poisson_batches(examples, min(1.0, 2 * self.sampling_rate), 1, rng)",
        checks.batches_are_poisson_samples_at_the_booked_rate,
    ),
    "cohort of a fixed size, booked as Poisson": Mutant(
        BrandPrivacy.sample,
        "rng.bernoulli(len(nodes), self.sampling_rate).tolist()",
        "(rng.normal((len(nodes),), 1.0).argsort() < self.sampling_rate * len(nodes)).tolist()",
        checks.cohorts_are_poisson_samples_at_the_booked_rate,
    ),
    # the booking
    "GDP accountant": Mutant(
        accounting.pld_epsilon,
        "return float(loss_distribution",
        GDP + " float(loss_distribution",
        checks.calibrated_noise_keeps_the_promise,
    ),
    "one release not booked": Mutant(
        LocalBrand.admitted,
        BOOKED,
        BOOKED[:-1] + " and not isinstance(ask, Query):",
        checks.every_release_is_booked_at_its_price,
    ),
    "first round of brands not booked": Mutant(
        rounds.coordinate,
        "if plan.unit is Unit.BRAND:",
        "if plan.unit is Unit.BRAND and number > 1:",
        checks.every_release_is_booked_at_its_price,
    ),
    "a block sampled at twice the rate": Mutant(
        CustomerBlock.__init__,
        "drawn_together(pool, self.steps, rate,",
        "drawn_together(pool, self.steps, 2 * rate,",
        checks.blocks_of_brands_are_sampled_at_the_booked_rate,
    ),
    "a block's steps are one sample": Mutant(
        draws.drawn_together,
        "for part in _stretches(lines)",
        "for part in [slice(0, 1)]] * len(lines) or [() for part in ()",
        checks.blocks_of_brands_are_sampled_at_the_booked_rate,
    ),
    "a block's steps share their noise": Mutant(
        CustomerBlock.noise,
        "return self._room[:n].view(shape)",
        "return self._room[:n].view(shape)[:, :1].expand(shape)",
        checks.blocks_of_brands_have_noise_of_their_own_in_every_step,
    ),
    "parts of a block share their noise": Mutant(
        CustomerBlock.noise,
        "self._source.fill(",
        "len(self._room) == n or self._source.fill(",
        checks.blocks_of_brands_have_noise_of_their_own_in_every_step,
    ),
    "noise of a block 5 % low": Mutant(
        CustomerBlock.noise,
        "[: n + n % 2], self._std)",
        "[: n + n % 2], 0.95 * self._std)",
        checks.blocks_of_brands_have_noise_of_their_own_in_every_step,
    ),
    "noise of a block's sums 5 % low": Mutant(
        CustomerBlock.noised,
        "(brands * self._entries,), self._std,",
        "(brands * self._entries,), 0.95 * self._std,",
        checks.blocks_of_brands_have_noise_of_their_own_in_every_step,
    ),
    "one step booked for many": Mutant(
        CustomerPrivacy.event,
        "Repeated(self._step(), self.steps(training))",
        "self._step()",
        checks.as_many_steps_are_booked_as_are_taken,
    ),
    "data touched before it is booked": Mutant(
        LocalBrand.admitted,
        BOOKED,
        'self.splits["train"]\n    ' + BOOKED,
        checks.what_is_not_paid_for_touches_no_data,
    ),
    "brands asked before it is booked": Mutant(
        rounds.coordinate,
        "if plan.unit is Unit.BRAND:",
        "federation.ask({n: Request(kind, number, algorithm.broadcast(state)) for n in cohort})\n"
        "    if plan.unit is Unit.BRAND:",
        checks.what_is_not_paid_for_touches_no_data,
    ),
}  # fmt: skip


def plant(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change the code of the function in place."""
    target = getattr(mutant.function, "fget", mutant.function)
    assert isinstance(target, FunctionType)
    source = textwrap.dedent(inspect.getsource(target))
    assert source.count(mutant.old) == 1, "the mutant is stale"
    made: dict[str, object] = {}
    exec(source.replace(mutant.old, mutant.new), target.__globals__, made)
    changed = made[target.__name__]
    changed = getattr(changed, "fget", changed)
    assert isinstance(changed, FunctionType)
    monkeypatch.setattr(target, "__code__", changed.__code__)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_check_passes_unmutated(check: Callable[[], None]) -> None:
    check()


@pytest.mark.parametrize("name", MUTANTS)
def test_every_mutant_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(MUTANTS[name], monkeypatch)
    with pytest.raises(AssertionError):
        MUTANTS[name].check()


def test_every_check_catches_a_mutant() -> None:
    assert {mutant.check for mutant in MUTANTS.values()} == set(CHECKS)
