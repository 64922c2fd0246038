"""Effects from counts, against formulas, simulations with known truth, and a published trial."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from fl.report import effects
from fl.report.effects import heterogeneity, mantel_haenszel, merged, pooled, small

Cells = npt.NDArray[np.float64]

# Karlan and List 2007, by state: rows and gifts of control, then of treated (32 states with at
# least 300 letters), counted from the published file with pandas' groupby.
KARLAN_TOTAL = np.array([[16687 - 298.0, 298.0], [33396 - 736.0, 736.0]])


def drawn(rng: np.random.Generator, n_sa: Cells, p_sa: Cells) -> Cells:
    y = rng.binomial(n_sa.astype(int), p_sa)
    return np.stack([n_sa - y, y], -1).astype(float)


def covered(found: list[effects.Effect], truth: float) -> float:
    return float(np.mean([e.low <= truth <= e.high for e in found]))


def test_the_published_effect() -> None:
    effect = pooled(KARLAN_TOTAL, 1)
    assert 100 * effect.value == pytest.approx(0.418, abs=5e-4)
    assert 100 * effect.error == pytest.approx(0.130, abs=5e-4)
    assert effect.noise == 0
    one_stratum = mantel_haenszel(KARLAN_TOTAL[None], 1)
    assert one_stratum.value == pytest.approx(effect.value, abs=1e-15)


def test_weights_that_follow_the_errors_are_biased_and_counts_are_not() -> None:
    """Rare rates in small strata: no effect of brands at all, 0.4 points in truth."""
    rng = np.random.default_rng(0)
    n_sa = np.tile([[150.0, 300.0]], (32, 1))
    truth = np.tile([[0.018, 0.022]], (32, 1))
    inverse, mh = [], []
    for _ in range(400):
        c_sao = drawn(rng, n_sa, truth)
        p = c_sao[:, :, 1] / n_sa
        v = np.maximum((p * (1 - p) / n_sa).sum(1), 1e-9)
        if (p == 0).all(1).any():
            continue
        inverse.append(((p[:, 1] - p[:, 0]) / v).sum() / (1 / v).sum())
        mh.append(mantel_haenszel(c_sao, 1).value)
    spread = np.std(mh) / np.sqrt(len(mh))
    assert abs(np.mean(mh) - 0.004) < 4 * spread
    assert abs(np.mean(inverse) - 0.004) > 20 * spread


def test_mantel_haenszel_by_hand() -> None:
    """Two strata, worked by the formula: w = 24, 12; a = (8*60 - 6*40)/100, (5*20 - 6*30)/50."""
    c_sao = np.array([[[54.0, 6.0], [32.0, 8.0]], [[14.0, 6.0], [25.0, 5.0]]])
    assert mantel_haenszel(c_sao, 1).value == pytest.approx((2.4 - 1.6) / 36)


@pytest.mark.parametrize(("strata", "size"), [(4, 400), (150, 8)])
def test_sato_s_error_holds_for_few_large_and_many_small_strata(strata: int, size: int) -> None:
    rng = np.random.default_rng(1)
    n_sa = np.stack([np.full(strata, float(size)), np.full(strata, 2.0 * size)], 1)
    base = rng.uniform(0.1, 0.4, strata)
    p_sa = np.stack([base, base + 0.1], 1)
    found = [mantel_haenszel(drawn(rng, n_sa, p_sa), 1) for _ in range(600)]
    assert np.mean([e.error for e in found]) == pytest.approx(
        np.std([e.value for e in found]), rel=0.08
    )
    assert 0.93 < covered(found, 0.1) < 0.97


def test_slopes_are_the_derivatives() -> None:
    """The noise part of the error, against differences by hand."""
    rng = np.random.default_rng(2)
    c_sao = drawn(rng, np.array([[300.0, 500.0], [700.0, 900.0]]), np.full((2, 2), 0.2))
    slopes = np.zeros_like(c_sao)
    for at in np.ndindex(c_sao.shape):
        up, down = c_sao.copy(), c_sao.copy()
        up[at] += 1e-4
        down[at] -= 1e-4
        slopes[at] = (mantel_haenszel(up, 1).value - mantel_haenszel(down, 1).value) / 2e-4
    expected = 3.0 * np.sqrt((slopes**2).sum())
    assert mantel_haenszel(c_sao, 1, 3.0).noise == pytest.approx(expected, rel=1e-6)
    total = c_sao.sum(0)
    assert pooled(total, 1, 3.0).noise == pytest.approx(
        mantel_haenszel(total[None], 1, 3.0).noise, rel=1e-9
    )


@pytest.mark.parametrize("estimate", ["pooled", "mantel_haenszel", "small"])
def test_intervals_with_noise_cover_the_truth(estimate: str) -> None:
    """Customers drawn and noise drawn, 1,000 times."""
    rng, tau = np.random.default_rng(3), 12.0
    n_sa = np.array([[2000.0, 4000.0], [800.0, 1500.0], [120.0, 260.0]])
    p_sa = np.array([[0.018, 0.022]] * 3)
    found = []
    for _ in range(1000):
        c_sao = drawn(rng, n_sa, p_sa)
        noisy = c_sao + rng.normal(0, tau, c_sao.shape)
        match estimate:
            case "mantel_haenszel":
                found.append(mantel_haenszel(noisy, 1, tau))
            case "pooled":
                found.append(pooled(noisy.sum(0), 1, tau * np.sqrt(3)))
            case _:
                found.append(small(noisy[1], 1, tau))
    assert 0.93 < covered(found, 0.004) < 0.985
    blind = [pooled(drawn(rng, n_sa, p_sa).sum(0) + rng.normal(0, 60, (2, 2)), 1) for _ in found]
    assert covered(blind, 0.004) < 0.9  # intervals that leave the noise out do not


def test_few_outcomes_are_covered_where_wald_alone_does_not() -> None:
    rng = np.random.default_rng(4)
    n_sa, p_sa = np.array([[40.0, 80.0]]), np.array([[0.018, 0.022]])
    cells = [drawn(rng, n_sa, p_sa)[0] for _ in range(2000)]
    for found in (
        [small(c, 1) for c in cells],
        [pooled(c, 1) for c in cells],
        [mantel_haenszel(c[None], 1) for c in cells],
    ):
        assert covered(found, 0.004) > 0.94
    wald = [abs(e.value - 0.004) <= effects.Z95 * e.error for e in (pooled(c, 1) for c in cells)]
    assert np.mean(wald) < 0.92


def test_an_outcome_that_nobody_has_leaves_an_interval() -> None:
    """The rule of three: of 450 without, at most about 3 in 450 may be expected."""
    c_ao = np.array([[450.0, 0.0], [450.0, 0.0]])
    for effect in (pooled(c_ao, 1), mantel_haenszel(c_ao[None], 1)):
        assert effect.value == effect.error == 0
        assert effect.low < -0.005 and effect.high > 0.005


@pytest.mark.parametrize("tau", [0.0, 8.0])
def test_equal_effects_look_different_one_time_in_twenty(tau: float) -> None:
    rng = np.random.default_rng(5)
    sizes = rng.uniform(300, 4000, 30)
    n_sa = np.stack([sizes / 3, 2 * sizes / 3], 1).round()
    base = rng.uniform(0.012, 0.025, 30)
    p_sa = np.stack([base, base + 0.004], 1)
    rejected, trials = 0, 600
    for _ in range(trials):
        c_sao = drawn(rng, n_sa, p_sa)
        c_sao = c_sao + rng.normal(0, 1, c_sao.shape) * tau
        rejected += heterogeneity(c_sao, 1, tau).p_value < 0.05
    assert 0.02 < rejected / trials < 0.085


def test_different_effects_are_found() -> None:
    rng = np.random.default_rng(6)
    n_sa = np.full((12, 2), 2000.0)
    p_sa = np.stack([np.full(12, 0.1), 0.1 + np.linspace(-0.05, 0.05, 12)], 1)
    found = heterogeneity(drawn(rng, n_sa, p_sa), 1)
    assert found.p_value < 1e-6 and found.i_squared > 0.5 and found.freedom == 11


def test_nobody_in_an_arm_gives_no_number_and_no_error() -> None:
    nobody = np.array([[10.0, 1.0], [0.0, 0.0]])
    assert np.isnan(pooled(nobody, 1).value) and np.isnan(small(nobody, 1).value)
    assert np.isnan(mantel_haenszel(nobody[None], 1).value)
    assert np.isnan(heterogeneity(nobody[None], 1).q)
    whole = np.array([[90.0, 10.0], [80.0, 20.0]])
    with_it = mantel_haenszel(np.stack([nobody, whole]), 1)
    assert with_it.value == pytest.approx(0.1) and with_it.customers == (100.0, 100.0)


def test_counts_lost_in_noise_are_merged_or_left_out() -> None:
    large, tiny = np.full((2, 2), 500.0), np.full((2, 2), 60.0)
    strata, tau_s = merged(np.stack([large, *[tiny] * 9]), 10.0)
    assert len(strata) == 2 and strata[1].sum() == 9 * 240
    assert tau_s.tolist() == [10.0, 30.0]
    assert np.isnan(small(tiny, 1, 10.0).value)
    assert len(merged(np.stack([large, tiny]), 10.0)[0]) == 1
    assert np.isnan(pooled(np.array([[-5.0, 1.0], [900.0, 2.0]]), 1, 10.0).value)
