"""A task that reads messages ends in the cohort runtime as it does in the in-process one.

Such models are computed one by one there too, by the same code: this holds the lockstep, not a
batched path.
"""

from __future__ import annotations

import pytest

from fl.algorithms.fedavg import FedAvg
from fl.algorithms.fedsgd import FedSgd
from fl.algorithms.scaffold import Scaffold
from fl.cohort.together import LOOP as ONE_BY_ONE
from fl.contracts import Algorithm
from fl.doors import Training
from tests import worlds
from tests.runtimes.test_cohort import assert_same, both, in_force

LOOP = Training(learning_rate=0.5, batch_size=16)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("plan", ["none", "local"])
@pytest.mark.parametrize("algorithm", [FedAvg(), FedSgd(), Scaffold()], ids=lambda a: a.name)
def test_messages(algorithm: Algorithm, plan: str, classes: int) -> None:
    task = worlds.text_task(classes, buckets=512)
    states, kept, together = both(algorithm, in_force(plan), task=task, training=LOOP)
    assert_same(states, kept)
    assert any(abs(x).max() > 0 for x in states[0].values())  # it moved
    assert all(path.startswith(ONE_BY_ONE) for path in together.paths)
