"""Counts over 1,024 bins as an 8-ary tree: any prefix is the sum of few noisy nodes.

Hay, Rastogi, Miklau, Suciu, "Boosting the Accuracy of Differentially Private Histograms Through
Consistency", PVLDB 2010, section 4 (the tree, and the best linear combination of its levels);
Qardaji, Yang, Li, "Understanding Hierarchical Methods for Differentially Private Histograms", PVLDB
2013 (why 8 or so children). What is done here is done with noisy counts, after their release.

Legend: a tree of ``levels`` (2, 16, 128, 1024) has 2 roots with 8 children each, and so on; its
nodes are stored level after level.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fl.contracts import Floats, Ints

FINE, COARSE = (2, 16, 128, 1024), (4, 32)  # numbers of nodes, level by level


def one_hot(bin_b: Ints, levels: Sequence[int]) -> Floats:
    """The nodes above each row's leaf: float64 ``[b, nodes]`` of 0 and 1, one 1 a level.

    Args:
        bin_b: int64 in [0, levels[-1]).

    >>> one_hot(np.array([9]), (2, 16)).nonzero()[1].tolist()
    [1, 11]
    """
    hot = np.zeros((len(bin_b), sum(levels)))
    start, rows = 0, np.arange(len(bin_b))
    for nodes in levels:
        hot[rows, start + bin_b // (levels[-1] // nodes)] = 1.0
        start += nodes
    return hot


def leaves(noisy: Floats, levels: Sequence[int]) -> Floats:
    """Counts of the leaves that fit all levels best: least squares, every node equally noisy.

    One pass up (a node and the sum of its children, weighted by their variances), one pass down
    (what children lack of their parent is shared among them); Hay et al. 2010, section 4.2.

    Args:
        noisy: float64 ``[nodes]``.

    Returns:
        Float64 ``[levels[-1]]``; may be below zero.

    >>> exact = one_hot(np.array([0, 9, 9]), (2, 16)).sum(0)
    >>> leaves(exact, (2, 16))[[0, 9]].tolist()
    [1.0, 2.0]
    """
    level = [x.copy() for x in np.split(np.asarray(noisy, np.float64), np.cumsum(levels)[:-1])]
    variance = 1.0
    for i in range(len(levels) - 2, -1, -1):
        children = levels[i + 1] // levels[i]
        below, of_below = level[i + 1].reshape(levels[i], children).sum(1), children * variance
        level[i] = (of_below * level[i] + below) / (of_below + 1.0)
        variance = of_below / (of_below + 1.0)
    for i in range(len(levels) - 1):
        children = levels[i + 1] // levels[i]
        lacking = level[i] - level[i + 1].reshape(levels[i], children).sum(1)
        level[i + 1] = level[i + 1] + np.repeat(lacking / children, children)
    return level[-1]


def cumulative(leaf: Floats) -> Floats:
    """The counts up to each leaf's upper edge, made to rise from 0: float64 ``[leaves + 1]``.

    Isotonic regression keeps what noise has not turned upside down.
    """
    from sklearn.isotonic import isotonic_regression

    rising = isotonic_regression(np.cumsum(leaf), y_min=0.0)
    return np.concatenate([[0.0], rising])


def quantile(rising: Floats, q: float) -> float:
    """Where a share ``q`` of the counts lies below, as a share of all leaves' width, in [0, 1].

    Within a leaf, counts are taken to be spread evenly. NaN where nothing was counted.

    >>> quantile(np.array([0.0, 2.0, 4.0]), 0.25)
    0.25
    """
    if not rising[-1] > 0:
        return float("nan")
    at = q * rising[-1]
    leaf = int(np.clip(np.searchsorted(rising, at, side="left") - 1, 0, len(rising) - 2))
    inside = (at - rising[leaf]) / max(rising[leaf + 1] - rising[leaf], 1e-12)
    return float((leaf + np.clip(inside, 0.0, 1.0)) / (len(rising) - 1))


def share_below(rising: Floats, place: float) -> float:
    """The inverse of :func:`quantile`: the share of counts below ``place`` in [0, 1]."""
    at = np.clip(place, 0.0, 1.0) * (len(rising) - 1)
    return float(np.interp(at, np.arange(len(rising)), rising) / max(rising[-1], 1e-12))
