"""k-means over brands: Lloyd's iterations on counted sums.

Lloyd, "Least squares quantization in PCM", IEEE Trans. Information Theory 1982. Private: Su, Cao,
Li, Bertino, Jin, "Differentially Private k-Means Clustering", CODASPY 2016, section 3 (DPLloyd): in
every iteration each customer adds 1 and its point to its nearest centre's count and sum, and noised
sums are divided. The first centres are public (section 3.2 there), spread as k-means++ does
(Arthur, Vassilvitskii, SODA 2007) over a public sample (``spread_out``): nobody's point is one.

Legend: ``s`` start, ``k`` centre, ``f`` feature. Several starts share every iteration; the one with
the smallest sum of squared distances is kept, which without noise is what restarts are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fl import arrays
from fl.arrays import Arrays
from fl.contracts import Floats, Limits, Local, Update
from fl.doors import Counted, Of, Query, Statistic

_FEW = 0.02  # a centre with a smaller share of the customers than this over k is moved


def spread_out(public_nf: Floats, centres: int, draws_k: Floats) -> Floats:
    """Centres among public points, far from each other: ``[centres, f]``.

    k-means++: each next one is drawn with probability in proportion to the squared distance to the
    nearest centre so far.

    Args:
        public_nf: float64 points that are nobody's.
        draws_k: numbers in [0, 1), one for each centre.
    """
    chosen = [public_nf[int(draws_k[0] * len(public_nf))]]
    nearest_n = ((public_nf - chosen[0]) ** 2).sum(1)
    for draw in draws_k[1:centres]:
        at = int(np.searchsorted(np.cumsum(nearest_n), draw * nearest_n.sum(), side="right"))
        chosen.append(public_nf[min(at, len(public_nf) - 1)])
        nearest_n = np.minimum(nearest_n, ((public_nf - chosen[-1]) ** 2).sum(1))
    return np.stack(chosen)


@dataclass(frozen=True, slots=True)
class KMeans:
    """Iterations, then one round that describes what was found.

    Attributes:
        starts, centres, features: the shape of the centres.
        iterations: of Lloyd's, >= 1.
        count_weight, point_weight, distance_weight: what one customer adds to a count, per unit of
            a scaled coordinate, and per unit of a squared distance; the task's own numbers.
        described: entries of the last round's statistic.
        share_described: its part of what the run may spend; iterations share the rest equally.
    """

    starts: int
    centres: int
    features: int
    iterations: int
    described: int
    count_weight: float = 1.0
    point_weight: float = 1.0
    share_described: float = 0.3
    name: str = "kmeans"

    def __post_init__(self) -> None:
        if min(self.starts, self.features, self.iterations) < 1 or self.centres < 2:
            raise ValueError(
                f"Expected starts={self.starts}, features={self.features} and "
                f"iterations={self.iterations} >= 1 and centres={self.centres} >= 2."
            )
        if not 0 < self.share_described < 1:
            raise ValueError(f"Expected share_described={self.share_described} in (0, 1).")

    @property
    def rounds(self) -> int:
        """The iterations, and one more."""
        return self.iterations + 1

    @property
    def limits(self) -> Limits:
        """A customer moves each sum by at most 1."""
        return {"clusters": 1.0, "portrait": 1.0}

    def init(self, params: Arrays) -> Arrays:
        """``params["centres"]`` are the first ones, ``[s, k, f]``; public."""
        shape = (self.starts, self.centres, self.features)
        first = np.asarray(params.get("centres", np.zeros(shape)), np.float64)
        return {
            "round": np.zeros(()),
            "centres": first,
            "counts": np.zeros(shape[:2]),
            "distances": np.full(self.starts, np.inf),
            "portrait": np.zeros(self.described),
        }

    def broadcast(self, state: Arrays) -> Arrays:
        """The centres; in the last round those of the best start, in every start's place."""
        centres = np.asarray(state["centres"], np.float64)
        if self._describes(state):
            best = int(np.argmin(np.asarray(state["distances"], np.float64)))
            centres = np.repeat(centres[best : best + 1], self.starts, 0)
        return {"round": state["round"], "centres": centres}

    def local(self, received: Arrays, memory: Arrays) -> Local:
        """Open the ``Query`` door once."""
        last = self._describes(received)
        share = self.share_described if last else (1 - self.share_described) / self.iterations
        asked = Statistic(
            "all",
            Of.RECORDS,
            {"centres": received["centres"]},
            ("portrait",) if last else ("clusters",),
            share,
        )
        counted = yield Query(asked)
        if not isinstance(counted, Counted):
            raise TypeError("Expected a Query to be answered by Counted.")
        return Update(counted.sums, 0.0), memory

    def zero(self, state: Arrays) -> Arrays:
        """Per start and centre: count, sum of points, sum of squared distances; or the portrait."""
        if self._describes(state):
            return arrays.zeros_like({"portrait": np.zeros(self.described)})
        width = self.features + 2
        return arrays.zeros_like({"clusters": np.zeros((self.starts, self.centres, width))})

    def apply(self, state: Arrays, mean: Arrays) -> Arrays:
        """Sums divided by counts; a centre that hardly anybody is near is moved."""
        following = {**state, "round": np.asarray(state["round"], np.float64) + 1.0}
        if self._describes(state):
            return {**following, "portrait": mean["portrait"]}
        sums = np.asarray(mean["clusters"], np.float64)
        counts_sk = sums[..., 0] / self.count_weight
        points_skf = sums[..., 1:-1] / self.point_weight
        old = np.asarray(state["centres"], np.float64)
        few_sk = counts_sk <= _FEW / self.centres * np.maximum(counts_sk.sum(1, keepdims=True), 1.0)
        divided = points_skf / np.where(few_sk, 1.0, counts_sk)[..., None]
        centres = np.clip(np.where(few_sk[..., None], old, divided), -1.0, 1.0)
        for s in range(self.starts):
            centres[s] = self._moved(centres[s], counts_sk[s], few_sk[s])
        return {
            **following,
            "centres": centres,
            "counts": counts_sk,
            "distances": sums[..., -1].sum(1),
        }

    def params(self, state: Arrays) -> Arrays:
        """The answer."""
        return state

    def _describes(self, arrays_: Arrays) -> bool:
        return int(np.asarray(arrays_["round"])) >= self.iterations

    def _moved(self, centre_kf: Floats, count_k: Floats, few_k: Floats) -> Floats:
        """Empty centres beside the fullest ones, which then share their customers."""
        if few_k.all():
            return centre_kf
        fullest = list(np.argsort(-count_k))
        for turn, k in enumerate(np.flatnonzero(few_k)):
            beside = centre_kf[fullest[turn]]
            step = 0.1 * (1.0 if turn % 2 == 0 else -1.0)
            centre_kf[k] = np.clip(beside + step, -1.0, 1.0)
        return centre_kf
