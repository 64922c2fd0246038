"""SCAFFOLD against the paper's lines, written out in numpy for two brands and two rounds."""

from __future__ import annotations

import numpy as np
import pytest

from fl.algorithms.scaffold import Scaffold
from fl.contracts import Request
from fl.doors import Training
from fl.round import coordinate
from tests import worlds

TRAINING = Training(learning_rate=0.2, epochs=2, batch_size=1000, shuffle=False)


def by_hand(rounds: int) -> np.ndarray:
    """Algorithm 1 with option II for the linear weights of a model without categories."""
    task = worlds.task()
    rows = [worlds.splits(task, f"b{i}", 60 + 30 * i)["train"] for i in range(2)]
    data = [(r.x_bf.double().numpy(), r.c_bg.numpy(), r.y_b.double().numpy()) for r in rows]
    offsets = np.array([0, *task.schema.sizes]).cumsum()[:-1]
    levels = sum(task.schema.sizes)
    designs = [
        np.hstack([x, np.ones((len(x), 1)), np.eye(levels)[c + offsets].sum(1)]) for x, c, _ in data
    ]
    w = np.zeros(designs[0].shape[1])
    c, c_i = np.zeros_like(w), [np.zeros_like(w), np.zeros_like(w)]
    n = np.array([len(y) for _, _, y in data])
    for _ in range(rounds):
        ends, moves = [], []
        for i, (design, (_, _, y)) in enumerate(zip(designs, data, strict=True)):
            y_i = w.copy()
            for _ in range(2):
                g = design.T @ (1 / (1 + np.exp(-design @ y_i)) - y) / len(y)
                y_i -= 0.2 * (g - c_i[i] + c)
            new = c_i[i] - c + (w - y_i) / (2 * 0.2)
            ends.append(y_i - w)
            moves.append(new - c_i[i])
            c_i[i] = new
        w = w + n @ np.array(ends) / n.sum()
        c = c + n @ np.array(moves) / n.sum()
    return w


@pytest.mark.parametrize("rounds", [1, 3])
def test_the_model_is_that_of_the_papers_lines(rounds: int) -> None:
    task, algorithm = worlds.task(), Scaffold()
    nodes = worlds.nodes(task, algorithm=algorithm, brands=2, training=TRAINING)
    state = algorithm.init(worlds.first_params(task))
    for number in range(1, rounds + 1):
        state = coordinate(
            number, state, kind="train", federation=worlds.federation(nodes),
            algorithm=algorithm, plan=nodes["b0"].plan, summing=nodes["b0"].summing, seed=0,
        ).state  # fmt: skip
    got = algorithm.params(state)
    parts = ("numbers.weight", "numbers.bias", "category.weight")
    flat = np.concatenate([got[name].ravel() for name in parts])
    np.testing.assert_allclose(flat, by_hand(rounds), atol=2e-6)


def test_a_brand_without_a_step_moves_nothing() -> None:
    algorithm = Scaffold()
    task = worlds.task()
    node = worlds.nodes(task, algorithm=algorithm, training=Training(epochs=1))["b0"]
    node.splits = {"train": node.splits["train"].span(0, 0)}
    state = algorithm.init(worlds.first_params(task))
    reply = node.handle(Request("train", 1, algorithm.broadcast(state)))
    assert not any(np.any(array) for array in reply.arrays.values())


@pytest.mark.parametrize("wrong", [{"server_learning_rate": 0.0}, {"participation": 1.5}])
def test_numbers_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Scaffold(**wrong)
