"""Fine-tuning at the brand after the last round: the simplest personalisation.

Train on from the federated model on the brand's own rows, held near it by a pull ``lambda``
(Li, Hu, Beirami, Smith, "Ditto", ICML 2021, equation 2, started at the federated model and solved
once). The tuned model stays at the brand, in its memory; the update is empty.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fl import arrays
from fl.arrays import Arrays
from fl.contracts import Limits, Local, Update
from fl.doors import Drift, LocalOnly, Personal


@dataclass(frozen=True, slots=True)
class FineTune:
    """One round whose result never leaves: ``Memory.personal`` gets the model.

    Attributes:
        pull: ``lambda`` >= 0, strength of the pull towards the federated model.
    """

    pull: float = 0.0
    name: str = "finetune"

    def __post_init__(self) -> None:
        if not 0 <= self.pull < float("inf"):
            raise ValueError(f"Expected pull={self.pull} >= 0.")

    @property
    def limits(self) -> Limits | None:
        """An update of no statistics: there is nothing to bound or to noise."""
        return {}

    def init(self, params: Arrays) -> Arrays:
        """The state is the federated model."""
        return params

    def broadcast(self, state: Arrays) -> Arrays:
        """The federated model in its own precision."""
        return arrays.cast(state, np.float32)

    def local(self, received: Arrays, memory: Arrays) -> Local:
        """Open the ``Personal`` door; the model stays behind it, nothing is sent."""
        tuned = yield Personal(received, Drift(pull=self.pull, anchor=received))
        if not isinstance(tuned, LocalOnly):
            raise TypeError("Expected a Personal to be answered by LocalOnly.")
        return Update({}, 1.0), memory

    def zero(self, state: Arrays) -> Arrays:
        """The update is empty."""
        return {}

    def apply(self, state: Arrays, mean: Arrays) -> Arrays:
        """The federated model stays as it is."""
        return state

    def params(self, state: Arrays) -> Arrays:
        """The federated model."""
        return state
