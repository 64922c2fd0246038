"""Poisson sampling of customers, and the clip that follows a quantile."""

from __future__ import annotations

import math
from importlib.util import find_spec
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fl.contracts import Examples
from fl.privacy.clipping import count_below, joint_noise_multiplier, next_clip
from fl.privacy.draws import Customers, Pool, drawn_together
from fl.privacy.gradients import poisson_batches
from fl.privacy.noise import InsecureNoiseForTests, SecureRandom
from tests.privacy.test_gradients import rows


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(1, 20), min_size=0, max_size=12),
    st.floats(0.01, 1.0),
    st.integers(0, 10**6),
)
def test_a_batch_holds_all_rows_of_its_customers_sorted(
    counts: list[int], rate: float, seed: int
) -> None:
    examples = rows(counts, seed)
    for batch in poisson_batches(examples, rate, 4, InsecureNoiseForTests(seed)):
        assert bool((batch.customer_b.diff() >= 0).all())
        for customer in batch.customer_b.unique():
            mine = batch.rows((batch.customer_b == customer).nonzero()[:, 0])
            whole = examples.rows((examples.customer_b == customer).nonzero()[:, 0])
            assert torch.equal(mine.x_bf, whole.x_bf) and torch.equal(mine.c_bg, whole.c_bg)
            assert torch.equal(mine.y_b, whole.y_b)


def customers(n: int) -> Examples:
    """Two rows each."""
    return Examples(
        torch.zeros(2 * n, 1),
        torch.zeros(2 * n, 0, dtype=torch.int64),
        torch.zeros(2 * n),
        torch.arange(n).repeat(2),
    )


def test_every_customer_comes_at_the_rate_by_itself() -> None:
    """Batch sizes are binomial (a shuffled fixed size would not be), and so is each customer."""
    n, steps, rate = 200, 3000, 0.1
    came = torch.zeros(steps, n)
    for step, batch in enumerate(poisson_batches(customers(n), rate, steps, SecureRandom())):
        came[step, batch.customer_b.unique()] = 1
    error = math.sqrt(rate * (1 - rate) / steps)
    assert bool((came.mean(0) - rate).abs().max() < 6 * error)
    sizes = came.sum(1)
    assert abs(float(sizes.mean()) - n * rate) < 5 * math.sqrt(n) * error
    assert abs(float(sizes.var()) / (n * rate * (1 - rate)) - 1) < 6 * math.sqrt(2 / steps)
    again = (came[1:] * came[:-1]).mean()  # a customer may come twice in a row
    assert abs(float(again) / rate**2 - 1) < 6 * math.sqrt(1 / (steps * n * rate**2))


def test_a_batch_may_be_empty_and_rate_one_takes_everybody() -> None:
    assert [len(b) for b in poisson_batches(customers(3), 1e-12, 5, SecureRandom())] == [0] * 5
    assert [len(b) for b in poisson_batches(customers(3), 1.0, 2, SecureRandom())] == [6, 6]
    assert [len(b) for b in poisson_batches(customers(0), 0.5, 2, SecureRandom())] == [0, 0]
    assert not list(poisson_batches(customers(3), 0.5, 0, SecureRandom()))


@pytest.mark.parametrize(("rate", "steps"), [(0.0, 1), (1.1, 1), (math.nan, 1), (0.5, -1)])
def test_sampling_out_of_range_is_refused_before_the_first_batch(rate: float, steps: int) -> None:
    with pytest.raises(ValueError, match="rate"):
        poisson_batches(customers(1), rate, steps, SecureRandom())


def test_the_count_is_centred_noised_and_one_customer_moves_it_by_a_half() -> None:
    norms = torch.tensor([0.1, 0.9, 1.0, 2.0, math.nan, math.inf])
    draws = torch.tensor([count_below(norms, 1.0, 2.0, SecureRandom()) for _ in range(2000)])
    assert abs(float(draws.mean())) < 5 * 2 / math.sqrt(2000)  # three below, three above
    assert abs(float(draws.std()) / 2 - 1) < 5 / math.sqrt(4000)
    alike = [count_below(norms[:k], 1.0, 2.0, InsecureNoiseForTests(1)) for k in range(7)]
    moved = [abs(b - a) for a, b in pairwise(alike)]
    assert moved == [0.5] * 6


