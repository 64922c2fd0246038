"""Offline metrics: numbers computed by hand, and what must hold for any scores.

The hand calculation, used by all golden tests. Six rows by rising score::

    p  0.1  0.2  0.4  0.5  0.7  0.9
    y   0    0    1    0    1    1

- AUC: 9 pairs (positive, negative); positive 0.4 beats 2 of 3 negatives, 0.7 and 0.9 beat 3: 8/9.
- Average precision: going down the ranking, positives are found at ranks 1, 2, 4 with precision
  1, 1, 3/4; their mean is 11/12.
- Accuracy: 0.4 (y = 1) and 0.5 (y = 0, predicted 1) are wrong: 4/6.
- Log loss: -(ln 0.9 + ln 0.8 + ln 0.4 + ln 0.5 + ln 0.7 + ln 0.9) / 6; the product is 0.09072.
- Brier: (0.01 + 0.04 + 0.36 + 0.25 + 0.09 + 0.01) / 6 = 0.76 / 6.
- Calibration error: six rows fall into six of ten bins; mean |p - y| = (0.1 + 0.2 + 0.6 + 0.5 + 0.3
  + 0.1) / 6 = 0.3.
- Lift: the best tenth, rounded up, is one row, positive; the base rate is 1/2: 2.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.report.binary import (
    accuracy,
    auc,
    brier,
    calibration_curve,
    calibration_error,
    lift_top_decile,
    log_loss,
    pr_auc,
)
from fl.report.metrics import METRICS, interval
from fl.tasks.conversion import ConversionOptions

P = np.array([0.1, 0.2, 0.4, 0.5, 0.7, 0.9])
Y = np.array([0.0, 0.0, 1.0, 0.0, 1.0, 1.0])

BINARY = ConversionOptions.reports
COMPARES_CLASSES = {"auc", "pr_auc", "lift_top_decile"}

labels = st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=60)


@st.composite
def samples(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels of both classes, and scores on a coarse grid, so that ties are common."""
    y = np.array([0.0, 1.0, *draw(labels)])
    grid = st.integers(0, 12)
    p = np.array(draw(st.lists(grid, min_size=len(y), max_size=len(y)))) / 12
    return y, p


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("auc", 8 / 9),
        ("pr_auc", 11 / 12),
        ("accuracy", 4 / 6),
        ("log_loss", -math.log(0.09072) / 6),
        ("brier", 0.76 / 6),
        ("calibration_error", 0.3),
        ("lift_top_decile", 2.0),
    ],
)
def test_golden_values(name: str, expected: float) -> None:
    """Derived in the module's docstring."""
    assert METRICS[name](Y, P) == pytest.approx(expected, rel=1e-12)


def test_golden_interval() -> None:
    """Mean 0.5; sd 0.1; t(0.975, 2) = 4.30265 (a t table): half-width 4.30265 * 0.1 / sqrt(3)."""
    mean, low, high = interval([0.4, 0.5, float("nan"), 0.6])
    assert (mean, high - mean) == (pytest.approx(0.5), pytest.approx(0.2484138, abs=1e-6))
    assert mean - low == pytest.approx(high - mean)


def test_golden_calibration_curve() -> None:
    """Two bins of three rows: mean p 0.7/3 and 2.1/3, one and two positives."""
    curve = calibration_curve(Y, P, bins=2)
    assert curve == [
        (pytest.approx(0.7 / 3), pytest.approx(1 / 3), 3),
        (pytest.approx(0.7), pytest.approx(2 / 3), 3),
    ]


def test_calibration_error_weighs_bins_by_rows() -> None:
    """11 rows in 10 bins: the first holds two (p 0.5, y 0 and 1: no error), nine are wrong by 1."""
    y = np.array([0.0, 1.0, *[0.0] * 9])
    p = np.array([0.5, 0.5, *[1.0] * 9])
    assert calibration_error(y, p) == pytest.approx(9 / 11)


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_one_class_never_raises(name: str, label: float) -> None:
    value = METRICS[name](np.full(4, label), np.array([0.1, 0.2, 0.3, 0.4]))
    assert math.isnan(value) == (name in COMPARES_CLASSES)


@pytest.mark.parametrize("name", BINARY)
def test_no_rows_give_nan(name: str) -> None:
    assert math.isnan(METRICS[name](np.array([]), np.array([])))


