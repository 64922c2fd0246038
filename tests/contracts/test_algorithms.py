"""Every algorithm of the table keeps the contract that a round relies on."""

from __future__ import annotations

import numpy as np
import pytest

from fl import arrays
from fl.algorithms import ALGORITHMS
from fl.algorithms.fedopt import FedOpt
from fl.algorithms.finetune import FineTune
from fl.contracts import Algorithm, Memory, Request
from fl.doors import Personal, Query
from fl.errors import Code
from fl.privacy import NoPrivacy, PlainSum
from fl.round import contribution, coordinate, rehearse
from tests import worlds

CASES = [
    *(cls() for cls in ALGORITHMS.values()),
    FedOpt("fedyogi"),
    FedOpt("fedadagrad"),
    FineTune(pull=0.1),
]


@pytest.mark.parametrize("algorithm", CASES, ids=repr)
class TestEveryAlgorithm:
    def test_state_keeps_its_names_and_shapes_over_a_step(self, algorithm: Algorithm) -> None:
        state = algorithm.init(worlds.first_params(worlds.task()))
        zero = algorithm.zero(state)
        assert arrays.same_shape(algorithm.apply(state, zero), state)

    def test_params_and_every_start_have_the_model_shapes(self, algorithm: Algorithm) -> None:
        params = worlds.first_params(worlds.task("mlp"))
        state = algorithm.init(params)
        assert arrays.same_shape(algorithm.params(state), params)
        for ask in rehearse(algorithm, state):
            start = ask.statistic.arrays if isinstance(ask, Query) else ask.start
            assert arrays.same_shape(start, params)
            assert all(a.dtype == np.float32 for a in start.values())

    def test_nobody_changing_anything_leaves_the_model_alone(self, algorithm: Algorithm) -> None:
        params = worlds.first_params(worlds.task("mlp"))
        state = algorithm.init(params)
        after = algorithm.params(algorithm.apply(state, algorithm.zero(state)))
        assert arrays.digest(after) == arrays.digest(params)

    def test_a_brand_replies_with_the_declared_update(self, algorithm: Algorithm) -> None:
        task = worlds.task()
        node = worlds.nodes(task, algorithm=algorithm)["b0"]
        state = algorithm.init(worlds.first_params(task))
        reply = node.handle(Request("train", 1, algorithm.broadcast(state)))
        assert reply.code is Code.OK
        assert arrays.same_shape(reply.arrays, algorithm.zero(state))

    def test_inputs_are_not_changed(self, algorithm: Algorithm) -> None:
        task = worlds.task()
        state = algorithm.init(worlds.first_params(task))
        before = arrays.digest(state)
        nodes = worlds.nodes(task, algorithm=algorithm)
        coordinate(
            1,
            state,
            kind="train",
            federation=worlds.federation(nodes),
            algorithm=algorithm,
            plan=NoPrivacy(),
            summing=PlainSum(),
            seed=0,
        )
        assert arrays.digest(state) == before


def test_a_personal_model_never_travels() -> None:
    task = worlds.task()
    node = worlds.nodes(task, algorithm=FineTune())["b0"]
    reply = node.handle(Request("train", 1, worlds.first_params(task)))
    assert reply.code is Code.OK and dict(reply.arrays) == {}
    assert node.memory.personal["personal"] and not node.memory.arrays


def test_an_answer_that_stays_local_cannot_be_sent() -> None:
    """``LocalOnly`` is no array: putting it into an update fails before anything leaves."""

    class Leaky(FineTune):
        def local(self, received, memory):  # type: ignore[no-untyped-def]
            tuned = yield Personal(received)
            return worlds_update(tuned), memory

    def worlds_update(tuned):  # type: ignore[no-untyped-def]
        from fl.contracts import Update

        return Update({"w": tuned}, 1.0)

    task = worlds.task()
    node = worlds.nodes(task, algorithm=Leaky())["b0"]
    reply = node.handle(Request("train", 1, worlds.first_params(task)))
    assert reply.code is Code.FAILED and dict(reply.arrays) == {}


def test_memory_is_kept_only_when_an_update_was_made() -> None:
    class Broken(FineTune):
        def local(self, received, memory):  # type: ignore[no-untyped-def]
            yield Personal(received)
            raise ValueError("after the data was touched")

    task = worlds.task()
    node = worlds.nodes(task)["b0"]
    memory = Memory({"kept": np.ones(1)})
    from fl.brand import LocalBrand

    brand = LocalBrand("b0", node.splits, task, node.plan, node.training, 0, "t")
    with pytest.raises(ValueError, match="after the data"):
        worlds.carry_out(
            contribution(
                Request("train", 1, worlds.first_params(task)),
                memory=memory,
                algorithm=Broken(),
                plan=node.plan,
                summing=node.summing,
            ),
            brand,
        )
    assert list(memory.arrays) == ["kept"]
