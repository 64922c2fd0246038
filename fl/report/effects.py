"""What a campaign changed, from counts alone: differences of rates with intervals.

Legend: ``c_ao`` counted customers by arm (0: control) and outcome (0: no, 1: yes), float64, exact
or with noise; ``c_sao`` the same in strata; ``n`` customers of an arm, ``y`` those with the
outcome; ``tau`` the public standard deviation of the noise on each count.

Rare rates are never pooled by inverse variance: a stratum's estimated variance ``p (1 - p) / n``
is small where by chance few had the outcome, so that the weights follow the errors. On Karlan and
List's 32 larger states that gives 0.578 points where counts give 0.418
(``tests/data/test_trials.py``). Counts are added up instead, or strata weighted by their sizes
alone (Mantel and Haenszel).

Noise: by the delta method. A count with noise is ``c + tau z``; a rate ``y / n`` of ``c_0, c_1``
has the derivatives ``-p / n`` and ``(1 - p) / n``, so the noise adds
``tau^2 (p^2 + (1 - p)^2) / n^2`` to the variance of the rate. That is first order in ``tau / n``:
where ``n`` is below ten standard deviations of its own noise no rate is given at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from fl.contracts import Floats

NAN = float("nan")
Z95 = 1.959963984540054
_LEAST = 10.0  # standard deviations of its noise that a denominator must have
_RARE = 10.0  # customers, below which rates are not taken as normal


@dataclass(frozen=True, slots=True)
class Effect:
    """A difference of two rates, treated minus control, as shares (not points).

    Attributes:
        value: in [-1, 1], or NaN where an arm has too few customers to say.
        error: its standard error, of sampling and noise together.
        noise: the part of the noise, as a standard deviation.
        low, high: 95 % interval.
        treated, control: the two rates.
        customers: treated and control, as counted.
    """

    value: float
    error: float
    noise: float
    low: float
    high: float
    treated: float = NAN
    control: float = NAN
    customers: tuple[float, float] = (NAN, NAN)


NOTHING = Effect(NAN, NAN, NAN, NAN, NAN)


@dataclass(frozen=True, slots=True)
class Heterogeneity:
    """Whether strata differ by more than chance and noise.

    Attributes:
        q: Cochran's statistic, chi-squared with ``freedom`` degrees if they do not.
        p_value: of that.
        i_squared: share of the spread that is neither, in [0, 1].
    """

    q: float
    freedom: int
    p_value: float
    i_squared: float


def enough(c_ao: Floats, tau: float) -> bool:
    """Whether every arm has customers, and ten standard deviations of noise of them.

    >>> enough(np.array([[5.0, 0.0], [0.0, 0.0]]), 0.0)
    False
    """
    return bool((c_ao.sum(1) >= max(1.0, _LEAST * math.sqrt(2) * tau)).all())


def pooled(c_ao: Floats, arm: int, tau: float = 0.0) -> Effect:
    """All customers as one: ``y_1 / n_1 - y_0 / n_0``, with Wald's interval.

    Where an arm has fewer than ten customers with the outcome, or without it, the interval takes in
    that of :func:`small`: Wald's is too narrow there, and of width zero where nobody has it.

    >>> effect = pooled(np.array([[16389.0, 298.0], [32660.0, 736.0]]), 1)  # Karlan and List 2007
    >>> round(100 * effect.value, 3), round(100 * effect.error, 3)
    (0.418, 0.13)
    """
    pair = c_ao[[0, arm]]
    if not enough(pair, tau):
        return NOTHING
    n, p = pair.sum(1), _rates(pair)
    raw = pair[:, 1] / n
    sampling = float((p * (1 - p) / n).sum())
    noise = float((_noise_factor(p) * tau**2 / n**2).sum())
    return _widened(_effect(float(raw[1] - raw[0]), sampling, noise, raw, n), pair, tau)


def small(c_ao: Floats, arm: int, tau: float = 0.0) -> Effect:
    """One brand, which may be small: the difference of rates, with Agresti and Caffo's interval.

    "Simple and effective confidence intervals for proportions and differences of proportions",
    The American Statistician 2000: one customer with and one without the outcome are added to each
    arm before Wald's interval is taken, which covers where counts are few or zero.
    """
    pair = c_ao[[0, arm]]
    if not enough(pair, tau):
        return NOTHING
    n, raw = pair.sum(1), pair[:, 1] / pair.sum(1)
    added = np.maximum(pair, 0.0) + 1.0
    m, p = added.sum(1), added[:, 1] / added.sum(1)
    sampling = float((p * (1 - p) / m).sum())
    noise = float((_noise_factor(p) * tau**2 / m**2).sum())
    centre = float(p[1] - p[0])
    half = Z95 * math.sqrt(sampling + noise)
    effect = _effect(float(raw[1] - raw[0]), sampling, noise, raw, n)
    low, high = max(-1.0, centre - half), min(1.0, centre + half)
    return Effect(
        effect.value, effect.error, effect.noise, low, high, *_pair(raw), effect.customers
    )


def mantel_haenszel(c_sao: Floats, arm: int, tau: float = 0.0) -> Effect:
    """Effects within strata, weighted by ``w = n_1 n_0 / (n_1 + n_0)``.

    Greenland and Robins, "Estimation of a common effect parameter from sparse follow-up data",
    Biometrics 1985; standard error of Sato, "On the variance estimator for the Mantel-Haenszel
    risk difference", Biometrics 1989, which holds for many small strata and for few large ones.
    Strata in which an arm is too small for the noise are added up to one. Few outcomes in all: as
    :func:`pooled`.
    """
    c_sao, tau_s = merged(c_sao[:, [0, arm]], tau)
    n0, n1 = c_sao[:, 0].sum(1), c_sao[:, 1].sum(1)
    used = (n0 > 0) & (n1 > 0)
    c_sao, tau_s, n0, n1 = c_sao[used], tau_s[used], n0[used], n1[used]
    if not len(n0) or not enough(c_sao.sum(0), float(np.sqrt((tau_s**2).sum()))):
        return NOTHING
    y0, y1, n = c_sao[:, 0, 1], c_sao[:, 1, 1], n0 + n1
    a, w = (y1 * n0 - y0 * n1) / n, n1 * n0 / n
    value = float(a.sum() / w.sum())
    sampling = _sato(value, np.clip(y0, 0, n0), np.clip(y1, 0, n1), n0, n1)
    # d value / d count, by the quotient rule; a count of the outcome is also one of its arm
    by_n1 = -(y0 + a) / n - value * (n0 / n) ** 2
    by_n0 = (y1 - a) / n - value * (n1 / n) ** 2
    slopes = np.stack([by_n0, by_n0 - n1 / n, by_n1, by_n1 + n0 / n], 1) / w.sum()
    noise = float(((slopes**2).sum(1) * tau_s**2).sum())
    rates = np.array([y0.sum() / n0.sum(), y1.sum() / n1.sum()])
    found = _effect(value, sampling, noise, rates, np.array([n0.sum(), n1.sum()]))
    return _widened(found, c_sao.sum(0), float(np.sqrt((tau_s**2).sum())))


def heterogeneity(c_sao: Floats, arm: int, tau: float = 0.0) -> Heterogeneity:
    """Cochran's Q over strata, whose variances do not follow their own errors.

    Each stratum's variance is that of a common effect: the rate of both arms together, drawn
    towards the rate of all strata by ten expected outcomes, plus the noise. With a stratum's own
    two rates instead, rare outcomes would make Q far too large or too small (see the module).
    """
    c_sao, tau_s = merged(c_sao[:, [0, arm]], tau)
    n_sa = c_sao.sum(2)
    used = (n_sa > 0).all(1)
    c_sao, tau_s, n_sa = c_sao[used], tau_s[used], n_sa[used]
    if len(c_sao) < 2:
        return Heterogeneity(NAN, max(0, len(c_sao) - 1), NAN, NAN)
    rates = c_sao[:, :, 1] / n_sa
    effects = rates[:, 1] - rates[:, 0]
    mean = float(np.clip(c_sao[:, :, 1].sum() / n_sa.sum(), 1e-9, 1 - 1e-9))
    added = 10 / min(mean, 1 - mean)
    p = np.clip((c_sao[:, :, 1].sum(1) + added * mean) / (n_sa.sum(1) + added), 1e-9, 1 - 1e-9)
    variance = p * (1 - p) * (1 / n_sa).sum(1)
    variance = variance + _noise_factor(p) * tau_s**2 * (1 / n_sa**2).sum(1)
    common = float((effects / variance).sum() / (1 / variance).sum())
    q, freedom = float(((effects - common) ** 2 / variance).sum()), len(effects) - 1
    from scipy.stats import chi2

    return Heterogeneity(q, freedom, float(chi2.sf(q, freedom)), max(0.0, 1 - freedom / max(q, 1)))


def same_shares(c_sao: Floats, arm: int, tau: float = 0.0) -> float:
    """How probable strata that differ so much in the share of treated are, if their shares are one.

    Where they are not, all customers counted together mix the strata's own rates into the effect
    (Simpson's paradox), however well each stratum was randomised. Cochran's chi-squared, in [0, 1].

    >>> round(same_shares(np.array([[[90.0, 10], [9, 1]], [[9, 1], [90, 10]]]), 1), 6)
    0.0
    """
    c_sao, tau_s = merged(c_sao[:, [0, arm]], tau)
    n_sa = c_sao.sum(2)
    used = (n_sa > 0).all(1)
    n_sa, tau_s = n_sa[used], tau_s[used]
    if len(n_sa) < 2:
        return 1.0
    n_s, share = n_sa.sum(1), n_sa[:, 1].sum() / n_sa.sum()
    variance = share * (1 - share) / n_s + 2 * tau_s**2 * _noise_factor(share) / n_s**2
    q = float(((n_sa[:, 1] / n_s - share) ** 2 / variance).sum())
    from scipy.stats import chi2

    return float(chi2.sf(q, len(n_s) - 1))


def merged(c_sao: Floats, tau: float) -> tuple[Floats, Floats]:
    """Strata too small for the noise added up to one, and the noise of each stratum's counts.

    What is too small is decided on what was released, so it costs nothing more.

    >>> merged(np.full((3, 2, 2), 1.0), 0.0)[0].shape
    (3, 2, 2)
    """
    few = np.array([not enough(c_ao, tau) for c_ao in c_sao], np.bool_)
    if tau == 0 or not few.any():
        return c_sao, np.full(len(c_sao), tau)
    rest = c_sao[few].sum(0, keepdims=True)
    kept, tau_s = c_sao[~few], np.full(int((~few).sum()), tau)
    tau_rest = tau * math.sqrt(int(few.sum()))
    if not enough(rest[0], tau_rest):
        return kept, tau_s
    return np.concatenate([kept, rest]), np.append(tau_s, tau_rest)


def _sato(value: float, y0: Floats, y1: Floats, n0: Floats, n1: Floats) -> float:
    n = n0 + n1
    w = (n1 * n0 / n).sum()
    p = (y0 * (n1 / n) ** 2 - y1 * (n0 / n) ** 2 + (n1 / n) * (n0 / n) * (n0 - n1) / 2).sum()
    q = ((y1 * (n0 - y0) + y0 * (n1 - y1)) / n).sum() / 2
    return float(max((value * p + q) / w**2, 0.0))


def _noise_factor(p: Floats) -> Floats:
    return np.asarray(p**2 + (1 - p) ** 2)


def _rates(pair: Floats) -> Floats:
    """Within [0, 1], whatever the noise made of them."""
    return np.asarray(np.clip(pair[:, 1] / pair.sum(1), 0.0, 1.0))


def _effect(value: float, sampling: float, noise: float, rates: Floats, n: Floats) -> Effect:
    error = math.sqrt(sampling + noise)
    low, high = value - Z95 * error, value + Z95 * error
    return Effect(
        value, error, math.sqrt(noise), low, high, *_pair(rates), (float(n[1]), float(n[0]))
    )


def _widened(effect: Effect, pair: Floats, tau: float) -> Effect:
    """Where few have the outcome, or few lack it, the interval of few customers as well."""
    if pair.min() >= _RARE:
        return effect
    few = small(pair, 1, tau)
    return replace(effect, low=min(effect.low, few.low), high=max(effect.high, few.high))


def _pair(rates: Floats) -> tuple[float, float]:
    """Treated, control."""
    return float(rates[1]), float(rates[0])
