"""One counted round: the sums of a task's statistics over all brands' customers.

Corrigan-Gibbs, Boneh, "Prio: Private, Robust, and Scalable Computation of Aggregate Statistics",
NSDI 2017, section 2: whatever can be written as a sum of one vector a customer needs one sum. What
the vectors are is the task's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fl import arrays
from fl.arrays import Arrays
from fl.contracts import Limits, Local, Update
from fl.doors import Counted, Of, Query, Statistic


@dataclass(frozen=True, slots=True)
class Counts:
    """Asks every brand once.

    Attributes:
        shapes: of the task's statistics that are asked for, by name.
        limits: what one customer can add to each, in L2.
        split: which of the brand's rows.
    """

    shapes: Mapping[str, tuple[int, ...]]
    limits: Limits
    split: str = "all"
    name: str = "counts"

    @property
    def rounds(self) -> int:
        """One."""
        return 1

    def init(self, params: Arrays) -> Arrays:
        """Zeros: nothing is known."""
        return self.zero({})

    def broadcast(self, state: Arrays) -> Arrays:
        """Nothing: no model is needed to count."""
        return {}

    def local(self, received: Arrays, memory: Arrays) -> Local:
        """Open the ``Query`` door once."""
        parts = tuple(sorted(self.shapes))
        counted = yield Query(Statistic(self.split, Of.RECORDS, parts=parts))
        if not isinstance(counted, Counted):
            raise TypeError("Expected a Query to be answered by Counted.")
        return Update(counted.sums, 0.0), memory

    def zero(self, state: Arrays) -> Arrays:
        """The statistics' names and shapes."""
        return arrays.zeros_like({n: np.zeros(shape) for n, shape in self.shapes.items()})

    def apply(self, state: Arrays, mean: Arrays) -> Arrays:
        """The answer is the sum itself."""
        return mean

    def params(self, state: Arrays) -> Arrays:
        """The answer."""
        return state
