"""From a score to a probability that this brand can count on, fitted on its own labelled rows.

A federated model is right on average over brands; one brand's rate and spread differ. Three curves
are tried: none, Platt's (two numbers; "Probabilistic Outputs for Support Vector Machines", 1999)
and isotonic (Zadrozny & Elkan, "Transforming Classifier Scores into Accurate Multiclass Probability
Estimates", KDD 2002). The one with the lowest log loss in cross-validation by customer is taken; a
richer curve must win by more than one standard error of the difference.

scipy is imported where it is used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
FEWEST = 20  # of each class, to fit anything
FOLDS = 5
_EDGE = 1e-4  # no probability is nearer to 0 or 1


@dataclass(frozen=True, slots=True)
class Curve:
    """A rising curve from log odds to a probability: straight between its knots, flat beyond.

    Attributes:
        name: ``none``, ``platt`` or ``isotonic``.
        knots: log odds, ascending; empty for the first two.
        values: probability at each knot.
        slope, intercept: of the log odds, for the first two.
        rows: it was fitted on.
        log_loss: of each curve that was tried, in cross-validation.
    """

    name: str = "none"
    knots: tuple[float, ...] = ()
    values: tuple[float, ...] = ()
    slope: float = 1.0
    intercept: float = 0.0
    rows: int = 0
    log_loss: tuple[tuple[str, float], ...] = ()

    def __call__(self, score_b: Floats) -> Floats:
        """Probabilities in [0.0001, 0.9999], ``[b]``, rising with the score.

        >>> Curve(slope=2.0)(np.array([0.0])).tolist()
        [0.5]
        """
        if self.knots:
            p = np.interp(score_b, self.knots, self.values)
        else:
            z = np.clip(self.slope * score_b + self.intercept, -30, 30)
            p = 1 / (1 + np.exp(-z))
        return np.clip(p, _EDGE, 1 - _EDGE)


def fit(score_b: Floats, y_b: Floats, customer_b: Ints) -> Curve:
    """The curve that fits best, by cross-validation over customers.

    Args:
        score_b: log odds, finite.
        y_b: labels, 0 or 1.
        customer_b: int64; a customer's rows are in one fold.

    Returns:
        ``none`` where either class has fewer than 20 rows.
    """
    positives = int(y_b.sum())
    if min(positives, len(y_b) - positives) < FEWEST:
        return Curve(rows=len(y_b))
    fold_b = _folds(customer_b)
    tried: dict[str, Floats] = {}
    for name in ("none", "platt", "isotonic"):
        p = np.empty(len(y_b))
        for fold in range(FOLDS):
            held = fold_b == fold
            p[held] = _fitted(name, score_b[~held], y_b[~held])(score_b[held])
        tried[name] = -np.where(y_b == 1, np.log(p), np.log1p(-p))
    best = "none"
    for name in ("platt", "isotonic"):
        gain = tried[best] - tried[name]
        if gain.mean() > gain.std() / np.sqrt(len(gain)):
            best = name
    losses = tuple((name, float(loss.mean())) for name, loss in tried.items())
    made = _fitted(best, score_b, y_b)
    return Curve(made.name, made.knots, made.values, made.slope, made.intercept, len(y_b), losses)


def spiegelhalter(p_b: Floats, y_b: Floats) -> float:
    """Z of "these probabilities are right", standard normal if they are; 0 without rows.

    Spiegelhalter, "Probabilistic Prediction in Patient Management and Clinical Trials", Statistics
    in Medicine 1986.

    >>> round(spiegelhalter(np.full(100, 0.1), np.repeat([1.0, 0.0], [30, 70])), 2)
    6.67
    """
    variance = float(((1 - 2 * p_b) ** 2 * p_b * (1 - p_b)).sum())
    return float(((y_b - p_b) * (1 - 2 * p_b)).sum()) / variance**0.5 if variance > 0 else 0.0


def _fitted(name: str, score_b: Floats, y_b: Floats) -> Curve:
    if name == "none" or y_b.min(initial=1) == y_b.max(initial=0):
        return Curve()
    return _platt(score_b, y_b) if name == "platt" else _isotonic(score_b, y_b)


def _platt(score_b: Floats, y_b: Floats) -> Curve:
    """The slope (>= 0) and intercept with the lowest log loss."""
    from scipy.optimize import minimize

    def loss(w: Floats) -> tuple[float, Floats]:
        z = w[0] * score_b + w[1]
        wrong = 1 / (1 + np.exp(-np.clip(z, -700, 700))) - y_b
        value = float((np.logaddexp(0, z) - y_b * z).mean())
        return value, np.array([(wrong * score_b).mean(), wrong.mean()])

    limits = [(0.0, None), (None, None)]
    found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=limits)
    return Curve("platt", slope=float(found.x[0]), intercept=float(found.x[1]))


def _isotonic(score_b: Floats, y_b: Floats) -> Curve:
    """The rising steps nearest to the labels, kept at both ends of every step."""
    from scipy.optimize import isotonic_regression

    x, at, count = np.unique(score_b, return_inverse=True, return_counts=True)
    rate = np.bincount(at, y_b) / count
    level = np.asarray(isotonic_regression(rate, weights=count).x)
    change = np.diff(level) > 0
    ends = np.concatenate([[True], change]) | np.concatenate([change, [True]])
    return Curve("isotonic", tuple(x[ends].tolist()), tuple(level[ends].tolist()))


def _folds(customer_b: Ints) -> Ints:
    """A fold of each row, the same for the rows of a customer, of nearly equal size."""
    _, number = np.unique(customer_b, return_inverse=True)
    # customers' numbers are hashes already: their order is no order of the data
    return np.asarray(number % FOLDS, np.int64)
