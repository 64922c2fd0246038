"""FedOpt's steps against a hand calculation on one parameter.

w = 1, delta = 0.5 twice; eta = 0.1, beta1 = 0.9, beta2 = 0.99, tau = 0.01, so v0 = 0.0001.

Step 1   m = 0.1 * 0.5 = 0.05                      (all kinds), delta^2 = 0.25
  adagrad  v = 0.0001 + 0.25 = 0.2501
  adam     v = 0.99 * 0.0001 + 0.01 * 0.25 = 0.002599
  yogi     v = 0.0001 - 0.01 * 0.25 * sign(0.0001 - 0.25) = 0.0001 + 0.0025 = 0.0026
  w = 1 + 0.1 * 0.05 / (sqrt(v) + 0.01)
Step 2   m = 0.9 * 0.05 + 0.1 * 0.5 = 0.095
  adagrad  v = 0.5001;  adam  v = 0.99 * 0.002599 + 0.0025 = 0.00507301;  yogi  v = 0.0051
"""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from fl.algorithms.fedopt import FedOpt

V = {
    "adagrad": (0.2501, 0.5001),
    "adam": (0.002599, 0.00507301),
    "yogi": (0.0026, 0.0051),
}


@pytest.mark.parametrize("kind", sorted(V))
def test_two_steps_by_hand(kind: str) -> None:
    algorithm = FedOpt("fed" + kind, server_learning_rate=0.1, beta2=0.99, tau=0.01)
    state = algorithm.init({"a": np.ones(1)})
    for _ in range(2):
        state = algorithm.apply(state, {"a": np.full(1, 0.5)})
    first, second = V[kind]
    w = 1 + 0.1 * 0.05 / (sqrt(first) + 0.01) + 0.1 * 0.095 / (sqrt(second) + 0.01)
    assert float(state["w/a"][0]) == pytest.approx(w, rel=1e-12)
    assert float(state["v/a"][0]) == pytest.approx(second, rel=1e-12)
