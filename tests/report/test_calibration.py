"""Calibration curves: chosen by cross-validation, rising, and right where scores are not."""

from __future__ import annotations

import numpy as np
import pytest

from fl.report import calibration
from fl.report.binary import calibration_error
from fl.report.calibration import FEWEST, Curve, Floats, fit, spiegelhalter
from fl.seeds import numpy_generator


def sigmoid(z: Floats) -> Floats:
    return 1 / (1 + np.exp(-z))


def world(n: int, truth: str, seed: int = 0) -> tuple[Floats, Floats, np.ndarray]:  # type: ignore[type-arg]
    """Log odds, labels drawn from a probability that is ``truth`` of them, customers."""
    rng = numpy_generator(seed, "calibration")
    z = rng.normal(0, 2, n)
    p = {
        "right": sigmoid(z),
        "shifted": sigmoid(0.5 * z - 2),
        "steps": np.where(z > 1.5, 0.6, np.where(z > -1, 0.12, 0.1)),
    }[truth]
    return z, (rng.random(n) < p).astype(float), np.arange(n)


@pytest.mark.parametrize(
    ("truth", "chosen"), [("right", "none"), ("shifted", "platt"), ("steps", "isotonic")]
)
def test_the_curve_that_fits_is_chosen(truth: str, chosen: str) -> None:
    curve = fit(*world(4000, truth))
    assert curve.name == chosen
    z, y, _ = world(4000, truth, seed=1)
    assert calibration_error(y, curve(z)) < 0.03
    if chosen != "none":
        assert calibration_error(y, sigmoid(z)) > 0.05
        assert dict(curve.log_loss)[chosen] < dict(curve.log_loss)["none"]


def test_too_few_labels_of_a_kind_fit_nothing() -> None:
    z, y, who = world(4000, "shifted")
    rare = np.flatnonzero(y == 1)[FEWEST - 1 :]
    keep = np.setdiff1d(np.arange(len(y)), rare)
    assert fit(z[keep], y[keep], who[keep]).name == "none"
    assert fit(np.empty(0), np.empty(0), np.empty(0, np.int64)) == Curve()
    assert fit(z, np.zeros(len(y)), who).name == "none"


def test_probabilities_rise_with_the_score_and_stay_inside() -> None:
    z = np.linspace(-40, 40, 999)
    for truth in ("right", "shifted", "steps"):
        p = fit(*world(3000, truth))(z)
        assert (np.diff(p) >= 0).all()
        assert (p > 0).all() and (p < 1).all()


def test_customers_are_in_one_fold() -> None:
    z, y, _ = world(400, "right")
    z, y = np.repeat(z, 10), np.repeat(y, 10)
    noisy = z + numpy_generator(3, "n").normal(0, 0.01, len(z))
    apart = fit(noisy, y, np.arange(len(y)))
    together = fit(noisy, y, np.repeat(np.arange(400), 10))
    # rows of one customer tell of each other: in different folds, isotonic learns them by heart
    assert dict(apart.log_loss)["isotonic"] < dict(together.log_loss)["isotonic"]


def test_spiegelhalter_tells_right_from_wrong_probabilities() -> None:
    rng = numpy_generator(4, "z")
    p = rng.uniform(0.05, 0.6, 5000)
    right = [spiegelhalter(p, (rng.random(5000) < p).astype(float)) for _ in range(50)]
    assert abs(np.mean(right)) < 0.5 and 0.7 < np.std(right) < 1.3
    wrong = spiegelhalter(p, (rng.random(5000) < p * 0.7).astype(float))
    assert abs(wrong) > 4
    assert spiegelhalter(np.empty(0), np.empty(0)) == 0


def test_curves_are_those_of_the_library_of_reference() -> None:
    from sklearn.isotonic import IsotonicRegression
    from sklearn.linear_model import LogisticRegression

    z, y, _ = world(2000, "shifted")
    z = z.round(1)  # with ties
    at = np.linspace(-8, 8, 321)
    steps = calibration._isotonic(z, y)(at)
    expected = IsotonicRegression(out_of_bounds="clip").fit(z, y).predict(at)
    np.testing.assert_allclose(steps, np.clip(expected, 1e-4, 1 - 1e-4), atol=1e-9)
    line, reference = calibration._platt(z, y), LogisticRegression(C=1e8).fit(z[:, None], y)
    assert line.slope == pytest.approx(reference.coef_[0, 0], rel=1e-3)
    assert line.intercept == pytest.approx(reference.intercept_[0], rel=1e-3)
    assert calibration._platt(-z, y).slope == 0, "a curve never falls"
