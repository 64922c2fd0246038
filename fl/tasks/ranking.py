"""Where the item that came next stands in a ranking of the catalogue, and what that is worth.

An item's rank is how many others score higher, a tie counting half. Two competitions are held for
each item that came next: against the whole catalogue, and against 99 items drawn from those that
the customer does not have yet, as much of the literature does. Of the second, the expectation over
all draws can be taken, which follows from the rank alone (Krichene and Rendle, "On Sampled Metrics
for Item Recommendation", KDD 2020, section 4): no draw, no luck; or they are drawn once for each
row, as published figures have it.

Legend: ``_b`` row, ``_k`` item of the next basket, ``_n`` item of the catalogue; ``r`` rank from 0,
``m`` competitors.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fl.contracts import Floats, Ints
from fl.seeds import numpy_generator

TOP = 10  # places of the list that a customer is shown
NEGATIVES = 99
LOSS_LIMIT = 16.0  # one row adds at most this to the log loss


def ranks(score_bn: Floats, target_bk: Ints, out_bn: npt.NDArray[np.bool_]) -> Floats:
    """Rank from 0 of each target among the items that compete with it, ``[b, k]``.

    Args:
        score_bn: of each item of the catalogue; NaN counts as the lowest.
        target_bk: int64 places in the catalogue from 0; -1 for none, whose rank is infinite.
        out_bn: bool, items that compete with no target (the targets themselves among them).
    """
    score_bn = np.where(np.isnan(score_bn), -np.inf, score_bn)
    found = np.full(target_bk.shape, np.inf)
    for b, (score_n, target_k) in enumerate(zip(score_bn, target_bk, strict=True)):
        asked_k = target_k >= 0
        rivals_m = np.sort(score_n[~out_bn[b]])
        own_k = score_n[target_k[asked_k]]
        higher_k = len(rivals_m) - np.searchsorted(rivals_m, own_k, "right")
        as_high_k = len(rivals_m) - np.searchsorted(rivals_m, own_k, "left")
        found[b, asked_k] = (higher_k + as_high_k) / 2
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
    known = np.isfinite(rank)
    many = np.where(known, np.maximum(rivals, 0), 0).astype(np.int64)
    good = np.floor(np.where(known, np.minimum(rank, many), 0)).astype(np.int64)
    drawn = np.minimum(many, NEGATIVES)
    log_factorial = np.concatenate([[0.0], np.log(np.arange(1, many.max(initial=0) + 1)).cumsum()])
    hit, gain = np.zeros(rank.shape), np.zeros(rank.shape)
    for ahead in range(TOP):  # so many of the better ones are among those drawn
        chance = np.exp(
            _log_choose(log_factorial, good, np.full_like(good, ahead))
            + _log_choose(log_factorial, many - good, drawn - ahead)
            - _log_choose(log_factorial, many, drawn)
        )
        hit += chance
        gain += chance / np.log2(ahead + 2)
    return np.where(known, np.minimum(hit, 1.0), 0.0), np.where(known, np.minimum(gain, 1.0), 0.0)


def drawn(open_bn: npt.NDArray[np.bool_], history_bl: Ints) -> npt.NDArray[np.bool_]:
    """:data:`NEGATIVES` of each row's open items, or all of them if they are fewer, ``[b, n]``.

    Drawn without replacement by a generator that depends on the row's history alone: a row has the
    same competitors in every arm, seed and batch.
    """
    chosen_bn = np.zeros(open_bn.shape, np.bool_)
    for b, (open_n, history_l) in enumerate(zip(open_bn, history_bl, strict=True)):
        items = np.flatnonzero(open_n)
        rng = numpy_generator(0, "negatives", *map(int, history_l[history_l > 0]))
        chosen_bn[b, rng.choice(items, min(NEGATIVES, len(items)), replace=False)] = True
    return chosen_bn


def _log_choose(log_factorial: Floats, n: Ints, k: Ints) -> Floats:
    """Logarithm of the number of ways to choose ``k`` of ``n``; minus infinity where there is none.

    >>> log_factorial = np.log([1, 1, 2, 6])
    >>> np.exp(_log_choose(log_factorial, np.array([3, 3]), np.array([2, 4]))).round(6).tolist()
    [3.0, 0.0]
    """
    possible = (k >= 0) & (k <= n)
    inside = np.where(possible, k, 0)
    found = log_factorial[n] - log_factorial[inside] - log_factorial[n - inside]
    return np.where(possible, found, -np.inf)


def marked(number_bx: Ints, items: int) -> npt.NDArray[np.bool_]:
    """Which items of the catalogue are named, ``[b, items]``."""
    marked = np.zeros((len(number_bx), items + 1), np.bool_)
    np.put_along_axis(marked, np.maximum(number_bx, 0), True, 1)
    return marked[:, 1:]


def mean_over(value_bk: Floats, counted_bk: npt.NDArray[np.bool_]) -> Floats:
    """Mean over the counted entries of each row, ``[b]``; 0 where none is."""
    mean_b: Floats = np.where(counted_bk, value_bk, 0.0).sum(1) / np.maximum(counted_bk.sum(1), 1)
    return mean_b


def bounded_log_loss(score_bn: Floats, place_bk: Ints, asked_bk: npt.NDArray[np.bool_]) -> Floats:
    """Mean negative log likelihood of the items asked for, each at most the limit; NaN if scores
    are."""
    own_bk = np.take_along_axis(score_bn, np.maximum(place_bk, 0), 1)
    best_b1 = score_bn.max(1, keepdims=True)
    total_b1 = np.log(np.exp(score_bn - best_b1).sum(1, keepdims=True)) + best_b1
    loss_bk = np.where(place_bk >= 0, total_b1 - own_bk, LOSS_LIMIT)
    return mean_over(np.minimum(loss_bk, LOSS_LIMIT), asked_bk)


def recommended(score_bn: Floats) -> Ints:
    """The numbers of the ten best items, ``[b, 10]``; a smaller catalogue names its last again."""
    order_bn = np.argsort(-np.nan_to_num(score_bn, nan=-np.inf), axis=1, kind="stable")
    best_bt = order_bn[:, :TOP] + 1
    return np.pad(best_bt, ((0, 0), (0, max(0, TOP - best_bt.shape[1]))), mode="edge")
