"""What a set of releases costs one customer: epsilon, by accountants that do not share code.

Neighbouring relation, here and everywhere: **add or remove one unit** (a customer with all of its
rows, or a brand). A figure is for data sets that differ in one unit; ``fl/privacy/statement.py``
says what that means for a person who is a customer of several brands.

=======  ===========================================================================================
``pld``  privacy loss distributions with connect-the-dots rounding (Doroshenko et al., PETS 2022,
         arXiv 2207.04380), from dp_accounting. The figure. An upper bound.
``prv``  privacy random variables (Gopi, Lee and Wutschitz, NeurIPS 2021, arXiv 2106.02848), from
         Opacus. The cross-check, an upper bound of the removal of a unit.
``rdp``  Renyi (Mironov 2017, arXiv 1702.07476; sampled: arXiv 1908.10530). Looser by 8 to 17 %,
         but the only one here that may refuse events chosen after seeing earlier results.
=======  ===========================================================================================

Legend: ``q`` sampling rate, ``sigma`` noise multiplier, ``T`` number of releases, ``h`` grid of
privacy losses, ``alpha`` Renyi order.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType

from fl.errors import InputError
from fl.events import Composed, PrivacyEvent
from fl.privacy.losses import (
    ROUNDING,
    Release,
    dp_event,
    event_of,
    loss_distribution,
    merge,
    releases,
)

RELATION = "add or remove one unit"
LEAST_DELTA = 1e-9  # below, rounding in the FFT decides a figure (tested)
TOLERANCE = 0.02  # PRV's own error bound is 0.01 to each side; the grid adds 0.002 to PLD
# fmt: off
ORDERS = (
    1.1, 1.2, 1.4, 1.6, 1.8, 2.0, 2.25, 2.5, 2.75, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 9.0,
    10.0, 12.0, 14.0, 16.0, 20.0, 24.0, 28.0, 32.0, 40.0, 48.0, 64.0, 96.0, 128.0, 256.0, 512.0,
)
# fmt: on


@dataclass(frozen=True, slots=True)
class Epsilons:
    """The same event, three accountants, one delta; each >= 0, ``inf`` where nothing is promised.

    Attributes:
        pld: the figure.
        prv: the cross-check.
        rdp: the bound that adaptive refusal goes by.
    """

    pld: float
    prv: float
    rdp: float

    @property
    def difference(self) -> float:
        """Between figure and cross-check; above ``TOLERANCE`` one of them needs explaining."""
        return 0.0 if self.pld == self.prv else abs(self.pld - self.prv)


# ------------------------------------------------------------------------- the three accountants


def pld_epsilon(event: PrivacyEvent, delta: float) -> float:
    """The smallest epsilon that the privacy loss distribution of ``event`` proves at ``delta``.

    Guarantee: an upper bound, add or remove one unit, for events fixed in advance: losses are
    rounded so that the rounded pair dominates the true one (connect-the-dots), and cut tails count
    as infinite loss. ``inf`` for an unbounded event, 0 for an empty one.

    Raises:
        ValueError: ``delta`` outside [1e-9, 1).

    >>> from fl.events import Gaussian
    >>> round(pld_epsilon(Gaussian(1.0), 1e-5), 2)
    4.38
    """
    import numpy as np

    check_delta(delta)
    if (found := releases(event)) is None:
        return math.inf
    if not found:
        return 0.0
    with np.errstate(over="ignore"):  # exp(loss) of losses far above the answer
        return float(loss_distribution(found, delta).get_epsilon_for_delta(delta - ROUNDING))


def prv_epsilon(event: PrivacyEvent, delta: float) -> float:
    """The same by Opacus' privacy random variables: other authors, other discretisation.

    Guarantee: an upper bound for the removal of one unit (error 0.01 in epsilon). ``inf`` where the
    losses do not fit its grid of floats: an epsilon of several hundred, or millions of releases.

    Raises:
        ValueError: ``delta`` outside [1e-9, 1).
    """
    import numpy as np
    from opacus.accountants.prv import PRVAccountant

    check_delta(delta)
    if (found := releases(event)) is None:
        return math.inf
    if not found:
        return 0.0
    if not _fits_prv(merge(found), delta):
        return math.inf
    accountant = PRVAccountant()
    accountant.history = [(r.noise_multiplier, r.rate, r.times) for r in merge(found)]
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its choice of RDP orders, which only sizes the grid
        try:
            found_epsilon = float(accountant.get_epsilon(delta))
        except (RuntimeError, ValueError, OverflowError):
            return math.inf
    return found_epsilon if found_epsilon >= 0 else math.inf  # NaN: the grid overflowed


def rdp_epsilon(event: PrivacyEvent, delta: float) -> float:
    """Epsilon from the Renyi curve at ``ORDERS`` (conversion: arXiv 2004.00010, Proposition 12).

    Guarantee: an upper bound, add or remove one unit, at the best of the fixed orders.

    Raises:
        ValueError: ``delta`` outside [1e-9, 1).
    """
    check_delta(delta)
    return _from_curve(rdp_curve(event), delta)


def rdp_curve(event: PrivacyEvent, orders: Sequence[float] = ORDERS) -> tuple[float, ...]:
    """Renyi divergence at each order; curves of events add. ``inf`` where there is no bound.

    Guarantee: add or remove one unit; an order at which the series does not converge is ``inf``,
    which only weakens the bound.
    """
    from dp_accounting.rdp.rdp_privacy_accountant import RdpAccountant

    if (found := releases(event)) is None:
        return (math.inf,) * len(orders)
    accountant = RdpAccountant(list(orders))
    with _without_convergence_notes():
        for r in found:
            accountant.compose(dp_event(event_of(r)))
    return tuple(max(0.0, float(divergence)) for divergence in accountant.rdp)


ACCOUNTANTS: Mapping[str, Callable[[PrivacyEvent, float], float]] = MappingProxyType(
    {"pld": pld_epsilon, "prv": prv_epsilon, "rdp": rdp_epsilon}
)


def epsilon(accountant: str, event: PrivacyEvent, delta: float) -> float:
    """Epsilon by the accountant of that name.

    Guarantee: that of the accountant; a name whose figures are not upper bounds is refused.

    Raises:
        InputError: the accountant is unknown, or ``gdp``.
        ValueError: ``delta`` outside [1e-9, 1).
    """
    known = ", ".join(ACCOUNTANTS)
    if accountant == "gdp":
        raise InputError(
            "privacy.accountant",
            "gdp is a central-limit approximation (Bu et al. 2020, arXiv 1911.11607) and no bound: "
            "it says 5.56 where 8.92 is proven (rate 0.001, noise 0.5, 20000 steps, delta 1e-7)",
            f"use one of {known}",
        )
    if accountant not in ACCOUNTANTS:
        raise InputError(
            "privacy.accountant", f"unknown accountant {accountant!r}", f"use one of {known}"
        )
    return ACCOUNTANTS[accountant](event, delta)


def both(event: PrivacyEvent, delta: float) -> Epsilons:
    """The figure, its cross-check and the bound for refusal.

    Guarantee: those of the three functions above.
    """
    return Epsilons(pld_epsilon(event, delta), prv_epsilon(event, delta), rdp_epsilon(event, delta))


def check_delta(delta: float) -> None:
    """Guarantee: no figure is given at a delta where arithmetic could make it too small."""
    if not LEAST_DELTA <= delta < 1:
        raise ValueError(f"Expected delta={delta} in [{LEAST_DELTA}, 1).")


def _fits_prv(merged: Sequence[Release], delta: float) -> bool:
    """Whether Opacus' grid stays within memory and its exp(loss) within a float.

    Its half-width is the RDP epsilon at delta/4000, its mesh 0.01 / sqrt(T log(12000/delta) / 2).
    """
    curve = rdp_curve(Composed(tuple(event_of(r) for r in merged)))
    width = _from_curve(curve, delta / 4000) + 3
    mesh = 0.01 / math.sqrt(sum(r.times for r in merged) * math.log(12000 / delta) / 2)
    return width < 700 and 2 * width / mesh < 1e7


def _from_curve(curve: Sequence[float], delta: float) -> float:
    from dp_accounting.rdp.rdp_privacy_accountant import compute_epsilon

    return float(compute_epsilon(ORDERS, curve, delta)[0]) if any(curve) else 0.0


@contextmanager
def _without_convergence_notes() -> Iterator[None]:
    """Drop absl's note on an order left out, within this call; its level and handlers stay."""

    def other(record: logging.LogRecord) -> bool:
        return "failed to converge" not in str(record.msg)

    absl = logging.getLogger("absl")
    absl.addFilter(other)
    try:
        yield
    finally:
        absl.removeFilter(other)
