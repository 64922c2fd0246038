"""Where the item that came next stands in a ranking of the catalogue, and what that is worth.

An item's rank is how many others score higher, a tie counting half. Two competitions are held for
each item that came next: against the whole catalogue, and against 99 items drawn from those that the
customer does not have yet, as much of the literature does. Of the second, the expectation over all
draws is taken, which follows from the rank alone (Krichene and Rendle, "On Sampled Metrics for Item
Recommendation", KDD 2020, section 4): no draw, no luck.

Legend: ``_b`` row, ``_k`` item of the next basket, ``_n`` item of the catalogue; ``r`` rank from 0,
``m`` competitors.
"""

from __future__ import annotations

import numpy as np

from fl.contracts import Floats

TOP = 10  # places of the list that a customer is shown
NEGATIVES = 99


def ranks(score_bn: Floats, target_bk: np.ndarray, out_bn: np.ndarray) -> Floats:
    """Rank from 0 of each target among the items that compete with it, ``[b, k]``.

    Args:
        score_bn: of each item of the catalogue; NaN counts as the lowest.
        target_bk: int64 places in the catalogue from 0; -1 for none, whose rank is infinite.
        out_bn: bool, items that compete with no target (the targets themselves among them).
    """
    score_bn = np.where(np.isnan(score_bn), -np.inf, score_bn)
    own_bk = np.take_along_axis(score_bn, np.maximum(target_bk, 0), 1)
    rivals_bn = np.where(out_bn, -np.inf, score_bn)
    found = np.full(target_bk.shape, np.inf)
    for k in range(target_bk.shape[1]):
        own_b1 = own_bk[:, k, None]
        higher = (rivals_bn > own_b1).sum(1)
        ties = ((rivals_bn == own_b1) & ~out_bn).sum(1)
        found[:, k] = np.where(target_bk[:, k] >= 0, higher + ties / 2, np.inf)
    return found


def gains(rank: Floats) -> tuple[Floats, Floats]:
    """Hit and discounted gain within the first :data:`TOP` places; each in [0, 1].

    Järvelin and Kekäläinen, "Cumulated Gain-based Evaluation of IR Techniques", 2002, for one
    relevant item.

    >>> [x.round(3).tolist() for x in gains(np.array([0.0, 1.0, 10.0, np.inf]))]
    [[1.0, 1.0, 0.0, 0.0], [1.0, 0.631, 0.0, 0.0]]
    """
    hit = rank < TOP
    gain = np.zeros(rank.shape)
    gain[hit] = 1 / np.log2(rank[hit] + 2)
    return hit.astype(np.float64), gain


def sampled_gains(rank: Floats, rivals: Floats) -> tuple[Floats, Floats]:
    """The same among :data:`NEGATIVES` of ``rivals`` items, in expectation over their draw.

    Of ``rivals`` items, ``rank`` are better; of 99 drawn without replacement, a hypergeometric
    number is. With fewer than 99 rivals, all of them compete.

    >>> [round(float(x[0]), 4) for x in sampled_gains(np.array([10.0]), np.array([99.0]))]
    [0.0, 0.0]
    >>> [round(float(x[0]), 4) for x in sampled_gains(np.array([1.0]), np.array([9900.0]))]
    [1.0, 0.9963]
    """
    from scipy.stats import hypergeom

    known = np.isfinite(rank)
    good = np.floor(np.where(known, np.minimum(rank, rivals), 0)).astype(np.int64)
    many = np.maximum(rivals, 0).astype(np.int64)
    drawn = np.minimum(many, NEGATIVES)
    ahead = np.arange(TOP)
    chance = hypergeom.pmf(ahead, many[..., None], good[..., None], drawn[..., None])
    hit = np.where(known, chance.sum(-1), 0.0)
    gain = np.where(known, (chance / np.log2(ahead + 2)).sum(-1), 0.0)
    return np.clip(hit, 0.0, 1.0), np.clip(gain, 0.0, 1.0)
