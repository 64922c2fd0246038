"""The tree's counts: least squares over all levels, and quantiles read off them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.seeds import numpy_generator
from fl.tasks import tree


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
    """About 8 times that of a node; of the leaves alone it would be 22 in the middle."""
    rng, ends = numpy_generator(0, "prefix"), []
    for _ in range(200):
        rising = np.cumsum(tree.leaves(rng.normal(size=sum(tree.FINE)), tree.FINE))
        ends.append(rising[100:924:37])
    assert 1.7 < np.std(ends) < 2.4  # 4.1 in units of a customer's whole norm, over sqrt(4) levels


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), st.floats(0.01, 0.99))
def test_without_noise_a_quantile_is_in_the_bin_of_the_exact_one(u: list[float], q: float) -> None:
    bins = np.minimum((np.array(u) * 1024).astype(np.int64), 1023)
    rising = tree.cumulative(tree.leaves(tree.one_hot(bins, tree.FINE).sum(0), tree.FINE))
    found = tree.quantile(rising, q) * 1024
    exact = np.sort(bins)[int(np.ceil(q * len(u) - 1e-9)) - 1]
    assert exact - 1e-6 <= found <= exact + 1 + 1e-6


def test_a_place_and_its_share_are_inverse() -> None:
    rising = tree.cumulative(np.array([3.0, 1.0, 4.0, 2.0]))
    for q in (0.1, 0.5, 0.9):
        assert tree.share_below(rising, tree.quantile(rising, q)) == pytest.approx(q)
    assert np.isnan(tree.quantile(np.zeros(5), 0.5))
    assert np.all(np.diff(tree.cumulative(np.array([1.0, -5.0, 2.0]))) >= 0)
