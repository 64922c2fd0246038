"""Federated SGD: every brand sends the gradient of its customers' losses, the server steps.

McMahan, Moore, Ramage, Hampson, Agüera y Arcas, "Communication-Efficient Learning of Deep Networks
from Decentralized Data", AISTATS 2017, section 2 (FederatedSGD). The server's step has heavy-ball
momentum (Hsu, Qi, Brown, arXiv 1909.06335, section 4.3, FedAvgM), and the model that is given out
is the mean of the last iterates (Polyak and Juditsky 1992; tail averaging, Jain et al. 2018). Both
read sums that were released already, so they cost no privacy.

Under a private plan this is DP-SGD (Abadi et al. 2016, Algorithm 1) with one step a round: the sum
of the customers' clipped gradients is what a secure sum and shared noise protect best.

Legend: ``w`` the iterate, ``v`` its velocity, ``a`` the mean of the iterates from ``tail`` on,
``t`` the number of steps, ``g`` the mean gradient of a customer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fl import arrays
from fl.arrays import Arrays
from fl.contracts import Limits, Local, Update
from fl.doors import Counted, Of, Query, Statistic


@dataclass(frozen=True, slots=True)
class FedSgd:
    """``v <- momentum v + g + decay w``, then ``w <- w - rate v``. All state is float64.

    Attributes:
        server_learning_rate: ``rate`` > 0.
        momentum: in [0, 1).
        weight_decay: ``decay`` >= 0.
        tail: iterates from this step on are averaged, >= 0; 0 gives out the last iterate.
    """

    name: str = "fedsgd"
    server_learning_rate: float = 1.0
    momentum: float = 0.9
    weight_decay: float = 0.0
    tail: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.server_learning_rate < float("inf"):
            raise ValueError(f"Expected server_learning_rate={self.server_learning_rate} > 0.")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"Expected momentum={self.momentum} in [0, 1).")
        if not 0 <= self.weight_decay < float("inf") or self.tail < 0:
            raise ValueError(
                f"Expected weight_decay={self.weight_decay} >= 0 and tail={self.tail} >= 0."
            )

    @property
    def limits(self) -> Limits | None:
        """An update is a gradient, in the shape of the model."""
        return None

    def init(self, params: Arrays) -> Arrays:
        """``w``, with ``v = 0``, ``a = w`` and ``t = 0``."""
        w = arrays.cast(params, np.float64)
        return {
            **arrays.within("w", w),
            **arrays.within("v", arrays.zeros_like(w)),
            **arrays.within("a", w),
            "t": np.zeros(()),
        }

    def broadcast(self, state: Arrays) -> Arrays:
        """``w`` in the model's precision: gradients are taken at the iterate, not at the mean."""
        return arrays.cast(arrays.below("w", state), np.float32)

    def local(self, received: Arrays, memory: Arrays) -> Local:
        """Ask for the customers' gradient at ``w``, and send it."""
        counted = yield Query(Statistic("train", Of.GRADIENT, received))
        if not isinstance(counted, Counted):
            raise TypeError("Expected a Query to be answered by Counted.")
        return Update(counted.sums, counted.weight), memory

    def zero(self, state: Arrays) -> Arrays:
        """An update has the model's names and shapes."""
        return arrays.zeros_like(arrays.below("w", state))

    def apply(self, state: Arrays, mean: Arrays) -> Arrays:
        """One step, and its place in the running mean."""
        w, v, a = (arrays.below(part, state) for part in "wva")
        t = float(state["t"]) + 1
        v = arrays.add(arrays.scale(v, self.momentum), mean)
        v = arrays.add(v, arrays.scale(w, self.weight_decay))
        w = arrays.subtract(w, arrays.scale(v, self.server_learning_rate))
        share = 1 / (t - self.tail + 1) if self.tail and t >= self.tail else 1.0
        a = arrays.add(a, arrays.scale(arrays.subtract(w, a), share))
        return {
            **arrays.within("w", w),
            **arrays.within("v", v),
            **arrays.within("a", a),
            "t": np.array(t),
        }

    def params(self, state: Arrays) -> Arrays:
        """The mean of the last iterates in the model's precision."""
        return arrays.cast(arrays.below("a", state), np.float32)
