"""Bounded sums of customers, and the lattice on which a share of noise lies."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fl import arrays
from fl.privacy import lattice, statistics
from fl.privacy.noise import InsecureNoiseForTests, SecureRandom
from tests.privacy.plans import scaled_norm

ANY = st.floats()
TAME = st.floats(-10, 10)
LIMITS = {"a": 1.0, "b": 0.25, "c": 16.0}
SCALES = statistics.scales(LIMITS)


def table(values: list[list[float]], width: int = 3) -> arrays.Arrays:
    """One row an example: a number, a number, and a few of them."""
    x = np.array(values, np.float64).reshape(-1, 2 + width)
    return {"a": x[:, 0], "b": x[:, 1], "c": x[:, 2:]}


def examples(of: st.SearchStrategy[float], most: int = 6) -> st.SearchStrategy[list[list[float]]]:
    return st.lists(st.lists(of, min_size=5, max_size=5), max_size=most)


def summed(values: list[list[float]], who: list[int]) -> arrays.Arrays:
    chunk = table(values), np.array(who, np.int64)
    return statistics.sum_over_customers(iter([chunk]), LIMITS)


# ------------------------------------------------------------------------------ one customer


@settings(max_examples=80, deadline=None)
@given(examples(TAME), examples(ANY, 20), st.integers(-(2**63), 2**63 - 3))
def test_one_customer_with_any_rows_moves_the_scaled_sum_by_at_most_one(
    others: list[list[float]], planted: list[list[float]], first: int
) -> None:
    """Ids are any int64, neighbours beyond 2^53 too, which are one and the same as floats."""
    ids = [first] * (len(others) // 2) + [first + 1] * (len(others) - len(others) // 2)
    without = summed(others, ids)
    both = summed(others + planted, ids + [first + 2] * len(planted))
    assert arrays.finite(both)
    assert scaled_norm(arrays.subtract(both, without), SCALES) <= 1 + 1e-9


@settings(max_examples=40, deadline=None)
@given(examples(TAME), st.lists(st.integers(0, 2), min_size=6, max_size=6))
def test_customers_within_their_limits_are_added_as_they_are(
    values: list[list[float]], who: list[int]
) -> None:
    """The sum over customers of the mean of their rows, by a loop."""
    small = [[x / 100 for x in row] for row in values]
    who = sorted(who[: len(values)])
    expected = {n: np.zeros(np.shape(x)[1:]) for n, x in table(small).items()}
    for customer in set(who):
        mine = [row for row, of in zip(small, who, strict=True) if of == customer]
        expected = arrays.add(expected, {n: x.mean(0) for n, x in table(mine).items()})  # type: ignore[assignment]
    got = summed(small, who)
    assert all(np.allclose(got[n], expected[n], rtol=1e-12) for n in LIMITS)


def test_chunks_add_up_and_no_chunk_is_no_sum() -> None:
    values = [[0.1, 0.1, 0.1, 0.2, 0.3]] * 4
    whole = summed(values, [0, 0, 1, 2])
    parts = [(table(values[:3]), np.array([0, 0, 1])), (table(values[3:]), np.array([2]))]
    split = statistics.sum_over_customers(iter(parts), LIMITS)
    assert all(np.allclose(whole[n], split[n]) for n in LIMITS)
    assert statistics.sum_over_customers(iter([]), LIMITS) == {}
    assert all(not x.any() for x in summed([], []).values())


def test_parts_at_their_limits_have_norm_at_most_one() -> None:
    """Scales are powers of two: 2 instead of sqrt(3), and 1 instead of sqrt(3) / 4."""
    full = [[1.0, 0.25, 16.0, 0.0, 0.0]]
    assert SCALES == {"a": 2.0, "b": 1.0, "c": 32.0}
    assert scaled_norm(summed(full, [0]), SCALES) == pytest.approx(math.hypot(0.5, 0.25, 0.5))
    assert all(np.allclose(summed(full, [0])[n], table(full)[n][0]) for n in LIMITS)
    assert statistics.scales({}) == {}


@settings(max_examples=60, deadline=None)
@given(st.lists(ANY, min_size=1, max_size=8), st.floats(1e-6, 1e6), st.floats(1e-3, 1e3))
def test_clipping_bounds_the_norm_keeps_the_direction_and_is_done_once(
    values: list[float], bound: float, scale: float
) -> None:
    given_, by = {"w": np.array(values)}, {"w": scale}
    once = statistics.clip(given_, by, bound)
    norm = math.hypot(*(np.asarray(once["w"], float) / scale).tolist())
    assert norm <= bound * (1 + 1e-9)
    again = statistics.clip(once, by, bound)
    assert np.allclose(
        np.asarray(once["w"], float), np.asarray(again["w"], float), rtol=1e-9, atol=0
    )
    whole = math.hypot(*(value / scale for value in values))
    if 1e-100 < whole < 1e150:
        expected = np.array(values) * min(1.0, bound / whole)
        assert np.allclose(np.asarray(once["w"], float), expected, rtol=1e-9, atol=1e-300)
    elif not math.isfinite(whole):
        assert not np.asarray(once["w"]).any()


def test_noise_is_put_on_in_the_scale_where_a_customer_counts_one() -> None:
    sums = {"b": np.array([4.0]), "a": np.array(2.0)}
    seen: list[list[torch.Tensor]] = []

    def add(parts: list[torch.Tensor]) -> list[torch.Tensor]:
        seen.append(parts)
        return [p + 1 for p in parts]

    noisy = statistics.with_noise(sums, {"a": 2.0, "b": 0.5}, add)
    assert [p.tolist() for p in seen[0]] == [1.0, [8.0]]  # one vector, by name
    assert noisy["a"] == 4.0 and noisy["b"].tolist() == [4.5]
    assert noisy["a"].shape == () and noisy["b"].dtype == np.float64
    assert statistics.with_noise({}, {}, add) == {} and len(seen) == 1


# ----------------------------------------------------------------------------------- the lattice


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-100, 100), min_size=1, max_size=9),
    st.lists(st.floats(-1, 1), min_size=9, max_size=9),
    st.floats(1e-6, 1e6),
)
def test_rounding_moves_a_neighbour_by_no_more_than_the_inflated_sensitivity(
    base: list[float], move: list[float], sensitivity: float
) -> None:
    """Same noise on both, so that what is left is what one unit moves."""
    a = torch.tensor(base, dtype=torch.float64) * sensitivity
    away = torch.tensor(move[: len(base)], dtype=torch.float64)
    b = a + away * sensitivity / max(1.0, float(away.norm()))
    x, y = (lattice.shared([of], sensitivity, 2.0, 3, InsecureNoiseForTests(1))[0] for of in (a, b))
    assert float((x - y).norm()) <= lattice.inflated(sensitivity, len(base)) * (1 + 1e-9)
    places = x / lattice.step_of(sensitivity, len(base))
    assert torch.equal(places, places.round()) and x.dtype == torch.float64


@settings(max_examples=60, deadline=None)
@given(st.floats(1e-100, 1e100), st.integers(0, 10**7))
def test_the_step_is_a_power_of_two_that_rounds_all_entries_by_a_256th_together(
    sensitivity: float, entries: int
) -> None:
    step = lattice.step_of(sensitivity, entries)
    together = step * math.sqrt(min(max(1, entries), 4096)) / sensitivity
    assert math.frexp(step)[0] == 0.5
    assert 2**-9 * (1 - 1e-12) <= together <= 2**-8 * (1 + 1e-12)
    assert (step * 2.0 ** lattice.bits(sensitivity, entries)).is_integer()


def test_shares_keep_shapes_and_split_the_variance() -> None:
    sums = [torch.zeros(100, 500), torch.zeros(()), torch.zeros(0, 3)]
    for shares in (1, 4):
        got = lattice.shared(sums, 2.0, 1.5, shares, SecureRandom())
        assert [g.shape for g in got] == [s.shape for s in sums]
        std = 1.5 * lattice.inflated(2.0, 50_001) / math.sqrt(shares)
        assert abs(float(got[0].std()) / std - 1) < 6 / math.sqrt(2 * 50_000)


@pytest.mark.parametrize(("multiplier", "shares"), [(1.0, 0), (1.0, -2), (1e-4, 1), (1.0, 10**9)])
def test_noise_too_small_for_the_lattice_is_refused(multiplier: float, shares: int) -> None:
    with pytest.raises(ValueError, match="64 lattice steps"):
        lattice.shared([torch.zeros(3)], 1.0, multiplier, shares, SecureRandom())


def test_exact_largest_shares_are_those_of_the_sums() -> None:
    x = np.array([[[1.0, 30.0], [0.0, 2.0]], [[2.0, 10.0], [5.0, 1.0]]])
    totals = np.array([[6.0, 100.0], [50.0, 4.0]])
    chunk = {"a": x}, np.arange(2)
    found = statistics.largest_shares(iter([chunk]), {"a": totals}, {"a": 1.0}, None)
    assert np.allclose(np.asarray(found["a"], np.float64), [0.5, 0.75])
    with pytest.raises(ValueError, match="totals > 0"):
        statistics.largest_shares(iter([chunk]), {"a": totals * 0}, {"a": 1.0}, None)
