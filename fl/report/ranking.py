"""How well a score says whom to treat: uplift curve, Qini, AUUC and policy value, with intervals.

For customers of one trial, ``arm`` is 0 (control) or 1 (treated), ``y`` the outcome in {0, 1} and
``score`` the predicted effect. Each customer's *contribution* is Horvitz and Thompson's, centred by
the arms' own rates,

    psi = (y1 - y0) + t (y - y1) / e - (1 - t) (y - y0) / (1 - e),

with ``e`` the share of treated, ``y1``, ``y0`` the arms' rates: its mean over any group that was
chosen by the score alone estimates that group's effect, because chance divided the arms. Then

- ``G(u)``, the **uplift curve**: the mean of psi over all customers, counting those among the best
  ``u`` by score. It is what treating only the best ``u`` brings, in outcomes per customer: the
  **policy value**. ``G(1)`` is the average effect.
- **AUUC**: the area below ``G`` over ``u`` in [0, 1].
- **Qini**: the area between ``G`` and the line from 0 to ``G(1)``, which is what random targeting
  brings: ``AUUC - G(1) / 2``. 0 for a random score; not divided by the best possible area.

Definitions differ. Radcliffe, "Using control groups to target on predicted lift", 2007, counts
treated customers' gains on the axis of customers treated: his curve is this one times the number of
treated, if arms are in the same proportion everywhere. ``scikit-uplift``'s ``qini_auc_score``
divides Radcliffe's area by that of a perfect score, and its ``uplift_auc_score`` uses
``(y1 - y0) (n1 + n0)`` within the best ``u``; ``causalml``'s ``qini_score`` averages the distance
of the two lines. Ranks agree; numbers must not be compared across packages.

Intervals are over customers, from influence functions: Qini is a U-statistic of order two in
(psi, score), ``Q = mean of psi_i (1/2 - r_i)``, ``r`` the rank from the best in [0, 1], whose
projection is ``psi_i (1/2 - r_i) + G(r_i) - G(1)/2 - 2 Q`` (Hoeffding 1948). The model is taken as
given: it was trained on other customers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from fl.contracts import Floats

NAN = float("nan")
Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its standard error, over customers."""

    value: float
    error: float

    @property
    def low(self) -> float:
        """Of the 95 % interval."""
        return self.value - Z95 * self.error

    @property
    def high(self) -> float:
        """Of the 95 % interval."""
        return self.value + Z95 * self.error


NOTHING = Estimate(NAN, NAN)


@dataclass(frozen=True, slots=True)
class Ranked:
    """Customers of one trial by their score.

    Attributes:
        psi: contributions, ``[n]``.
        rank: from the best, in (0, 1); tied scores share the mean of their ranks, so that the order
            of rows does not matter.
        curve: ``G(rank)`` of each customer.
    """

    psi: Floats
    rank: Floats
    curve: Floats


def ranked(arm: Floats, y: Floats, score: Floats) -> Ranked | None:
    """None where an arm has nobody.

    Raises:
        ValueError: arms or outcomes that are not 0 or 1, scores that are not finite, other lengths.
    """
    arm, y, score = (np.asarray(x, np.float64) for x in (arm, y, score))
    if arm.ndim != 1 or arm.shape != y.shape or arm.shape != score.shape:
        raise ValueError(f"Expected three vectors, got {arm.shape}, {y.shape}, {score.shape}.")
    if not (np.isin(arm, (0, 1)).all() and np.isin(y, (0, 1)).all()):
        raise ValueError("Expected arms and outcomes to be 0 or 1.")
    if not np.isfinite(score).all():
        raise ValueError("Expected finite scores.")
    e = arm.mean() if len(arm) else 0.0
    if not 0 < e < 1:
        return None
    y1, y0 = y[arm == 1].mean(), y[arm == 0].mean()
    psi = (y1 - y0) + arm * (y - y1) / e - (1 - arm) * (y - y0) / (1 - e)
    _, group, count = np.unique(-score, return_inverse=True, return_counts=True)
    total = np.bincount(group, weights=psi)
    before = np.concatenate([[0.0], np.cumsum(total)[:-1]])
    n = len(psi)
    middle = (np.cumsum(count) - count / 2) / n
    return Ranked(psi, middle[group], ((before + total / 2) / n)[group])


