"""Ranks and what they are worth, against counting by hand, by lot and by scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import hypergeom

from fl.tasks.ranking import NEGATIVES, TOP, gains, ranks, sampled_gains


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
