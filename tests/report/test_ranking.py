"""Qini, AUUC and policy value, against sums over curves, bootstraps and known truth."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from fl.report import ranking
from fl.report.ranking import Ranked, above_random, auuc, curve, policy_value, qini, ranked

Floats = npt.NDArray[np.float64]


def trial(rng: np.random.Generator, n: int, slope: float = 0.3) -> tuple[Floats, Floats, Floats]:
    """A score, and an effect of 0.1 + slope (score - 1/2) on a rate of 0.3."""
    score, arm = rng.uniform(size=n), (rng.uniform(size=n) < 2 / 3).astype(float)
    p = 0.3 + arm * (0.1 + slope * (score - 0.5))
    return arm, (rng.uniform(size=n) < p).astype(float), score


def of(arm: Floats, y: Floats, score: Floats) -> Ranked:
    found = ranked(arm, y, score)
    assert found is not None
    return found


def test_the_whole_curve_ends_at_the_difference_of_rates() -> None:
    arm, y, score = trial(np.random.default_rng(0), 500)
    points = curve(of(arm, y, score))
    assert points[0][1] == 0
    assert points[-1][1] == pytest.approx(y[arm == 1].mean() - y[arm == 0].mean())


def test_areas_are_the_areas_below_the_curve() -> None:
    arm, y, score = trial(np.random.default_rng(1), 400)
    by = of(arm, y, np.round(score, 1))  # many ties
    u, g = np.array(curve(by, 400))[:, :2].T
    area = float(((g[1:] + g[:-1]) / 2 * np.diff(u)).sum())
    assert auuc(by).value == pytest.approx(area, abs=1e-12)
    assert qini(by).value == pytest.approx(area - g[-1] / 2, abs=1e-12)
    assert policy_value(by, 1.0).value == pytest.approx(g[-1])
    assert above_random(by, 0.3).value == pytest.approx(policy_value(by, 0.3).value - 0.3 * g[-1])


def test_against_radcliffe_s_counts() -> None:
    """With arms in the same proportion everywhere, his curve is ours times the treated."""
    n = 600
    arm = np.tile([1.0, 0.0, 1.0], n // 3)
    score = np.repeat(np.arange(n // 3, 0, -1.0), 3)
    y = (np.random.default_rng(2).uniform(size=n) < 0.3 + 0.2 * arm * (score > 100)).astype(float)
    ends = np.arange(3, n + 1, 3)
    treated, control = np.cumsum(arm)[ends - 1], np.cumsum(1 - arm)[ends - 1]
    gain = np.cumsum(arm * y)[ends - 1] - np.cumsum((1 - arm) * y)[ends - 1] * treated / control
    by = of(arm, y, score)
    shares = ends / n
    centred = [policy_value(by, s).value for s in shares]
    assert np.allclose(centred, gain / arm.sum(), atol=1e-12)


@pytest.mark.parametrize("statistic", [qini, auuc, lambda by: above_random(by, 0.3)])
def test_errors_are_those_of_a_bootstrap(statistic: object) -> None:
    rng = np.random.default_rng(3)
    arm, y, score = trial(rng, 1500)
    score = np.round(score, 2)
    again = []
    for _ in range(400):
        i = rng.integers(0, len(arm), len(arm))
        again.append(statistic(of(arm[i], y[i], score[i])).value)  # type: ignore[operator]
    error = statistic(of(arm, y, score)).error  # type: ignore[operator]
    assert error == pytest.approx(float(np.std(again)), rel=0.12)


def test_intervals_cover_the_truth_and_random_scores_are_at_zero() -> None:
    """The effect is 0.1 + 0.3 (s - 1/2): Qini is 0.3 / 12, the best 30 % bring 0.3 x 0.205."""
    rng, hits, policy, zero = np.random.default_rng(4), 0, 0, 0
    trials = 400
    for _ in range(trials):
        arm, y, score = trial(rng, 3000)
        by = of(arm, y, score)
        hits += qini(by).low <= 0.3 / 12 <= qini(by).high
        value = policy_value(by, 0.3)
        policy += value.low <= 0.3 * 0.205 <= value.high
        noise = qini(of(arm, y, rng.uniform(size=3000)))
        zero += noise.low <= 0 <= noise.high
    assert 0.92 < hits / trials < 0.98
    assert 0.92 < policy / trials < 0.98
    assert 0.92 < zero / trials < 0.98


def test_the_order_of_rows_does_not_matter() -> None:
    rng = np.random.default_rng(5)
    arm, y, score = trial(rng, 300)
    score, order = np.round(score, 1), rng.permutation(300)
    one, other = of(arm, y, score), of(arm[order], y[order], score[order])
    assert qini(one).value == pytest.approx(qini(other).value)
    assert policy_value(one, 0.25).value == pytest.approx(policy_value(other, 0.25).value)


def test_a_constant_score_is_random() -> None:
    arm, y, _ = trial(np.random.default_rng(6), 200)
    by = of(arm, y, np.zeros(200))
    assert qini(by).value == pytest.approx(0) and qini(by).error == pytest.approx(0, abs=1e-12)


def test_nobody_in_an_arm_and_wrong_values() -> None:
    one = np.ones(4)
    assert ranked(one, one, one) is None and ranked(one[:0], one[:0], one[:0]) is None
    assert np.isnan(ranking.qini_metric(np.ones((4, 2)), np.ones((4, 1))))
    for arm, y, score in ((one * 2, one, one), (one, one / 2, one), (one, one, one * np.nan)):
        with pytest.raises(ValueError, match="Expected"):
            ranked(arm, y, score)
    with pytest.raises(ValueError, match="share"):
        policy_value(of(np.array([0.0, 1.0]), one[:2], one[:2]), 1.5)


def test_metrics_are_means_over_arms() -> None:
    rng = np.random.default_rng(7)
    arm, y, score = trial(rng, 900)
    three = arm * (1 + (rng.uniform(size=900) < 0.5))
    scores = np.stack([score, -score], 1)
    truth = np.stack([three, y], 1)
    parts = [qini(by).value for _, by in ranking.by_arm(truth, scores)]
    assert len(parts) == 2
    assert ranking.qini_metric(truth, scores) == pytest.approx(np.mean(parts))