def qini(by: Ranked) -> Estimate:
    """Area between the uplift curve and random targeting.

    >>> t = np.array([1.0, 0.0] * 50); y = np.concatenate([t[:50], np.zeros(50)])
    >>> best = ranked(t, y, np.arange(100.0)[::-1])  # all of the effect is in the better half
    >>> round(qini(best).value, 4)
    0.125
    """
    value = float((by.psi * (0.5 - by.rank)).mean())
    influence = by.psi * (0.5 - by.rank) + by.curve - by.psi.mean() / 2 - 2 * value
    return Estimate(value, _error(influence))


def auuc(by: Ranked) -> Estimate:
    """Area below the uplift curve: Qini and half of the average effect."""
    value = float((by.psi * (1 - by.rank)).mean())
    influence = by.psi * (1 - by.rank) + by.curve - 2 * value
    return Estimate(value, _error(influence))


def policy_value(by: Ranked, share: float) -> Estimate:
    """What treating the best ``share`` brings, in outcomes per customer of all.

    Tied customers at the edge count in part. The interval takes the edge as given; moving it by
    chance adds the edge's effect times the spread of its rank, which is of a smaller order.

    Raises:
        ValueError: ``share`` outside [0, 1].
    """
    inside = _inside(by, share)
    return Estimate(float((by.psi * inside).mean()), _error(by.psi * inside))


def above_random(by: Ranked, share: float) -> Estimate:
    """Policy value of the best ``share`` less that of as many drawn at random."""
    excess = by.psi * (_inside(by, share) - share)
    return Estimate(float(excess.mean()), _error(excess))


def curve(by: Ranked, points: int = 100) -> list[tuple[float, float, float, float]]:
    """``(u, G(u), low, high)`` at ``points`` + 1 evenly spaced shares from 0 to 1."""
    shares = np.linspace(0, 1, points + 1)
    found = [(float(u), policy_value(by, float(u))) for u in shares]
    return [(u, e.value, e.low, e.high) for u, e in found]


def _inside(by: Ranked, share: float) -> Floats:
    """How much of each customer is among the best ``share``; ties share what is left."""
    if not 0 <= share <= 1:
        raise ValueError(f"Expected share={share} in [0, 1].")
    n = len(by.rank)
    middles, group, count = np.unique(by.rank, return_inverse=True, return_counts=True)
    first = middles - count / (2 * n)
    part = np.clip((share - first) * n / count, 0.0, 1.0)
    return np.asarray(part[group])


def _error(influence: Floats) -> float:
    return float(influence.std(ddof=1) / math.sqrt(len(influence))) if len(influence) > 1 else NAN


# --- as metrics of a task whose truth is (arm, outcome) and whose scores are effects -------------


def by_arm(truth: Floats, scores: Floats) -> list[tuple[int, Ranked]]:
    """Each arm against control, by its own score; arms without customers are left out.

    Args:
        truth: ``[n, 2]``: arm code, 0 for control, and outcome.
        scores: ``[n, arms]``: predicted effect of each arm.
    """
    arm, y, scores = truth[:, 0], truth[:, 1], np.asarray(scores, np.float64)
    found = []
    for code in range(1, scores.shape[1] + 1):
        chosen = (arm == 0) | (arm == code)
        one = ranked((arm[chosen] == code).astype(float), y[chosen], scores[chosen, code - 1])
        if one is not None:
            found.append((code, one))
    return found


def qini_metric(truth: Floats, scores: Floats) -> float:
    """Qini, the mean over arms; NaN if no arm can be compared."""
    return _mean([qini(by).value for _, by in by_arm(truth, scores)])


def auuc_metric(truth: Floats, scores: Floats) -> float:
    """AUUC, the mean over arms."""
    return _mean([auuc(by).value for _, by in by_arm(truth, scores)])


def policy_metric(truth: Floats, scores: Floats) -> float:
    """Policy value of the best 30 %, the mean over arms."""
    return _mean([policy_value(by, 0.3).value for _, by in by_arm(truth, scores)])


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else NAN
