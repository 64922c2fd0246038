"""How well probabilities fit labels of several classes; of two, by ``binary.py``.

Names: ``y`` classes, whole numbers from 0, ``[rows]``; ``p`` predicted probabilities, float in
[0, 1], ``[rows, classes]``. Where ``p`` has one entry per row, it is the probability of class 1.
No rows at all give NaN. What cannot be data raises ValueError, as in ``binary.py``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fl.report import binary
from fl.report.binary import CLIP, NAN

Numbers = npt.NDArray[np.number]


def accuracy(y: Numbers, p: Numbers) -> float:
    """Share of rows whose most probable class is the true one, in [0, 1].

    >>> accuracy(np.array([0, 2]), np.array([[0.5, 0.2, 0.3], [0.1, 0.6, 0.3]]))
    0.5
    """
    if np.ndim(p) == 1:
        return binary.accuracy(_floats(y), _floats(p))
    labels, scores = _checked(y, p)
    return float((scores.argmax(1) == labels).mean()) if len(labels) else NAN


def log_loss(y: Numbers, p: Numbers) -> float:
    """Mean negative log likelihood in nats, >= 0, of probabilities clipped at 1e-7.

    >>> round(log_loss(np.array([1]), np.array([[0.25, 0.5, 0.25]])), 6)  # ln 2
    0.693147
    """
    if np.ndim(p) == 1:
        return binary.log_loss(_floats(y), _floats(p))
    labels, scores = _checked(y, p)
    if not len(labels):
        return NAN
    return float(-np.log(np.clip(scores[np.arange(len(labels)), labels], CLIP, 1)).mean())


def calibration_error(y: Numbers, p: Numbers) -> float:
    """``binary.calibration_error`` of the confidence in the most probable class, in [0, 1].

    >>> round(calibration_error(np.array([0, 1]), np.array([[0.9, 0.1], [0.6, 0.4]])), 10)
    0.35
    """
    if np.ndim(p) == 1:
        return binary.calibration_error(_floats(y), _floats(p))
    labels, scores = _checked(y, p)
    if not len(labels):
        return NAN
    right = (scores.argmax(1) == labels).astype(np.float64)
    return binary.calibration_error(right, np.minimum(scores.max(1), 1.0))


def macro_f1(y: Numbers, p: Numbers) -> float:
    """Mean over the classes among ``y`` of the F1 score, in [0, 1].

    A class that no row has is left out: a small brand may lack it. scikit-learn's ``f1_score`` with
    ``average="macro"`` and these ``labels``.

    >>> macro_f1(np.array([0, 0, 1]), np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])) == 2 / 3
    True
    """
    labels, scores = _checked(y, np.stack([1 - p, p], 1) if np.ndim(p) == 1 else p)
    if not len(labels):
        return NAN
    guess, classes = scores.argmax(1), scores.shape[1]
    true, guessed, both = (
        np.bincount(of, minlength=classes) for of in (labels, guess, labels[labels == guess])
    )
    there = true > 0
    return float((2 * both[there] / (true + guessed)[there]).mean())


def _checked(y: Numbers, p: Numbers) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    labels, scores = np.asarray(y), _floats(p)
    if labels.ndim != 1 or scores.ndim != 2 or len(labels) != len(scores):
        raise ValueError(f"Expected labels and a table, got {labels.shape} and {scores.shape}.")
    if not np.isin(labels, np.arange(scores.shape[1])).all():
        raise ValueError(f"Expected labels to be classes 0 to {scores.shape[1] - 1}.")
    if not ((scores >= 0) & (scores <= 1 + 1e-9)).all():
        raise ValueError("Expected finite probabilities in [0, 1].")
    return labels.astype(np.int64), scores


def _floats(values: Numbers) -> npt.NDArray[np.float64]:
    return np.asarray(values, np.float64)
