"""From an epsilon that was promised to the noise that keeps the promise."""

from __future__ import annotations

import math
from collections.abc import Callable

from fl.errors import InputError
from fl.events import PrivacyEvent
from fl.privacy.accounting import ACCOUNTANTS, check_delta, rdp_epsilon

LEAST_NOISE, MOST_NOISE = 0.05, 1e6  # below, no figure means anything; above, nothing is learned
_CLOSE = 0.997  # the share of epsilon that is used before the search stops


def affordable(
    event_of: Callable[[float], PrivacyEvent], epsilon: float, delta: float, accountant: str = "pld"
) -> float:
    """:func:`noise_multiplier` for a run as somebody configured it.

    Guarantee: that of :func:`noise_multiplier`.

    Raises:
        InputError: what does not depend on this noise costs more than ``epsilon`` by itself.
    """
    floor = ACCOUNTANTS[accountant](event_of(MOST_NOISE), delta)
    if floor > epsilon:
        raise InputError(
            "privacy.epsilon",
            f"{epsilon:g} cannot be kept: the run's counts and queries alone cost {floor:.3g}",
            "choose a larger epsilon, more noise for counts and queries, or fewer of them",
        )
    return noise_multiplier(event_of, epsilon, delta, accountant)


def noise_multiplier(
    event_of: Callable[[float], PrivacyEvent], epsilon: float, delta: float, accountant: str = "pld"
) -> float:
    """The smallest noise multiplier for which ``event_of`` it costs at most ``epsilon``.

    Guarantee: the event of the returned value has, by ``accountant``, an epsilon of at most
    ``epsilon`` at ``delta`` (add or remove one unit), and of at least 0.995 of it unless
    ``LEAST_NOISE`` already suffices.

    Args:
        event_of: the event of a noise multiplier; more noise never costs more.

    Raises:
        ValueError: epsilon not in (0, inf), delta not in [1e-9, 1), or no noise up to
            ``MOST_NOISE`` is enough (a part of the event that does not depend on it costs more).

    >>> from fl.events import Gaussian
    >>> round(noise_multiplier(Gaussian, 1.0, 1e-5), 2)
    3.74
    """
    if not 0 < epsilon < math.inf:
        raise ValueError(f"Expected epsilon={epsilon} > 0 and finite.")
    check_delta(delta)

    def cost(log_sigma: float) -> float:
        return ACCOUNTANTS[accountant](event_of(math.exp(log_sigma)), delta)

    low, high = _bracket(lambda x: rdp_epsilon(event_of(math.exp(x)), delta), epsilon)
    at_high = cost(high)
    if at_high > epsilon:
        raise ValueError(f"Expected some noise_multiplier <= {MOST_NOISE} to reach {epsilon=}.")
    while (at_low := cost(low)) <= epsilon:  # RDP overstates: step down to below the answer
        if low <= math.log(LEAST_NOISE):
            return LEAST_NOISE
        low, high, at_high = max(low - 0.4, math.log(LEAST_NOISE)), low, at_low
    for step in range(60):
        if at_high >= _CLOSE * epsilon or high - low < 1e-5:
            break
        middle = (low + high) / 2
        if step % 3 != 2 and at_high > 0 and at_low < math.inf:  # log epsilon is near linear here
            middle = _secant(low, at_low, high, at_high, target=(1 + _CLOSE) / 2 * epsilon)
        at_middle = cost(middle)
        if at_middle > epsilon:
            low, at_low = middle, at_middle
        else:
            high, at_high = middle, at_middle
    return math.exp(high)


def require_delta(delta: float, customers: int) -> None:
    """Refuse a delta at which publishing one customer's rows whole would count as private.

    Guarantee: delta < 1 / customers (Dwork and Roth 2014, section 2.3).

    Raises:
        InputError: delta is larger, or no probability at all.
    """
    if customers < 1 or not 0 < delta < 1 / customers:
        raise InputError(
            "privacy.delta",
            f"{delta:g} is not in (0, 1/{customers}), the inverse of the number of customers",
            f"choose a delta of at most {0.1 / max(customers, 1):.0e}",
        )


def _bracket(bound: Callable[[float], float], epsilon: float) -> tuple[float, float]:
    """Logarithms of two multipliers a step apart: by RDP the upper is enough, the lower not."""
    low, high = math.log(LEAST_NOISE), math.log(MOST_NOISE)
    while high - low > 0.2:
        middle = (low + high) / 2
        if bound(middle) > epsilon:
            low = middle
        else:
            high = middle
    return max(low - 0.1, math.log(LEAST_NOISE)), high


def _secant(low: float, at_low: float, high: float, at_high: float, *, target: float) -> float:
    """Where the line through two points of log epsilon meets ``target``, kept inside both."""
    share = math.log(at_low / target) / math.log(at_low / at_high)
    return low + min(max(share, 0.01), 0.99) * (high - low)
