"""SCAFFOLD: control variates against the drift of brands that differ.

Karimireddy, Kale, Mohri, Reddi, Stich, Suresh, "SCAFFOLD: Stochastic Controlled Averaging for
Federated Learning", ICML 2020, Algorithm 1 with option II of line 12. Option I would take one more
gradient from the data; option II reads the end point of training only, so under a private plan it
is post-processing.

Legend: ``x`` the model, ``c`` the server's control variate, ``c_i`` brand i's, ``y_i`` its model
after ``K`` local steps of size ``eta_l``, ``eta_g`` the server's step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fl import arrays
from fl.arrays import Arrays
from fl.contracts import Limits, Local, Update
from fl.doors import Drift, Train, Trained


@dataclass(frozen=True, slots=True)
class Scaffold:
    """The state holds ``x`` and ``c``, both float64 and of the model's shapes.

    Attributes:
        server_learning_rate: ``eta_g`` > 0.
        participation: ``|S| / N`` in (0, 1], the expected share of brands in a round; public.
    """

    name: str = "scaffold"
    server_learning_rate: float = 1.0
    participation: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.server_learning_rate < float("inf"):
            raise ValueError(f"Expected server_learning_rate={self.server_learning_rate} > 0.")
        if not 0 < self.participation <= 1:
            raise ValueError(f"Expected participation={self.participation} in (0, 1].")

    @property
    def limits(self) -> Limits | None:
        """An update is a change of the model and of the control variate, bounded together."""
        return None

    def init(self, params: Arrays) -> Arrays:
        """``x``, with ``c = 0``."""
        x = arrays.cast(params, np.float64)
        return {**arrays.within("x", x), **arrays.within("c", arrays.zeros_like(x))}

    def broadcast(self, state: Arrays) -> Arrays:
        """``x`` and ``c`` in the model's precision."""
        return arrays.cast(state, np.float32)

    def local(self, received: Arrays, memory: Arrays) -> Local:
        """Lines 7-13: train under ``c - c_i``, then move ``c_i`` by what the training did."""
        x, c = arrays.below("x", received), arrays.below("c", received)
        c_i = memory or arrays.zeros_like(c)
        correction = arrays.subtract(c, c_i)
        trained = yield Train(x, Drift(offset=correction))
        if not isinstance(trained, Trained):
            raise TypeError("Expected a Train to be answered by Trained.")
        change = arrays.subtract(trained.arrays, x)
        moved = arrays.zeros_like(c)  # c_i+ - c_i = -c - (y_i - x) / (K eta_l)
        if trained.steps:
            length = trained.steps * trained.learning_rate
            moved = arrays.subtract(arrays.scale(change, -1 / length), c)
        both = {**arrays.within("x", change), **arrays.within("c", moved)}
        return Update(arrays.scale(both, trained.weight), trained.weight), arrays.add(c_i, moved)

    def zero(self, state: Arrays) -> Arrays:
        """An update has the state's names and shapes."""
        return arrays.zeros_like(state)

    def apply(self, state: Arrays, mean: Arrays) -> Arrays:
        """Lines 16-17: ``x <- x + eta_g mean(y_i - x)``, ``c <- c + |S|/N mean(c_i+ - c_i)``."""
        x, c = arrays.below("x", mean), arrays.below("c", mean)
        step = {
            **arrays.within("x", arrays.scale(x, self.server_learning_rate)),
            **arrays.within("c", arrays.scale(c, self.participation)),
        }
        return arrays.add(state, step)

    def params(self, state: Arrays) -> Arrays:
        """``x`` in the model's precision."""
        return arrays.cast(arrays.below("x", state), np.float32)
