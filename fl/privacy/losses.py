"""Privacy events as lists of releases, and the loss distribution that a list composes to.

Legend: ``q`` sampling rate, ``sigma`` noise multiplier, ``T`` number of releases, ``h`` grid of
privacy losses, ``V`` variance of the composed loss.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fl.events import Composed, Gaussian, PrivacyEvent, Repeated, Sampled, Unbounded

if TYPE_CHECKING:
    from dp_accounting import DpEvent
    from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution

GRID_ERROR = 2e-3  # what the grid of losses may add to a PLD figure, about
ROUNDING = 2e-11  # of delta, kept back: what double precision loses in composing 10^5 releases


@dataclass(frozen=True, slots=True, order=True)
class Release:
    """``times`` Gaussian sums over Poisson samples of rate ``rate``; ``rate`` 1 is unsampled."""

    rate: float
    noise_multiplier: float
    times: int


def releases(event: PrivacyEvent) -> tuple[Release, ...] | None:
    """The event without its structure: equal releases counted together, sorted; None if unbounded.

    Guarantee: composition of mechanisms fixed in advance does not depend on order or nesting, so
    every figure below is a function of this list. ``Sampled(1, e)`` is ``e``; zero times is free.

    >>> releases(Composed((Repeated(Gaussian(2.0), 3), Gaussian(2.0))))
    (Release(rate=1.0, noise_multiplier=2.0, times=4),)
    """
    counts: Counter[tuple[float, float]] = Counter()
    open_events: list[tuple[PrivacyEvent, int]] = [(event, 1)]
    while open_events:
        current, times = open_events.pop()
        match current:
            case Unbounded() if times:
                return None
            case Gaussian(sigma):
                counts[1.0, sigma] += times
            case Sampled(rate, Gaussian(sigma)):
                counts[rate, sigma] += times
            case Repeated(inner, more):
                open_events.append((inner, times * more))
            case Composed(events):
                open_events += [(inner, times) for inner in events]
    return tuple(sorted(Release(*key, times) for key, times in counts.items() if times))


def dp_event(event: PrivacyEvent) -> DpEvent:
    """The same event in dp_accounting's words.

    Guarantee: a one-to-one translation; add or remove one unit on both sides.
    """
    import dp_accounting as dp

    match event:
        case Gaussian(sigma):
            return dp.GaussianDpEvent(sigma)
        case Sampled(rate, inner):
            return dp.PoissonSampledDpEvent(rate, dp_event(inner))
        case Repeated(inner, times):
            return dp.SelfComposedDpEvent(dp_event(inner), times)
        case Composed(events):
            return dp.ComposedDpEvent([dp_event(inner) for inner in events])
        case Unbounded():
            return dp.NonPrivateDpEvent()


def event_of(release: Release) -> PrivacyEvent:
    """The event again; ``releases`` undoes it. Guarantee: the same cost."""
    return Repeated(Sampled(release.rate, Gaussian(release.noise_multiplier)), release.times)


def merge(found: Sequence[Release]) -> list[Release]:
    """Unsampled Gaussians as the one Gaussian that they compose to.

    Guarantee: exact, 1/sigma^2 adds (the sum of the releases, weighted so, is a sufficient
    statistic).
    """
    sampled = [r for r in found if r.rate < 1]
    precision = sum(r.times / r.noise_multiplier**2 for r in found if r.rate == 1)
    return [*sampled, Release(1.0, precision**-0.5, 1)] if precision else sampled


def loss_distribution(found: Sequence[Release], delta: float) -> PrivacyLossDistribution:
    """The composed privacy loss distribution, on a grid fine enough for figures at ``delta``.

    Guarantee: dominates the mechanism in both directions (a unit added, a unit removed).
    """
    from dp_accounting.pld import privacy_loss_distribution as pld

    merged = merge(found)
    h = grid(merged, delta)
    total = pld.identity(value_discretization_interval=h)
    for r in merged:
        one = pld.from_gaussian_mechanism(
            r.noise_multiplier, value_discretization_interval=h, sampling_prob=r.rate
        )
        total = total.compose(one.self_compose(r.times) if r.times > 1 else one)
    return total


def grid(
    found: Sequence[Release], delta: float, *, size: int = 1, error: float = GRID_ERROR
) -> float:
    """The widest grid of losses that adds about ``error`` to epsilon; between 1e-5 and 1e-3.

    Rounding a loss to one of its two neighbours adds at most h^2/6 of variance a release on
    average. Near the normal limit epsilon is V/2 + sqrt(2 V L), L = log 1/delta, so T releases add
    T h^2/6 (1/2 + sqrt(L / 2V)). Past an epsilon of 100, five digits do.

    Guarantee: the grid decides how tight and how quick a figure is, never whether it is a bound.

    Args:
        size: how many units change at once (group privacy).
    """
    times = sum(r.times for r in found)
    spread = sum(r.times * math.expm1(_second_order(r, size, most=4.0)) for r in found)
    mean = sum(r.times * _mean_loss(r, size) for r in found)
    tail = 0.5 + math.sqrt(-math.log(delta) / (2 * max(spread, 1e-12)))
    wanted = math.sqrt(6 * error / (max(times, 1) * tail))
    return max(min(wanted, error / 2), 1e-5, 3e-6 * mean)


def _second_order(release: Release, size: int, *, most: float = 500.0) -> float:
    """log(1 + q^2 (exp(s^2 / sigma^2) - 1)), Renyi order 2; the exponent is cut at ``most``."""
    exponent = min((size / release.noise_multiplier) ** 2, most)
    return math.log1p(min(1.0, release.rate * size) ** 2 * math.expm1(exponent))


def _mean_loss(release: Release, size: int) -> float:
    """A bound on the mean loss: convexity of the divergence, or order 2 where it is smaller."""
    exponent = (size / release.noise_multiplier) ** 2
    linear = release.rate * exponent / 2
    return linear if exponent > 500 else min(linear, _second_order(release, size))