def test_the_clip_finds_the_quantile() -> None:
    """Norms 1..100: the clip settles where the wanted share lies, from far above and below."""
    norms = torch.arange(1.0, 101.0)
    rng = InsecureNoiseForTests(3)
    for start, quantile in ((1e-2, 0.5), (1e4, 0.5), (1.0, 0.9)):
        clip_norm, late = start, []
        for step in range(300):
            share = count_below(norms, clip_norm, 5.0, rng) / 100 + 0.5
            clip_norm = next_clip(clip_norm, share, quantile, 0.2)
            late += [clip_norm] if step >= 200 else []
        assert sum(late) / 100 == pytest.approx(100 * quantile, rel=0.1)


def test_the_joint_multiplier_is_the_one_of_the_paper() -> None:
    """Theorem 1 with z = 1 and sigma_b = 1: gradients need (1 - (2 * 1)^-2)^(-1/2) = 1.1547."""
    assert joint_noise_multiplier((1 - 0.25) ** -0.5, 1.0) == pytest.approx(1.0)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.inf, math.nan])
def test_clipping_numbers_out_of_range_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="Expected"):
        next_clip(bad, 0.5, 0.5, 0.2)
    with pytest.raises(ValueError, match="Expected"):
        count_below(torch.ones(1), 1.0, bad, SecureRandom())
    with pytest.raises(ValueError, match="Expected"):
        joint_noise_multiplier(1.0, bad)


@pytest.mark.parametrize("many_rows", [False, True])
def test_batches_of_a_block_are_those_of_each_brand(many_rows: bool) -> None:
    """Poisson samples of three brands, in one call and brand by brand, compiled and not."""
    sizes, steps, rate = (5, 40, 17), 30, 0.3
    brands, first = [], 0
    for n in sizes:
        owner = torch.arange(n * (2 if many_rows else 1)) % n
        brands.append(Customers.of(owner, first))
        first += len(owner)
    pool = Pool.of(brands)
    assert pool.one_each != many_rows
    ways = (False, True)[: 1 + (find_spec("numba") is not None)]
    drawn = [
        drawn_together(pool, steps, rate, InsecureNoiseForTests(3), compiled=way) for way in ways
    ]
    coins = InsecureNoiseForTests(3).bernoulli(sum(sizes) * steps, rate)
    start = 0
    for a, n in enumerate(sizes):
        for s in range(steps):
            who = coins[start : start + n].nonzero()[:, 0] + sum(sizes[:a])
            start += n
            for one in drawn:
                mine = slice(*one.edge[a * steps + s : a * steps + s + 2])
                expected = who.repeat_interleave(2 if many_rows else 1)
                assert one.customer_n[mine].tolist() == expected.tolist()
                rows = one.row_n[mine] - brands[a].first
                assert (rows % n + sum(sizes[:a])).tolist() == expected.tolist()
                assert len(set(rows.tolist())) == len(rows)
    assert all(one.edge[-1] == len(one.row_n) for one in drawn)


def test_coins_of_a_large_block_fall_in_stretches() -> None:
    pool = Pool(np.array([3, 10, 2**21]), np.arange(13 + 2**21), np.ones(13 + 2**21, int), True)
    drawn = drawn_together(pool, 5, 0.01, SecureRandom(), compiled=False)
    sizes = np.diff(drawn.edge).reshape(3, 5)
    assert abs(sizes[2] / (0.01 * 2**21) - 1).max() < 0.06
    assert sizes[0].max() <= 3 and sizes[1].max() <= 10
    assert np.diff(drawn.customer_n[drawn.edge[10] : drawn.edge[11]]).min() > 0
