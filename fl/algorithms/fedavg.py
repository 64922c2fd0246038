"""Federated averaging.

McMahan, Moore, Ramage, Hampson, Agüera y Arcas, "Communication-Efficient Learning of Deep Networks
from Decentralized Data", AISTATS 2017, Algorithm 1.

Legend: ``w`` the model, ``w_k`` brand k's model after local training, ``n_k`` what brand k counts
for (its examples under plan ``none``, a public constant under a private plan).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fl import arrays
from fl.arrays import Arrays
from fl.contracts import Limits, Local, Update
from fl.doors import Drift, Train, Trained

_NONE = Drift()


@dataclass(frozen=True, slots=True)
class FedAvg:
    """``w <- w + sum_k n_k (w_k - w) / sum_k n_k``; the state is ``w`` in float64."""

    name: str = "fedavg"

    @property
    def limits(self) -> Limits | None:
        """An update is a change of the model."""
        return None

    def init(self, params: Arrays) -> Arrays:
        """The state is the model itself."""
        return arrays.cast(params, np.float64)

    def broadcast(self, state: Arrays) -> Arrays:
        """``w`` in the model's precision."""
        return arrays.cast(state, np.float32)

    def local(self, received: Arrays, memory: Arrays) -> Local:
        """Train from ``w``; send ``n_k (w_k - w)`` and ``n_k``."""
        return local_change(received, memory, _NONE)

    def zero(self, state: Arrays) -> Arrays:
        """An update has the model's names and shapes."""
        return arrays.zeros_like(state)

    def apply(self, state: Arrays, mean: Arrays) -> Arrays:
        """Add the mean change."""
        return arrays.add(state, mean)

    def params(self, state: Arrays) -> Arrays:
        """``w`` in the model's precision."""
        return arrays.cast(state, np.float32)


def local_change(received: Arrays, memory: Arrays, drift: Drift) -> Local:
    """Train once from ``received`` under ``drift`` and send the weighted change."""
    trained = yield Train(received, drift)
    if not isinstance(trained, Trained):
        raise TypeError("Expected a Train to be answered by Trained.")
    change = arrays.subtract(trained.arrays, received)
    return Update(arrays.scale(change, trained.weight), trained.weight), memory
