"""The tree's counts: least squares over all levels, and quantiles read off them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.seeds import numpy_generator
from fl.tasks import tree

BINS = tree.FINE[-1]


def strategy(levels: tuple[int, ...]) -> np.ndarray:
    """Which leaves each node counts: ``[nodes, leaves]``."""
    return tree.one_hot(np.arange(levels[-1]), levels).T


@pytest.mark.parametrize("levels", [tree.COARSE, (2, 16), (2, 16, 128), (1, 8, 64)])
def test_leaves_are_the_least_squares_fit_of_all_levels(levels: tuple[int, ...]) -> None:
    """Against numpy's solver on the explicit matrix (Hay et al. 2010, section 4.1)."""
    noisy = numpy_generator(0, "tree", str(levels)).normal(size=sum(levels))
    expected = np.linalg.lstsq(strategy(levels), noisy, rcond=None)[0]
    assert np.allclose(tree.leaves(noisy, levels), expected, atol=1e-9)


def test_a_prefix_of_the_whole_tree_has_the_noise_of_few_nodes() -> None:
    """Of the leaves alone it would be 45 times that of a node in the middle."""
    rng, ends = numpy_generator(0, "prefix"), []
    for _ in range(200):
        rising = np.cumsum(tree.leaves(rng.normal(size=sum(tree.FINE)), tree.FINE))
        ends.append(rising[400:3696:149])
    assert 1.6 < np.std(ends) < 2.1  # 4.6 in units of a customer's whole norm, over sqrt(6) levels


def test_without_noise_counts_are_exact_and_with_it_none_is_below_zero() -> None:
    rng = numpy_generator(0, "counts")
    exact = tree.one_hot(rng.integers(0, 300, 500), tree.FINE).sum(0)
    assert np.allclose(tree.counts(exact[None], tree.FINE)[0], exact[-BINS:])
    noisy = exact + rng.normal(0, 10, (3, len(exact)))
    found = tree.counts(noisy, tree.FINE)
    assert found.min() >= 0
    assert np.allclose(found.sum(1), found[0].sum())  # the same customers in each tree


def test_counts_are_closer_than_least_squares_alone() -> None:
    """Post-processing: the same noisy nodes, less error."""
    rng, apart = numpy_generator(1, "counts"), {"fitted": 0.0, "counts": 0.0}
    places = np.clip(rng.normal(1600, 360, 2000), 0, BINS - 1).astype(np.int64)
    exact = tree.one_hot(places, tree.FINE).sum(0)
    rising = np.cumsum(exact[-BINS:])
    for _ in range(20):
        noisy = exact + rng.normal(0, 15, len(exact))
        for name, leaf in (
            ("fitted", tree.leaves(noisy, tree.FINE)),
            ("counts", tree.counts(noisy[None], tree.FINE)[0]),
        ):
            apart[name] += float(np.abs(np.cumsum(leaf) - rising)[400:3600].mean())
    assert apart["counts"] < 0.9 * apart["fitted"]


def test_where_nobody_was_counted_noise_makes_nobody() -> None:
    assert tree.counts(np.full((1, sum(tree.COARSE)), -1.0), tree.COARSE).max() == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), st.floats(0.01, 0.99))
def test_without_noise_a_quantile_is_in_the_bin_of_the_exact_one(u: list[float], q: float) -> None:
    bins = np.minimum((np.array(u) * BINS).astype(np.int64), BINS - 1)
    exact_nodes = tree.one_hot(bins, tree.FINE).sum(0)
    rising = tree.cumulative(tree.counts(exact_nodes[None], tree.FINE)[0])
    found = tree.quantile(rising, q) * BINS
    exact = np.sort(bins)[int(np.ceil(q * len(u) - 1e-9)) - 1]
    assert exact - 1e-6 <= found <= exact + 1 + 1e-6


def test_a_place_and_its_share_are_inverse() -> None:
    rising = tree.cumulative(np.array([3.0, 1.0, 4.0, 2.0]))
    for q in (0.1, 0.5, 0.9):
        assert tree.share_below(rising, tree.quantile(rising, q)) == pytest.approx(q)
    assert np.isnan(tree.quantile(np.zeros(5), 0.5))
