"""Figures that were proven elsewhere, and laws that every accountant must keep.

The table is the one measured when the accountants were chosen: dp-accounting at a grid of 1e-4,
Opacus 1.6 and microsoft/prv_accountant, whose lower bounds are proven.
"""

from __future__ import annotations

import logging
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtr

from fl.errors import InputError
from fl.events import Composed, Gaussian, PrivacyEvent, Repeated, Sampled, Unbounded
from fl.privacy.accounting import (
    ORDERS,
    both,
    epsilon,
    pld_epsilon,
    prv_epsilon,
    rdp_curve,
    rdp_epsilon,
)
from fl.privacy.calibration import LEAST_NOISE, noise_multiplier, require_delta
from fl.privacy.composition import group, person, worst_group
from fl.privacy.filter import FILTER_ORDERS, RdpFilter
from fl.privacy.losses import ROUNDING, event_of, loss_distribution, releases
from fl.privacy.translation import meaning

FAST = settings(max_examples=12)
DELTA = 1e-5


def training(rate: float, sigma: float, steps: int) -> PrivacyEvent:
    return Repeated(Sampled(rate, Gaussian(sigma)), steps)


RECORD = training(0.01, 1.0, 1000)
SHOP = training(0.02, 1.16, 976)

# rate, noise, steps, delta: PLD, PRV (upper), RDP at many orders, proven lower bound
TABLE = [
    (0.01, 1.0, 1000, 1e-5, 1.828, 1.838, 2.101, 1.818),
    (0.004, 0.8, 5000, 1e-6, 2.907, 2.918, 3.393, 2.897),
    (0.05, 0.6, 100, 1e-5, 11.506, 11.52, 13.29, 11.495),
    (0.001, 0.5, 20000, 1e-7, 8.929, 8.94, 10.24, 8.919),
    (1.0, 20.0, 100, 1e-5, 1.993, 2.003, 2.166, 1.983),
]


def gaussian_epsilon(sigma: float, delta: float) -> float:
    """Exact, by Balle and Wang 2018 (arXiv 1805.06530), Theorem 8."""

    def excess(eps: float) -> float:
        upper, lower = 1 / (2 * sigma) - eps * sigma, -1 / (2 * sigma) - eps * sigma
        return float(ndtr(upper) - math.exp(eps + log_ndtr(lower)) - delta)

    return float(brentq(excess, 0, 1e4, xtol=1e-12)) if excess(0) > 0 else 0.0


# ------------------------------------------------------------------------------------- figures


@pytest.mark.parametrize(("q", "sigma", "steps", "delta", "pld", "prv", "rdp", "proven"), TABLE)
def test_figures_are_those_of_the_comparison(
    q: float, sigma: float, steps: int, delta: float, pld: float, prv: float, rdp: float,
    proven: float,
) -> None:  # fmt: skip
    found = both(training(q, sigma, steps), delta)
    assert found.pld == pytest.approx(pld, abs=0.01)
    assert found.prv == pytest.approx(prv, abs=0.03)
    assert rdp - 0.01 <= found.rdp <= 1.02 * rdp
    assert proven <= found.pld <= found.rdp
    assert found.difference <= 0.02


@pytest.mark.parametrize(("brands", "figure"), [(1, 2.92), (2, 4.22), (3, 5.28), (5, 7.06)])
def test_a_person_at_several_brands_pays_for_each(brands: int, figure: float) -> None:
    assert pld_epsilon(person(SHOP, brands), DELTA) == pytest.approx(figure, abs=0.01)


@pytest.mark.parametrize(
    ("records", "figure"),
    [
        (1, 1.83),
        (2, 3.98),
        pytest.param(4, 8.90, marks=pytest.mark.slow),
        pytest.param(8, 20.9, marks=pytest.mark.slow),
    ],
)
def test_a_customer_with_many_records_pays_more_than_the_record_figure(
    records: int, figure: float
) -> None:
    assert group(RECORD, records, DELTA) == pytest.approx(figure, abs=0.01)


