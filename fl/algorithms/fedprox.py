"""FedProx: local training held near the global model.

Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith, "Federated Optimization in Heterogeneous Networks",
MLSys 2020, Algorithm 2. Each brand minimises ``F_k(w) + (mu / 2) ||w - w_t||^2`` inexactly.
"""

from __future__ import annotations

from dataclasses import dataclass

from fl.algorithms.fedavg import FedAvg, local_change
from fl.arrays import Arrays
from fl.contracts import Limits, Local
from fl.doors import Drift


@dataclass(frozen=True, slots=True)
class FedProx:
    """FedAvg with the proximal term as a drift: ``mu (w - w_t)`` joins the gradient.

    Attributes:
        mu: strength of the pull, >= 0; 0 is FedAvg.
    """

    name: str = "fedprox"
    mu: float = 0.01

    def __post_init__(self) -> None:
        if not 0 <= self.mu < float("inf"):
            raise ValueError(f"Expected mu={self.mu} >= 0.")

    @property
    def limits(self) -> Limits | None:
        """An update is a change of the model."""
        return None

    def init(self, params: Arrays) -> Arrays:
        """As FedAvg."""
        return FedAvg().init(params)

    def broadcast(self, state: Arrays) -> Arrays:
        """As FedAvg."""
        return FedAvg().broadcast(state)

    def local(self, received: Arrays, memory: Arrays) -> Local:
        """Train from ``w_t``, pulled back to it; send the weighted change."""
        return local_change(received, memory, Drift(pull=self.mu, anchor=received))

    def zero(self, state: Arrays) -> Arrays:
        """As FedAvg."""
        return FedAvg().zero(state)

    def apply(self, state: Arrays, mean: Arrays) -> Arrays:
        """As FedAvg."""
        return FedAvg().apply(state, mean)

    def params(self, state: Arrays) -> Arrays:
        """As FedAvg."""
        return FedAvg().params(state)
