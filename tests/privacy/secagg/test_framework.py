"""BrandAgg takes the place of the plain sum in the framework, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from clients.node import BrandNode
from fl import arrays
from fl.algorithms.fedavg import FedAvg
from fl.algorithms.fedopt import FedOpt
from fl.algorithms.query import evaluation
from fl.contracts import Algorithm, Memory, Reply, Request, Training
from fl.errors import Code
from fl.federation.inprocess import InProcessFederation
from fl.privacy import SECURE_SUMS, BrandAgg, NoPrivacy, PlainSum
from fl.privacy.secagg import verify_transcript
from fl.tasks.conversion import metrics
from server.coordinator import Coordinator, Progress
from tests import worlds

ALGORITHMS: dict[str, Algorithm] = {"fedavg": FedAvg(), "fedadam": FedOpt("fedadam")}
Wrap = Callable[[BrandNode], Callable[[Request], Reply]]


def run(
    summing: BrandAgg | PlainSum,
    algorithm: Algorithm,
    *,
    brands: int = 3,
    rounds: int = 3,
    lines: list[str] | None = None,
    wrap: Wrap = lambda node: node.handle,
) -> Progress:
    """A few validated rounds of a real training."""
    task = worlds.task()
    kinds = {"train": algorithm, "validate": evaluation(task, "validation")}
    first = algorithm.init(worlds.first_params(task))
    record = (lambda line: None) if lines is None else lines.append
    names = [f"b{i}" for i in range(brands)]
    own, halves = summing.enrol(
        names, algorithms=kinds, plan=NoPrivacy(), first=first, record=record
    )
    training = Training(learning_rate=0.5, batch_size=16)
    nodes = worlds.nodes(task, algorithm=algorithm, brands=brands, training=training)
    for name, node in nodes.items():
        node.summing = halves[name]
    federation = InProcessFederation({name: wrap(node) for name, node in nodes.items()})
    validation = evaluation(task, "validation")
    coordinator = Coordinator(federation, algorithm, NoPrivacy(), own, 0, validation, metrics)
    progress = coordinator.start(worlds.first_params(task))
    return coordinator.run(progress, rounds, lambda _: None)


@pytest.mark.parametrize("mode", ["recover", "retry"])
@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_a_training_is_that_of_the_plain_sum_up_to_the_fixed_point(mode: str, name: str) -> None:
    plain = run(PlainSum(), ALGORITHMS[name])
    masked = run(BrandAgg(mode=mode, min_brands=3), ALGORITHMS[name])
    assert not masked.absences
    assert masked.state.keys() == plain.state.keys()
    tolerance = 1e-5 if name == "fedavg" else 1e-2  # Adam's first steps divide by the change
    for key, value in plain.state.items():
        np.testing.assert_allclose(np.asarray(masked.state[key]), value, atol=tolerance)
    losses = [[p.metrics["log_loss"] for p in done.history] for done in (plain, masked)]
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-3)


def test_training_and_validation_share_one_transcript() -> None:
    lines: list[str] = []
    run(BrandAgg(min_brands=3), FedAvg(), lines=lines)
    from fl.privacy.secagg.identity import Roster
    from fl.privacy.secagg.transcript import parse

    header = parse(lines[0])
    roster = Roster.from_json(header["roster"])  # type: ignore[arg-type]
    verdict = verify_transcript(lines, roster)
    assert (verdict.rounds, verdict.problem) == (6, "")
    assert [parse(line)["kind"] for line in lines[1:3]] == ["train", "validate"]


def test_a_node_made_anew_for_every_message_trains_the_same() -> None:
    """Only the bytes of its memory survive."""

    def anew(node: BrandNode) -> Callable[[Request], Reply]:
        stored: dict[str, object] = {"arrays": b"", "protocol": {}}

        def handle(request: Request) -> Reply:
            old = arrays.from_bytes(stored["arrays"]) if stored["arrays"] else {}  # type: ignore[arg-type]
            fresh = replace(node, memory=Memory(old, protocol=dict(stored["protocol"])))  # type: ignore[call-overload]
            reply = fresh.handle(request)
            stored["arrays"] = arrays.to_bytes(fresh.memory.arrays)
            stored["protocol"] = {k: bytes(v) for k, v in fresh.memory.protocol.items()}
            return reply

        return handle

    usual = run(BrandAgg(min_brands=3), FedAvg())
    renewed = run(BrandAgg(min_brands=3), FedAvg(), wrap=anew)
    assert arrays.digest(usual.state) == arrays.digest(renewed.state)


def test_a_brand_that_fails_while_training_is_absent_and_comes_back() -> None:
    def broken_in_round_two(node: BrandNode) -> Callable[[Request], Reply]:
        def handle(request: Request) -> Reply:
            trains = request.config.get("brandagg") == "train" and request.kind == "train"
            if node.name == "b3" and trains and request.number == 2:
                return replace(node, splits={}).handle(request)
            return node.handle(request)

        return handle

    done = run(BrandAgg(min_brands=3), FedAvg(), brands=5, wrap=broken_in_round_two)
    assert [(a.number, a.brand, a.code) for a in done.absences] == [(2, "b3", str(Code.FAILED))]
    assert len(done.history) == 3


def test_a_brand_under_brandagg_sends_nothing_to_a_plain_coordinator() -> None:
    task = worlds.task()
    first = FedAvg().init(worlds.first_params(task))
    _, halves = BrandAgg(min_brands=3).enrol(
        ["b0", "b1", "b2"], algorithms={"train": FedAvg()}, plan=NoPrivacy(), first=first
    )
    node = worlds.nodes(task)["b0"]
    node.summing = halves["b0"]
    reply = node.handle(Request("train", 1, FedAvg().broadcast(first)))
    assert reply == Reply(Code.UNPROTECTED)


def test_both_secure_sums_can_be_chosen_by_name() -> None:
    assert {name: made().name for name, made in SECURE_SUMS.items()} == {
        "plain": "plain",
        "brandagg": "brandagg",
    }
