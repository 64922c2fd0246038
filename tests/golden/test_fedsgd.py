"""FedSGD's steps against hand calculations on one parameter, and what its update is.

w = 1, g = 0.5 three times; rate = 0.1, momentum = 0.9, decay 0:
  v = 0.5, 0.95, 1.355            w = 0.95, 0.855, 0.7195
With decay 0.2, which reads w before the step:
  v1 = 0.5 + 0.2 * 1 = 0.7                          w1 = 0.93
  v2 = 0.9 * 0.7 + 0.5 + 0.2 * 0.93 = 1.316         w2 = 0.7984
Tail averaging from step 2: a1 = w1, a2 = w2 = 0.855, a3 = (0.855 + 0.7195) / 2 = 0.78725
"""

from __future__ import annotations

import numpy as np
import pytest

from fl import arrays
from fl.algorithms.fedsgd import FedSgd
from fl.contracts import Update
from fl.doors import Counted, LocalOnly, Of, Query, Statistic

HALF = {"a": np.full(1, 0.5)}


def walked(algorithm: FedSgd, steps: int) -> tuple[list[float], list[float]]:
    """The iterates, and the models given out."""
    state = algorithm.init({"a": np.ones(1, np.float32)})
    iterates, given = [], []
    for step in range(1, steps + 1):
        state = algorithm.apply(state, HALF)
        assert float(state["t"]) == step
        iterates.append(float(state["w/a"][0]))
        given.append(float(algorithm.params(state)["a"][0]))
    return iterates, given


def test_momentum_by_hand() -> None:
    iterates, given = walked(FedSgd(server_learning_rate=0.1, momentum=0.9), 3)
    assert iterates == pytest.approx([0.95, 0.855, 0.7195], rel=1e-12)
    assert given == pytest.approx(iterates, rel=1e-6)  # float32; no averaging


def test_weight_decay_by_hand() -> None:
    algorithm = FedSgd(server_learning_rate=0.1, momentum=0.9, weight_decay=0.2)
    assert walked(algorithm, 2)[0] == pytest.approx([0.93, 0.7984], rel=1e-12)


def test_without_momentum_it_is_gradient_descent() -> None:
    iterates, _ = walked(FedSgd(server_learning_rate=0.1, momentum=0.0), 3)
    assert iterates == pytest.approx([0.95, 0.9, 0.85], rel=1e-12)


def test_tail_averaging_by_hand() -> None:
    iterates, given = walked(FedSgd(server_learning_rate=0.1, momentum=0.9, tail=2), 3)
    assert iterates == pytest.approx([0.95, 0.855, 0.7195], rel=1e-12)  # steps are not averaged
    assert given == pytest.approx([0.95, 0.855, 0.78725], rel=1e-6)


@pytest.mark.parametrize("tail", [1, 4, 9])
def test_the_tail_is_the_plain_mean_of_the_iterates_from_there(tail: int) -> None:
    iterates, given = walked(FedSgd(server_learning_rate=0.1, momentum=0.9, tail=tail), 7)
    late = iterates[tail - 1 :] or iterates[-1:]
    assert given[-1] == pytest.approx(np.mean(late), rel=1e-6)


def test_gradients_are_asked_for_at_the_iterate_not_at_the_mean() -> None:
    algorithm = FedSgd(server_learning_rate=0.1, tail=1)
    state = algorithm.init({"a": np.ones(1, np.float32)})
    for _ in range(2):
        state = algorithm.apply(state, HALF)
    sent = algorithm.broadcast(state)
    assert sent["a"].dtype == np.float32 and sent["a"][0] == np.float32(state["w/a"][0])
    assert sent["a"][0] != algorithm.params(state)["a"][0]
    local = algorithm.local(sent, {"kept": np.ones(1)})
    ask = next(local)
    assert ask == Query(Statistic("train", Of.GRADIENT, sent))
    with pytest.raises(StopIteration) as finished:
        local.send(Counted({"a": np.full(1, 3.0)}, 40.0))
    update, memory = finished.value.value
    assert update == Update({"a": np.full(1, 3.0)}, 40.0) and list(memory) == ["kept"]


def test_an_answer_of_another_door_is_not_sent() -> None:
    local = FedSgd().local({}, {})
    next(local)
    with pytest.raises(TypeError, match="Counted"):
        local.send(LocalOnly("personal"))


def test_the_state_starts_at_the_model_and_keeps_its_shapes() -> None:
    params = {"a": np.ones((2, 3), np.float32), "b/c": np.zeros(1, np.float32)}
    state = FedSgd().init(params)
    assert arrays.digest(FedSgd().params(state)) == arrays.digest(params)
    assert arrays.same_shape(FedSgd().zero(state), params)
    assert arrays.same_shape(FedSgd().apply(state, FedSgd().zero(state)), state)


@pytest.mark.parametrize(
    "bad",
    [
        {"server_learning_rate": 0.0},
        {"server_learning_rate": float("inf")},
        {"momentum": 1.0},
        {"momentum": -0.1},
        {"weight_decay": -1.0},
        {"weight_decay": float("nan")},
        {"tail": -1},
    ],
    ids=str,
)
def test_numbers_out_of_range_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="Expected"):
        FedSgd(**bad)  # type: ignore[arg-type]