def test_unsampled_groups_are_gaussians_of_k_times_the_sensitivity() -> None:
    exact = gaussian_epsilon(2.0 / 3, DELTA)
    assert exact <= group(Repeated(Gaussian(4.0), 4), 3, DELTA) <= exact + 0.01


def test_the_bound_for_a_group_costs_at_least_the_group() -> None:
    event = training(0.05, 2.0, 20)
    assert group(event, 3, DELTA) <= pld_epsilon(worst_group(event, 3), DELTA)
    assert pld_epsilon(worst_group(event, 1), DELTA) == pld_epsilon(event, DELTA)


def test_a_figure_means_what_was_measured_for_attackers() -> None:
    found = meaning(RECORD)
    assert found.advantage == pytest.approx(0.161, abs=0.001)
    assert found.tpr_at_fpr_0001 == pytest.approx(0.0040, abs=0.0001)
    assert found.tpr_at_fpr_001 == pytest.approx(0.029, abs=0.0005)


def test_the_meaning_of_a_gaussian_is_its_trade_off_curve() -> None:
    found = meaning(Gaussian(1.0))  # TPR = Phi(Phi^-1(FPR) + 1/sigma): Dong, Roth and Su 2019
    assert found.advantage == pytest.approx(2 * ndtr(0.5) - 1, abs=1e-4)
    assert found.tpr_at_fpr_001 == pytest.approx(ndtr(-2.326348 + 1), abs=1e-4)
    assert found.tpr_at_fpr_001 >= ndtr(-2.326348 + 1) - 1e-9


# ---------------------------------------------------------------------------------- never below


@FAST
@given(st.floats(0.15, 40), st.floats(-9, -2))
def test_pld_is_never_below_the_exact_gaussian(sigma: float, log_delta: float) -> None:
    delta = 10**log_delta
    found = pld_epsilon(Gaussian(sigma), delta)
    assert gaussian_epsilon(sigma, delta) - 1e-9 <= found
    assert found <= gaussian_epsilon(sigma, delta - ROUNDING) + 0.003