@pytest.mark.parametrize(
    ("y", "p"),
    [
        ([0.0, 1.0], [0.5]),
        ([0.0, 2.0], [0.5, 0.5]),
        ([0.0, 1.0], [0.5, float("nan")]),
        ([0.0, 1.0], [0.5, 1.1]),
    ],
)
@pytest.mark.parametrize("name", BINARY)
def test_what_cannot_be_data_is_refused(name: str, y: list[float], p: list[float]) -> None:
    with pytest.raises(ValueError, match="Expected"):
        METRICS[name](np.array(y), np.array(p))


def test_log_loss_is_finite_for_confident_mistakes() -> None:
    assert log_loss(np.array([1.0]), np.array([0.0])) == pytest.approx(-math.log(1e-7))


def test_exactly_one_half_predicts_positive() -> None:
    assert accuracy(np.array([0.0, 1.0]), np.array([0.5, 0.5])) == 0.5


def test_interval_of_few_values() -> None:
    mean, low, high = interval([0.7, float("nan")])
    assert mean == 0.7
    assert math.isnan(low)
    assert math.isnan(high)
    assert all(math.isnan(v) for v in interval([]))


@given(samples())
def test_auc_ignores_monotone_transforms(sample: tuple[np.ndarray, np.ndarray]) -> None:
    y, p = sample
    assert auc(y, p**3) == pytest.approx(auc(y, p))
    assert auc(y, 1 - p) == pytest.approx(1 - auc(y, p))


@given(samples())
def test_auc_is_the_share_of_ordered_pairs(sample: tuple[np.ndarray, np.ndarray]) -> None:
    y, p = sample
    difference = p[y == 1][:, None] - p[y == 0][None, :]
    assert auc(y, p) == pytest.approx(np.mean((difference > 0) + 0.5 * (difference == 0)))


@given(samples(), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(
    sample: tuple[np.ndarray, np.ndarray], chance: object
) -> None:
    y, p = sample
    order = list(range(len(y)))
    chance.shuffle(order)  # type: ignore[attr-defined]
    for metric in map(METRICS.__getitem__, BINARY):
        assert metric(y[order], p[order]) == pytest.approx(metric(y, p))


@given(labels, st.floats(0, 1))
def test_lift_of_a_constant_score_is_one(extra: list[float], score: float) -> None:
    y = np.array([0.0, 1.0, *extra])
    assert lift_top_decile(y, np.full(len(y), score)) == pytest.approx(1.0)


def test_lift_of_random_scores_is_one_in_expectation() -> None:
    """Scores on a grid of seven, so that the best tenth nearly always cuts through a tie."""
    rng = np.random.default_rng(0)
    y = (np.arange(200) < 40).astype(float)
    lifts = [lift_top_decile(y, rng.integers(0, 7, 200) / 7) for _ in range(2000)]
    assert np.mean(lifts) == pytest.approx(1.0, abs=0.02)


@given(samples())
def test_lift_is_between_zero_and_its_ceiling(sample: tuple[np.ndarray, np.ndarray]) -> None:
    y, p = sample
    assert 0 <= lift_top_decile(y, p) <= 1 / y.mean() + 1e-9


@given(labels)
def test_predicting_the_base_rate_is_calibrated(extra: list[float]) -> None:
    y = np.array(extra)
    base = np.full(len(y), y.mean())
    assert calibration_error(y, base) == pytest.approx(0.0, abs=1e-12)
    assert brier(y, base) == pytest.approx(y.mean() * (1 - y.mean()))


@given(labels)
def test_an_uninformed_score_has_the_base_rate_as_average_precision(extra: list[float]) -> None:
    y = np.array([0.0, 1.0, *extra])
    assert pr_auc(y, np.full(len(y), 0.3)) == pytest.approx(y.mean())


@given(samples(), st.integers(1, 20))
def test_calibration_bins_hold_every_row_once(
    sample: tuple[np.ndarray, np.ndarray], bins: int
) -> None:
    y, p = sample
    curve = calibration_curve(y, p, bins=bins)
    counts = [count for _, _, count in curve]
    assert sum(counts) == len(y)
    assert max(counts) - min(counts) <= 1
    assert sum(observed * count for _, observed, count in curve) == pytest.approx(y.sum())
    assert [predicted for predicted, _, _ in curve] == sorted(p for p, _, _ in curve)


def test_every_metric_explains_itself() -> None:
    for metric in METRICS.values():
        assert metric.label
        assert metric.meaning.endswith(".")
