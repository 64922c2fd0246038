"""FedOpt: an adaptive optimizer at the coordinator (FedAdagrad, FedAdam, FedYogi).

Reddi, Charles, Zaheer, Garrett, Rush, Konečný, Kumar, McMahan, "Adaptive Federated Optimization",
ICLR 2021, Algorithm 2. No bias correction, as in the paper.

Legend: ``delta`` the brands' mean change, ``m`` and ``v`` its first and second moment, ``eta`` the
server's learning rate, ``tau`` the degree of adaptivity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fl import arrays
from fl.algorithms.fedavg import FedAvg, local_change
from fl.arrays import Array, Arrays
from fl.contracts import Floats, Limits, Local
from fl.doors import Drift

_NAMES = ("fedadam", "fedyogi", "fedadagrad")


@dataclass(frozen=True, slots=True)
class FedOpt:
    """The state holds ``w``, ``m`` and ``v``, all float64 and of the model's shapes.

    Attributes:
        name: ``fedadam``, ``fedyogi`` or ``fedadagrad``; which second moment (line 12 of
            Algorithm 2).
        server_learning_rate: ``eta``, > 0.
        beta1: decay of ``m``, in [0, 1).
        beta2: decay of ``v``, in [0, 1); fedadagrad has none.
        tau: > 0; also starts ``v`` at ``tau^2`` unless ``v0`` says otherwise.
        v0: first value of ``v``, >= 0; negative means ``tau^2``, the paper's lower bound.
    """

    name: str = "fedadam"
    server_learning_rate: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.99
    tau: float = 1e-3
    v0: float = -1.0

    def __post_init__(self) -> None:
        if self.name not in _NAMES:
            raise ValueError(f"Expected name={self.name!r} to be one of {_NAMES}.")
        if not (self.server_learning_rate > 0 and self.tau > 0):
            raise ValueError(
                f"Expected server_learning_rate={self.server_learning_rate} > 0 and "
                f"tau={self.tau} > 0."
            )
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1):
            raise ValueError(f"Expected beta1={self.beta1} and beta2={self.beta2} in [0, 1).")

    @property
    def limits(self) -> Limits | None:
        """An update is a change of the model."""
        return None

    def init(self, params: Arrays) -> Arrays:
        """``w``, with ``m = 0`` and ``v = v0``."""
        zero = arrays.zeros_like(params)
        start = self.tau**2 if self.v0 < 0 else self.v0
        second = {name: np.full(x.shape, start) for name, x in zero.items()}
        return {
            **arrays.within("w", FedAvg().init(params)),
            **arrays.within("m", zero),
            **arrays.within("v", second),
        }

    def broadcast(self, state: Arrays) -> Arrays:
        """``w`` in the model's precision; moments stay at the coordinator."""
        return self.params(state)

    def local(self, received: Arrays, memory: Arrays) -> Local:
        """As FedAvg: train from ``w`` and send the weighted change."""
        return local_change(received, memory, Drift())

    def zero(self, state: Arrays) -> Arrays:
        """An update has the model's names and shapes."""
        return arrays.zeros_like(arrays.below("w", state))

    def apply(self, state: Arrays, mean: Arrays) -> Arrays:
        """Lines 10-13: moments of ``delta``, then ``w <- w + eta m / (sqrt(v) + tau)``."""
        w, m, v = (arrays.below(part, state) for part in "wmv")
        stepped: dict[str, Array] = {}
        for name in w:
            delta = np.asarray(mean[name], np.float64)
            first = self.beta1 * np.asarray(m[name], np.float64) + (1 - self.beta1) * delta
            second = self._second(np.asarray(v[name], np.float64), delta**2)
            step = self.server_learning_rate * first / (np.sqrt(second) + self.tau)
            stepped[f"w/{name}"] = np.asarray(w[name], np.float64) + step
            stepped[f"m/{name}"] = first
            stepped[f"v/{name}"] = second
        return stepped

    def _second(self, v: Floats, square: Floats) -> Floats:
        if self.name == "fedadagrad":
            return v + square
        if self.name == "fedadam":
            return self.beta2 * v + (1 - self.beta2) * square
        return v - (1 - self.beta2) * square * np.sign(v - square)

    def params(self, state: Arrays) -> Arrays:
        """``w`` in the model's precision."""
        return arrays.cast(arrays.below("w", state), np.float32)