@pytest.mark.parametrize("steps", [10, 1000, pytest.param(200_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("delta", [1e-5, 1e-9])
def test_composition_on_the_grid_is_never_below_the_exact_gaussian(
    steps: int, delta: float
) -> None:
    # A rate next to 1 keeps the exact merging of Gaussians out, so that the grid does the work.
    event = training(1 - 1e-12, 0.5 * math.sqrt(steps), steps)
    exact = gaussian_epsilon(0.5, delta)
    assert exact - 1e-9 <= pld_epsilon(event, delta) <= exact + 0.03


def test_a_delta_below_what_arithmetic_can_show_is_refused() -> None:
    event = training(1 - 1e-12, 2 * math.sqrt(200_000), 200_000)
    found = releases(event)
    assert found
    wrong = loss_distribution(found, 1e-13).get_epsilon_for_delta(1e-13)
    assert abs(wrong - gaussian_epsilon(2.0, 1e-13)) > 0.1  # above or below, as rounding has it
    for accountant in ("pld", "prv", "rdp"):
        with pytest.raises(ValueError, match="delta"):
            epsilon(accountant, event, 1e-10)


@FAST
@given(st.floats(0.001, 0.5), st.floats(0.6, 10), st.integers(1, 300))
def test_rdp_is_never_below_pld_and_prv_agrees(q: float, sigma: float, steps: int) -> None:
    found = both(training(q, sigma, steps), DELTA)
    assert found.pld <= found.rdp + 0.003
    assert found.difference <= 0.02


@FAST
@given(st.floats(0.005, 0.4), st.floats(0.6, 5), st.integers(1, 300), st.floats(1.01, 2))
def test_more_noise_costs_less_and_more_of_anything_else_costs_more(
    q: float, sigma: float, steps: int, factor: float
) -> None:
    base, slack = pld_epsilon(training(q, sigma, steps), DELTA), 0.003
    assert pld_epsilon(training(q, sigma * factor, steps), DELTA) <= base + slack
    assert pld_epsilon(training(q * factor, sigma, steps), DELTA) >= base - slack
    assert pld_epsilon(training(q, sigma, math.ceil(steps * factor)), DELTA) >= base - slack
    assert pld_epsilon(training(q, sigma, steps), DELTA * factor) <= base + slack


# ---------------------------------------------------------------------------------------- laws


def test_nesting_and_order_do_not_change_a_figure() -> None:
    a, b = Sampled(0.1, Gaussian(2.0)), Gaussian(5.0)
    for one, other in [
        (Repeated(a, 2), Composed((a, a))),
        (Composed((a, b)), Composed((b, a))),
        (Repeated(Repeated(Composed((a, b)), 3), 2), Composed((Repeated(a, 6), Repeated(b, 6)))),
        (Sampled(1.0, b), b),
        (Composed((a, Repeated(Unbounded(), 0))), a),
    ]:
        assert both(one, DELTA) == both(other, DELTA)


def test_unsampled_gaussians_compose_exactly() -> None:
    mixed = Composed((Gaussian(3.0), Repeated(Gaussian(4.0), 2)))
    sigma = (1 / 9 + 2 / 16) ** -0.5
    assert pld_epsilon(mixed, DELTA) == pytest.approx(gaussian_epsilon(sigma, DELTA), abs=0.002)


@pytest.mark.parametrize("accountant", ["pld", "prv", "rdp"])
def test_exact_releases_cost_everything_and_no_release_costs_nothing(accountant: str) -> None:
    assert epsilon(accountant, Composed((Gaussian(9.0), Unbounded())), DELTA) == math.inf
    assert epsilon(accountant, Repeated(Unbounded(), 3), DELTA) == math.inf
    assert epsilon(accountant, Composed(), DELTA) == 0
    assert epsilon(accountant, Repeated(Gaussian(1.0), 0), DELTA) == 0
    assert meaning(Unbounded()).advantage == 1
    assert group(Unbounded(), 2, DELTA) == math.inf


def test_accountants_have_a_figure_or_infinity_where_noise_is_absurdly_small() -> None:
    event = training(0.3, 0.05, 100)
    assert 9000 < pld_epsilon(event, DELTA) < rdp_epsilon(event, DELTA) < 1e5
    assert prv_epsilon(event, DELTA) == math.inf


def test_the_gdp_accountant_is_refused_with_the_reason() -> None:
    with pytest.raises(InputError, match=r"central-limit.*5\.56 where 8\.92"):
        epsilon("gdp", RECORD, DELTA)


def test_an_unknown_accountant_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="pld, prv, rdp"):
        epsilon("moments", RECORD, DELTA)


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, 1e-11, math.nan])
def test_a_delta_out_of_range_is_refused(delta: float) -> None:
    for accountant in ("pld", "prv", "rdp"):
        with pytest.raises(ValueError, match="delta"):
            epsilon(accountant, RECORD, delta)
    with pytest.raises(ValueError, match="delta"):
        group(RECORD, 2, delta)


def test_a_curve_that_does_not_converge_is_left_out_in_silence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    absl = logging.getLogger("absl")
    absl.addHandler(caplog.handler)
    level, filters = absl.level, list(absl.filters)
    try:
        curve = rdp_curve(training(0.5, 0.8, 200))
        absl.warning("something else")
    finally:
        absl.removeHandler(caplog.handler)
    assert curve[0] == math.inf and math.isfinite(curve[ORDERS.index(2.0)])
    assert [record.message for record in caplog.records][-1:] == ["something else"]
    assert not [record for record in caplog.records if "converge" in record.message]
    assert (absl.level, list(absl.filters)) == (level, filters)


def test_releases_become_events_again() -> None:
    found = releases(Composed((RECORD, SHOP, Gaussian(3.0))))
    assert found and releases(Composed(tuple(event_of(r) for r in found))) == found


