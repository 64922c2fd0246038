"""A round survives brands that fail, lie or keep silent, and says who was absent and why."""

from __future__ import annotations

import numpy as np
import pytest

from fl import arrays
from fl.algorithms.fedavg import FedAvg
from fl.contracts import Reply, Request
from fl.errors import Code, NoAnswer
from fl.federation.inprocess import Handler, InProcessFederation
from fl.privacy import NoPrivacy, PlainSum
from fl.round import Round, coordinate
from tests import worlds


def one_round(handlers: dict[str, Handler]) -> Round:
    state = FedAvg().init(worlds.first_params(worlds.task()))
    return coordinate(
        1,
        state,
        kind="train",
        federation=InProcessFederation(handlers),
        algorithm=FedAvg(),
        plan=NoPrivacy(),
        summing=PlainSum(),
        seed=0,
    )


def good(name: str) -> Handler:
    return worlds.nodes(worlds.task())[name].handle


def boom(request: Request) -> Reply:
    raise RuntimeError("customer 4711 has a strange cell")


def test_a_brand_s_mistake_stops_the_run_only_where_somebody_looks_for_it() -> None:
    asked = {"a": Request("train", 1, {})}
    assert InProcessFederation({"a": boom}).ask(asked) == {}
    with pytest.raises(RuntimeError, match="strange cell"):
        InProcessFederation({"a": boom}, debug=True).ask(asked)


def lie(**changes: object) -> Handler:
    def handler(request: Request) -> Reply:
        sums = {n: np.asarray(a, np.float64) for n, a in request.arrays.items()}
        content = {"arrays": sums, "config": {"weight": 1.0}} | changes
        return Reply(Code.OK, content["arrays"], content["config"])  # type: ignore[arg-type]

    return handler


SHAPES = {n: np.zeros(a.shape) for n, a in worlds.first_params(worlds.task()).items()}
BAD = {
    "raises": (boom, Code.SILENT),
    "other names": (lie(arrays={"x": np.ones(1)}), Code.MALFORMED),
    "other shapes": (lie(arrays={n: np.ones(9) for n in SHAPES}), Code.MALFORMED),
    "nan": (lie(arrays={n: a + np.nan for n, a in SHAPES.items()}), Code.NOT_FINITE),
    "infinite": (lie(arrays={n: a + np.inf for n, a in SHAPES.items()}), Code.NOT_FINITE),
    "no weight": (lie(config={}), Code.MALFORMED),
    "nan weight": (lie(config={"weight": float("nan")}), Code.NOT_FINITE),
    "negative weight": (lie(config={"weight": -1.0}), Code.MALFORMED),
    "weight is text": (lie(config={"weight": "1e9"}), Code.MALFORMED),
    "refuses": (lambda request: Reply(Code.UNKNOWN_REQUEST), Code.UNKNOWN_REQUEST),
}


@pytest.mark.parametrize("what", sorted(BAD))
def test_a_bad_brand_is_absent_and_the_others_are_unaffected(what: str) -> None:
    handler, code = BAD[what]
    with_bad = one_round({"b0": good("b0"), "b1": good("b1"), "bad": handler})
    without = one_round({"b0": good("b0"), "b1": good("b1")})
    assert with_bad.collected.survivors == ("b0", "b1")
    assert with_bad.collected.absent == {"bad": code}
    assert arrays.digest(with_bad.state) == arrays.digest(without.state)


def test_no_brand_at_all_is_an_error_that_names_the_codes() -> None:
    with pytest.raises(NoAnswer, match=r"round 1: none of 1 brands answered \(brand.silent\)"):
        one_round({"bad": boom})


def test_a_node_answers_a_failure_with_a_code_and_no_text() -> None:
    node = worlds.nodes(worlds.task())["b0"]
    reply = node.handle(Request("train", 1, {"unknown": np.ones(3)}))
    assert reply == Reply(Code.FAILED)


def test_a_node_refuses_requests_it_does_not_know() -> None:
    node = worlds.nodes(worlds.task())["b0"]
    assert node.handle(Request("dump", 1, {})).code is Code.UNKNOWN_REQUEST


def test_the_sum_is_weighted_by_examples() -> None:
    """FedAvg's mean of two brands' changes, recomputed from the single replies."""
    state = FedAvg().init(worlds.first_params(worlds.task()))
    request = Request("train", 1, FedAvg().broadcast(state))
    replies = [good(name)(request) for name in ("b0", "b1")]
    weight = sum(float(r.config["weight"]) for r in replies)
    assert weight == 40 + 60
    total = arrays.add(replies[0].arrays, replies[1].arrays)
    expected = arrays.add(state, arrays.scale(total, 1 / weight))
    done = one_round({name: good(name) for name in ("b0", "b1")})
    assert arrays.digest(done.state) == arrays.digest(expected)
