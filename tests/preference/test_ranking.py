"""Ranks and what they are worth, against counting by hand, by lot and by scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import hypergeom

from fl.tasks.ranking import NEGATIVES, TOP, drawn, gains, ranks, sampled_gains


def one_rank(scores: list[float], target: int, out: tuple[int, ...] = ()) -> float:
    score = np.array([scores], np.float64)
    mask = np.zeros(score.shape, np.bool_)
    mask[0, [target, *out]] = True
    return float(ranks(score, np.array([[target]]), mask)[0, 0])


def test_the_rank_counts_who_is_better_and_half_of_the_ties() -> None:
    assert one_rank([3, 2, 1], 0) == 0
    assert one_rank([3, 2, 1], 2) == 2
    assert one_rank([1, 1, 1], 1) == 1
    assert one_rank([5, 5, 9, 1], 1) == 1.5


def test_who_is_out_does_not_compete() -> None:
    assert one_rank([3, 2, 1], 2, out=(0,)) == 1
    assert one_rank([3, 2, 1], 2, out=(0, 1)) == 0


def test_a_score_that_is_none_is_the_lowest() -> None:
    assert one_rank([np.nan, 0.0, -1.0], 0) == 2
    assert one_rank([np.nan, 0.0], 1) == 0


def test_what_is_not_looked_for_has_no_rank() -> None:
    found = ranks(np.ones((1, 3)), np.array([[-1]]), np.zeros((1, 3), np.bool_))
    assert np.isinf(found[0, 0])
    assert [x[0, 0] for x in (*gains(found), *sampled_gains(found, np.array([[3.0]])))] == [0] * 4


@pytest.mark.parametrize(("rank", "rivals"), [(0, 500), (3, 200), (60, 3000), (700, 3000)])
def test_the_sampled_metric_is_the_mean_over_draws(rank: int, rivals: int) -> None:
    """Twenty thousand draws of 99 items; the better ones are numbers below the rank."""
    rng = np.random.default_rng(1)
    ahead = rng.hypergeometric(rank, rivals - rank, NEGATIVES, 20_000)
    hit, gain = sampled_gains(np.array([float(rank)]), np.array([float(rivals)]))
    drawn_hit, drawn_gain = gains(ahead.astype(np.float64))
    assert hit[0] == pytest.approx(drawn_hit.mean(), abs=0.015)
    assert gain[0] == pytest.approx(drawn_gain.mean(), abs=0.015)


def test_the_chances_are_scipys() -> None:
    rng = np.random.default_rng(2)
    rivals = rng.integers(1, 400, 200)
    rank = rng.integers(0, rivals + 1)
    drawn = np.minimum(rivals, NEGATIVES)
    expected = hypergeom.cdf(TOP - 1, rivals, rank, drawn)
    hit, gain = sampled_gains(rank.astype(np.float64), rivals.astype(np.float64))
    assert np.allclose(hit, expected, atol=1e-9)
    assert ((gain <= hit + 1e-12) & (gain >= 0)).all()


def test_with_few_rivals_all_compete() -> None:
    rank, rivals = np.array([3.0, 12.0]), np.array([50.0, 50.0])
    for full, sampled in zip(gains(rank), sampled_gains(rank, rivals), strict=True):
        assert np.allclose(full, sampled)


def test_a_rank_of_none_among_none_is_the_first_place() -> None:
    hit, gain = sampled_gains(np.array([0.0]), np.array([0.0]))
    assert (hit[0], gain[0]) == (1.0, 1.0)


def test_drawn_competitors_are_open_items_and_the_same_in_any_company() -> None:
    rng = np.random.default_rng(3)
    open_bn = rng.uniform(size=(6, 400)) < 0.7
    open_bn[5, 30:] = False  # fewer than are drawn: all of them
    history_bl = rng.integers(1, 400, (6, 5))
    chosen = drawn(open_bn, history_bl)
    assert not (chosen & ~open_bn).any()
    assert chosen.sum(1).tolist() == [NEGATIVES] * 5 + [open_bn[5].sum()]
    assert np.array_equal(drawn(open_bn[2:4], history_bl[2:4]), chosen[2:4])
    assert not np.array_equal(chosen[0], chosen[1])


def test_the_drawn_metric_is_the_expected_one_but_for_the_draw() -> None:
    """The same model on 600 rows: the draws' mean is within three standard errors."""
    rng = np.random.default_rng(4)
    score_bn, target_b1 = rng.normal(size=(600, 500)), rng.integers(0, 500, (600, 1))
    np.put_along_axis(score_bn, target_b1, 1.5, 1)
    open_bn = np.ones(score_bn.shape, np.bool_)
    np.put_along_axis(open_bn, target_b1, False, 1)
    competes_bn = drawn(open_bn, rng.integers(1, 400, (600, 8)))
    _, gain = gains(ranks(score_bn, target_b1, ~competes_bn))
    _, expected = sampled_gains(ranks(score_bn, target_b1, ~open_bn), np.full((600, 1), 499.0))
    assert abs(gain.mean() - expected.mean()) < 3 * gain.std() / 600**0.5