# --------------------------------------------------------------------------------- calibration


@pytest.mark.parametrize(
    ("q", "steps", "target"), [(0.01, 1000, 1.0), (0.05, 200, 8.0), (1.0, 10, 3.0), (0.2, 60, 0.1)]
)
def test_calibrated_noise_keeps_the_promise_and_wastes_little(
    q: float, steps: int, target: float
) -> None:
    sigma = noise_multiplier(lambda s: training(q, s, steps), target, DELTA)
    cost = pld_epsilon(training(q, sigma, steps), DELTA)
    assert 0.995 * target <= cost <= target


def test_calibration_counts_what_is_fixed() -> None:
    fixed = Gaussian(20.0)
    sigma = noise_multiplier(lambda s: Composed((training(0.05, s, 50), fixed)), 1.0, DELTA)
    alone = noise_multiplier(lambda s: training(0.05, s, 50), 1.0, DELTA)
    assert sigma > alone
    with pytest.raises(ValueError, match="reach"):
        noise_multiplier(lambda s: Composed((Gaussian(s), Gaussian(1.0))), 1.0, DELTA)


def test_calibration_stops_at_the_least_noise_that_is_allowed() -> None:
    assert noise_multiplier(Gaussian, 1e4, DELTA) == LEAST_NOISE


@pytest.mark.parametrize("target", [0.0, -1.0, math.inf, math.nan])
def test_an_epsilon_out_of_range_is_refused(target: float) -> None:
    with pytest.raises(ValueError, match="epsilon"):
        noise_multiplier(Gaussian, target, DELTA)


def test_delta_must_be_below_one_over_the_customers() -> None:
    require_delta(1e-5, 99_999)
    for delta, customers in [(1e-5, 100_000), (0.5, 2), (0.0, 10), (math.nan, 10), (1e-5, 0)]:
        with pytest.raises(InputError, match=r"privacy\.delta"):
            require_delta(delta, customers)


# -------------------------------------------------------------------------------------- filter


@pytest.mark.parametrize("step", [Repeated(Gaussian(40.0), 20), training(0.02, 1.16, 10)])
def test_the_filter_refuses_before_its_budget_is_exceeded(step: PrivacyEvent) -> None:
    spent, steps = RdpFilter(3.0, DELTA), 0
    while spent.admits(step):
        spent, steps = spent.after(step), steps + 1
    cost = rdp_epsilon(Repeated(step, steps), DELTA)
    assert 0.8 * 3.0 < cost < 3.0
    assert spent.within and not spent.after(step).within


def test_the_filter_never_admits_exact_values_and_remembers_what_was_forced() -> None:
    fresh = RdpFilter(8.0, DELTA)
    assert not fresh.admits(Unbounded())
    assert not fresh.after(Unbounded()).admits(Composed())
    assert fresh.after(Composed()) == fresh


@FAST
@given(st.lists(st.sampled_from([RECORD, Gaussian(6.0), training(0.1, 2.0, 30)]), max_size=6))
def test_what_the_filter_admits_is_within_budget_by_every_accountant(
    asked: list[PrivacyEvent],
) -> None:
    spent, admitted = RdpFilter(4.0, DELTA), []
    for event in asked:
        if spent.admits(event):
            spent = spent.after(event)
            admitted.append(event)
    together = Composed(tuple(admitted))
    assert pld_epsilon(together, DELTA) <= 4.0
    assert rdp_epsilon(together, DELTA) <= 4.0


@pytest.mark.parametrize(
    "bad", [{"epsilon": 0.0}, {"epsilon": math.inf}, {"delta": 0.0}, {"spent": (0.0,)},
            {"spent": (math.nan,) * len(FILTER_ORDERS)}]
)  # fmt: skip
def test_a_filter_without_a_budget_cannot_be_made(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="Expected"):
        RdpFilter(**{"epsilon": 1.0, "delta": DELTA, **bad})  # type: ignore[arg-type]
