"""A statistic of all brands' customers, asked through the same round as training.

The only way a metric or a count leaves a brand is through the ``Query`` door, the privacy plan and
the secure sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fl import arrays
from fl.arrays import Arrays
from fl.contracts import Limits, Local, R, Task, Update
from fl.doors import Counted, Of, Query, Statistic


@dataclass(frozen=True, slots=True)
class SumQuery:
    """Asks every brand for a statistic at the broadcast model.

    Attributes:
        split: which of the brand's rows are counted.
        statistics: zeros with the names and shapes of the answer.
        limits: what one example can add to each, in L2.
        of: what is summed.
    """

    split: str
    statistics: Arrays
    limits: Limits
    of: Of = Of.EVALUATION
    name: str = "query"

    def init(self, params: Arrays) -> Arrays:
        """The state is the model to be evaluated."""
        return params

    def broadcast(self, state: Arrays) -> Arrays:
        """The model in its own precision."""
        return arrays.cast(state, np.float32)

    def local(self, received: Arrays, memory: Arrays) -> Local:
        """Open the ``Query`` door once."""
        counted = yield Query(Statistic(self.split, self.of, received))
        if not isinstance(counted, Counted):
            raise TypeError("Expected a Query to be answered by Counted.")
        return Update(counted.sums, counted.weight), memory

    def zero(self, state: Arrays) -> Arrays:
        """The statistics' names and shapes."""
        return arrays.zeros_like(self.statistics)

    def apply(self, state: Arrays, mean: Arrays) -> Arrays:
        """The answer is the mean of the statistics per unit of weight."""
        return mean

    def params(self, state: Arrays) -> Arrays:
        """The state as it is."""
        return state


def evaluation(task: Task[R], split: str) -> SumQuery:
    """The task's own statistics over one split."""
    return SumQuery(split, task.statistics(), task.limits())


def headcount(split: str) -> SumQuery:
    """How many customers there are; the answer is their mean per brand."""
    return SumQuery(split, {"customers": np.zeros(())}, {"customers": 1.0}, Of.CUSTOMERS)
