"""How well probabilities fit labels of two classes.

Names: ``y`` labels, float, 0 or 1; ``p`` predicted probabilities of 1, float in [0, 1]; one entry
per row, the same length. No rows at all give NaN everywhere. So does ``y`` of one class only, for
the metrics that compare classes (``auc``, ``pr_auc``, ``lift_top_decile``): a small brand may well
have no positive row, and that must not end a run. What cannot be data (shapes, labels other than 0
and 1, probabilities that are not finite) raises ValueError: a model that diverged must be seen, not
left out of a mean.

scikit-learn is imported where it is used: it takes longer to load than most commands take to run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from fl.contracts import Floats

NAN = float("nan")
CLIP = 1e-7  # probabilities are clipped to [CLIP, 1 - CLIP] before their logarithm is taken
TOP = 10  # the top decile is one row in ten


def auc(y: Floats, p: Floats) -> float:
    """Area under the ROC curve, in [0, 1]; a tied pair counts one half. NaN for one class.

    Hanley, McNeil, "The Meaning and Use of the Area under a ROC Curve", Radiology 1982.

    >>> auc(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.1, 0.4, 0.35, 0.8]))
    0.75
    """
    y, p = _checked(y, p)
    if _one_class(y):
        return NAN
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(y, p))


def pr_auc(y: Floats, p: Floats) -> float:
    """Average precision, in [0, 1]; an uninformed score gets the base rate. NaN for one class.

    >>> round(pr_auc(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.1, 0.4, 0.35, 0.8])), 4)
    0.8333
    """
    y, p = _checked(y, p)
    if _one_class(y):
        return NAN
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(y, p))


def accuracy(y: Floats, p: Floats) -> float:
    """Share of rows on the right side of 0.5, in [0, 1]; exactly 0.5 predicts 1.

    >>> accuracy(np.array([0.0, 1.0, 1.0]), np.array([0.2, 0.5, 0.4])) == 2 / 3
    True
    """
    y, p = _checked(y, p)
    return _mean((p >= 0.5) == (y == 1))


def log_loss(y: Floats, p: Floats) -> float:
    """Mean negative log likelihood in nats, >= 0, of probabilities clipped to [1e-7, 1 - 1e-7].

    >>> round(log_loss(np.array([0.0, 1.0]), np.array([0.5, 0.5])), 6)  # ln 2
    0.693147
    """
    y, p = _checked(y, p)
    clipped = np.clip(p, CLIP, 1 - CLIP)
    return _mean(-np.where(y == 1, np.log(clipped), np.log1p(-clipped)))


def brier(y: Floats, p: Floats) -> float:
    """Mean squared error of the probabilities, in [0, 1].

    Brier, "Verification of Forecasts Expressed in Terms of Probability", Monthly Weather Review
    1950 (here for one class of two, half of his score).

    >>> brier(np.array([0.0, 1.0]), np.array([0.5, 1.0]))
    0.125
    """
    y, p = _checked(y, p)
    return _mean((p - y) ** 2)


def calibration_error(y: Floats, p: Floats) -> float:
    """Expected calibration error in [0, 1]: mean distance of the calibration curve, 10 bins.

    Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, equation 3,
    here with bins of equal count instead of equal width, as in Naeini, Cooper, Hauskrecht,
    "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015: with rare positives
    equal widths would put nearly all rows into one bin.

    >>> round(calibration_error(np.array([0.0, 1.0]), np.array([0.1, 0.6])), 10)
    0.25
    """
    curve = calibration_curve(y, p)
    rows = sum(count for _, _, count in curve)
    if not rows:
        return NAN
    return sum(abs(predicted - observed) * count for predicted, observed, count in curve) / rows


def lift_top_decile(y: Floats, p: Floats) -> float:
    """Rate among the best tenth by score (rounded up to whole rows) over the base rate, >= 0.

    Rows with the same score as the last one taken count as if drawn among them by lot, in
    expectation, so that the order of rows does not matter. NaN for one class.

    >>> lift_top_decile(np.array([0.0] * 9 + [1.0]), np.linspace(0, 1, 10))
    10.0
    """
    y, p = _checked(y, p)
    if _one_class(y):
        return NAN
    best = -(-len(y) // TOP)
    fair, _ = _by_score(y, p)
    return float(fair[-best:].mean() / y.mean())


def calibration_curve(y: Floats, p: Floats, bins: int = 10) -> list[tuple[float, float, int]]:
    """(mean predicted, observed rate, rows) of ``bins`` >= 1 bins of equal count, by score.

    Rows with the same score share their labels' mean, so the order of rows does not matter. Bins
    that no row is left for are omitted.

    >>> calibration_curve(np.array([0.0, 1.0, 1.0, 1.0]), np.array([0.25, 0.25, 0.5, 1.0]), bins=2)
    [(0.25, 0.5, 2), (0.75, 1.0, 2)]
    """
    if bins < 1:
        raise ValueError(f"Expected bins={bins} >= 1.")
    y, p = _checked(y, p)
    fair, ordered = _by_score(y, p)
    parts = zip(np.array_split(ordered, bins), np.array_split(fair, bins), strict=True)
    return [(float(a.mean()), float(b.mean()), len(a)) for a, b in parts if len(a)]


def _checked(y: Floats, p: Floats) -> tuple[Floats, Floats]:
    labels, scores = np.asarray(y, np.float64), np.asarray(p, np.float64)
    if labels.ndim != 1 or labels.shape != scores.shape:
        raise ValueError(f"Expected two vectors, got shapes {labels.shape} and {scores.shape}.")
    if not np.isin(labels, (0.0, 1.0)).all():
        raise ValueError("Expected labels 0 or 1.")
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("Expected finite probabilities in [0, 1].")
    return labels, scores


def _one_class(y: Floats) -> bool:
    return len(np.unique(y)) < 2


def _mean(values: Floats | np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> float:
    return float(values.mean()) if len(values) else NAN


def _by_score(y: Floats, p: Floats) -> tuple[Floats, Floats]:
    """Labels and scores by rising score; tied rows each get the mean of their labels."""
    scores, group, count = np.unique(p, return_inverse=True, return_counts=True)
    rate = np.bincount(group, weights=y, minlength=len(scores)) / count
    return np.repeat(rate, count), np.repeat(scores, count)
