"""The cohort runtime ends with the arrays of the in-process one, whatever is combined."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from clients.node import BrandNode
from fl import arrays
from fl.algorithms import ALGORITHMS
from fl.algorithms.fedopt import FedOpt
from fl.algorithms.finetune import FineTune
from fl.algorithms.query import evaluation, headcount
from fl.arrays import Arrays
from fl.cohort.stored import COMPILED, FORMULA, FUNCTIONAL
from fl.cohort.together import LOOP, Together, in_turn
from fl.config import choose
from fl.contracts import Algorithm, Federation, Request, Unit
from fl.data.schema import Schema
from fl.doors import Training
from fl.errors import Code
from fl.events import Composed
from fl.federation.cohort import CohortFederation
from fl.models.logistic import Logistic
from fl.models.mlp import Mlp
from fl.privacy import PLANS, BrandAgg, PlainSum, Plan
from fl.round import coordinate
from fl.tasks.conversion import Conversion
from tests import worlds
from tests.privacy.plans import TESTS, Booked, Exhausted

CLOSE = 1e-5
EVERY: dict[str, Algorithm] = {
    **{name: choose(ALGORITHMS, {"name": name}, "algorithm") for name in ALGORITHMS},
    **{name: FedOpt(name, tau=0.1) for name in ("fedadam", "fedyogi", "fedadagrad")},
    "finetune": FineTune(pull=0.1),
    "evaluation": evaluation(worlds.task(), "validation"),
    "headcount": headcount("train"),
}
MODELS = ("logistic", "additive", "mlp")


def in_force(name: str, **values: Any) -> Plan:
    """A plan whose noise can be drawn again.

    The clip is small, and tau above is large, because a released value is rounded to a grid of
    about a thousandth of the noise: a difference in the last bit may move it by a whole step.
    """
    noise = {"epsilon": None, "noise_multiplier": 1.0, "noise_source": TESTS, "sampling_rate": 0.4}
    noise["clip_norm"] = 0.01 if name == "brand" else 0.05
    chosen = {"name": name, **({} if name == "none" else {**noise, **values})}
    plan = choose(PLANS, chosen, "privacy")
    return plan.enrolled(4).sized(50.0).calibrated(lambda _: Composed())


def cohort(nodes: Mapping[str, BrandNode], **how: Any) -> tuple[Federation, Together]:
    """The nodes in lockstep."""
    together = Together(
        {name: node.splits["train"] for name, node in nodes.items() if "train" in node.splits},
        **how,
    )
    halves = {name: node.converse for name, node in nodes.items()}
    return CohortFederation(halves, together), together


def both(
    algorithm: Algorithm,
    plan: Plan,
    *,
    task: Any = None,
    training: Training | None = None,
    rounds: int = 2,
    summing: Any = None,
    change: Any = lambda nodes: None,
    **how: Any,
) -> tuple[list[Arrays], list[Any], Together]:
    """The state after some rounds under each runtime, what else is kept, and the paths taken."""
    task = task or worlds.task()
    states, kept = [], []
    for runtime in ("inprocess", "cohort"):
        nodes = worlds.nodes(task, algorithm=algorithm, plan=plan, training=training, brands=4)
        change(nodes)
        state = algorithm.init(worlds.first_params(task))
        chosen: Any = summing or PlainSum()
        own, halves = chosen.enrol(
            list(nodes), algorithms={"train": algorithm}, plan=plan, first=state
        )
        books = {name: Booked() for name in nodes} if plan.unit is Unit.CUSTOMER else {}
        for name, node in nodes.items():
            node.summing, node.ledger = halves[name], books.get(name)
        federation, together = cohort(nodes, **how)
        absent: list[Any] = []
        for number in range(1, rounds + 1):
            done = coordinate(
                number, state, kind="train", algorithm=algorithm, plan=plan, summing=own,
                federation=worlds.federation(nodes) if runtime == "inprocess" else federation,
                seed=number, ledger=Booked() if plan.unit is Unit.BRAND else None,
            )  # fmt: skip
            state = done.state
            absent.append(dict(done.collected.absent))
        states.append(state)
        personal = {name: node.memory.personal for name, node in nodes.items()}
        memories = {name: node.memory.arrays for name, node in nodes.items()}
        events = {name: book.events for name, book in books.items()}
        kept.append((personal, memories, events, absent))
    return states, kept, together


def assert_close(one: Arrays, other: Arrays, within: float = CLOSE) -> None:
    assert set(one) == set(other)
    for name in one:
        np.testing.assert_allclose(other[name], one[name], rtol=0, atol=within, err_msg=name)


def assert_same(states: list[Arrays], kept: list[Any], within: float = CLOSE) -> None:
    assert_close(*states, within)
    (personal, memories, events, absent), other = kept
    assert events == other[2] and absent == other[3]
    for name in memories:
        assert_close(memories[name], other[1][name], within * 20)  # control variates: / (K eta)
        assert set(personal[name]) == set(other[0][name])
        for key in personal[name]:
            assert_close(personal[name][key], other[0][name][key], within)


REFUSED = {("distributed", name) for name in EVERY} - {
    ("distributed", name) for name in ("fedsgd", "finetune", "evaluation", "headcount")
}


@pytest.mark.parametrize(("algorithm", "plan", "model"), list(product(EVERY, PLANS, MODELS)))
def test_every_algorithm_plan_and_model_ends_as_in_process(
    algorithm: str, plan: str, model: str
) -> None:
    if (plan, algorithm) in REFUSED:
        pytest.skip("refused at configuration, see tests/privacy/test_plans.py")
    task = worlds.task(model)
    of = evaluation(task, "validation") if algorithm == "evaluation" else EVERY[algorithm]
    training = Training(learning_rate=0.5, batch_size=16, epochs=2)
    rounds = 1 if algorithm == "evaluation" else 2  # its answer is no model
    states, kept, together = both(of, in_force(plan), task=task, training=training, rounds=rounds)
    assert_same(states, kept)
    batched = algorithm not in ("fedsgd", "evaluation", "headcount")
    assert {path.split(":")[0] for path in together.paths} == {FORMULA if batched else LOOP}


@pytest.mark.parametrize("summing", [PlainSum(), BrandAgg(min_brands=3, scale_bits=16)])
@pytest.mark.parametrize("block", [None, 1, 3])
def test_the_sum_and_the_size_of_a_block_change_nothing(summing: Any, block: int | None) -> None:
    for plan in ("none", "local"):
        states, kept, _ = both(EVERY["fedavg"], in_force(plan), summing=summing, block=block)
        assert_same(states, kept, 2**-16)


@pytest.mark.parametrize(
    "training",
    [
        Training(learning_rate=0.1, batch_size=7, epochs=2, momentum=0.9),
        Training(learning_rate=0.3, batch_size=500, epochs=2, weight_decay=0.05),
        Training(learning_rate=0.3, batch_size=16, steps=11, momentum=0.5, weight_decay=0.1),
        Training(learning_rate=0.3, batch_size=16, shuffle=False),
    ],
    ids=repr,
)
@pytest.mark.parametrize("plan", ["none", "local"])
@pytest.mark.parametrize("algorithm", ["fedavg", "fedprox", "scaffold"])
def test_every_local_loop_ends_as_in_process(training: Training, plan: str, algorithm: str) -> None:
    states, kept, _ = both(
        EVERY[algorithm], in_force(plan), task=worlds.task("mlp"), training=training
    )
    assert_same(states, kept)


def test_customers_of_many_rows_are_clipped_as_in_process() -> None:
    def many_rows(nodes: dict[str, BrandNode]) -> None:
        for i, node in enumerate(nodes.values()):
            rows = node.splits["train"]
            numbers = torch.arange(len(rows)) % (7 + 5 * i)  # interleaved, 4 to 8 rows each
            node.splits = {**node.splits, "train": rows.renumbered(numbers)}

    for model in MODELS:
        plan = in_force("local", sampling_rate=0.3)
        states, kept, _ = both(
            EVERY["fedavg"], plan, task=worlds.task(model), change=many_rows,
            training=Training(learning_rate=0.5, steps=5),
        )  # fmt: skip
        assert_same(states, kept)


def test_long_sums_of_clipped_gradients_are_added_as_in_process() -> None:
    def longer(nodes: dict[str, BrandNode]) -> None:
        for i, node in enumerate(nodes.values()):
            rows = worlds.splits(node.task, "b0", 300 * (i + 1))["train"]
            node.splits = {**node.splits, "train": rows}

    for model in MODELS:
        plan = in_force("local", sampling_rate=1.0)
        states, kept, together = both(
            EVERY["fedavg"], plan, task=worlds.task(model), change=longer,
            training=Training(learning_rate=0.5, steps=2),
        )  # fmt: skip
        assert_same(states, kept)
        assert set(together.paths) == {FORMULA}


def test_a_customer_that_is_not_a_number_counts_as_zero_in_a_block() -> None:
    def spoiled(nodes: dict[str, BrandNode]) -> None:
        nodes["b1"].splits["train"].x_bf[3] = float("nan")
        nodes["b2"].splits["train"].x_bf[0] = float("inf")

    for model in ("logistic", "mlp"):
        states, kept, _ = both(
            EVERY["fedavg"], in_force("local", sampling_rate=1.0), task=worlds.task(model),
            change=spoiled,
        )  # fmt: skip
        assert arrays.finite(states[0])
        assert_same(states, kept)


def test_only_the_brand_whose_loss_is_not_a_number_is_dropped_and_named() -> None:
    def spoiled(nodes: dict[str, BrandNode]) -> None:
        nodes["b1"].splits["train"].x_bf[3] = float("nan")

    for model in ("logistic", "mlp"):
        states, kept, _ = both(
            EVERY["fedavg"], in_force("none"), task=worlds.task(model), change=spoiled
        )
        assert kept[1][3] == [{"b1": Code.NOT_FINITE}] * 2
        assert_same(states, kept)


def test_a_brand_without_rows_takes_part_as_in_process() -> None:
    def emptied(nodes: dict[str, BrandNode]) -> None:
        node = nodes["b1"]
        node.splits = {**node.splits, "train": node.splits["train"].span(0, 0)}

    for plan in ("none", "local"):
        states, kept, together = both(EVERY["fedavg"], in_force(plan), change=emptied)
        assert_same(states, kept)
        assert together.paths[FORMULA] == 6


def test_equal_loops_go_together_and_different_ones_apart() -> None:
    def own_loops(nodes: dict[str, BrandNode]) -> None:
        for name, node in nodes.items():
            node.training = Training(0.5 if name < "b2" else 0.1, batch_size=16)

    states, kept, together = both(EVERY["fedavg"], in_force("none"), change=own_loops)
    assert_same(states, kept)
    blocks: list[int] = []
    task = worlds.task()
    nodes = worlds.nodes(task, brands=4)
    own_loops(nodes)
    federation, together = cohort(nodes)

    def seen(compute: Any, work: Any) -> Any:
        blocks.extend(len(block.members) for block in work)
        return in_turn(compute, work)

    together.many = seen
    algorithm = EVERY["fedavg"]
    request = Request("train", 1, algorithm.broadcast(algorithm.init(worlds.first_params(task))))
    federation.ask({name: request for name in nodes})
    assert blocks == [2, 2]


def test_what_is_not_paid_for_is_not_computed() -> None:
    task, plan = worlds.task(), in_force("local")
    nodes = worlds.nodes(task, plan=plan, brands=4)
    for name, node in nodes.items():
        node.ledger = Exhausted() if name == "b2" else Booked()
    federation, together = cohort(nodes)
    algorithm = EVERY["fedavg"]
    done = coordinate(
        1, algorithm.init(worlds.first_params(task)), kind="train", algorithm=algorithm,
        plan=plan, summing=PlainSum(), federation=federation, seed=0,
    )  # fmt: skip
    assert done.collected.absent == {"b2": Code.BUDGET}
    assert together.paths == {FORMULA: 3}


NUMBERS = Schema(worlds.SCHEMA.columns[:2], label="converted")
SHALLOW = {"linear": Logistic(), "relu": Mlp(activation="relu"), "tanh": Mlp(hidden=(5,))}
LOOPS = (
    Training(learning_rate=0.3, batch_size=7, epochs=3, weight_decay=0.05),
    Training(learning_rate=0.3, batch_size=16, steps=11),
    Training(learning_rate=0.3, batch_size=16, epochs=2, shuffle=False),
)


@pytest.mark.parametrize("training", LOOPS, ids=repr)
@pytest.mark.parametrize("model", SHALLOW)
@pytest.mark.parametrize("compiled", [True, False])
def test_compiled_loops_end_as_in_process(model: str, training: Training, compiled: bool) -> None:
    pytest.importorskip("numba", reason="the extra [compiled] is not installed")
    task = Conversion(NUMBERS, SHALLOW[model])
    for name in ("fedavg", "fedprox", "scaffold"):
        states, kept, together = both(
            EVERY[name], in_force("none"), task=task, training=training, compiled=compiled
        )
        assert_same(states, kept)
        assert set(together.paths) == {COMPILED if compiled else FORMULA}
        states, kept, together = both(
            EVERY[name], in_force("local"), task=task, training=training, compiled=compiled
        )
        assert_same(states, kept)
        assert set(together.paths) == {COMPILED if compiled else FORMULA}


def test_a_compiled_loop_drops_only_the_brand_whose_loss_is_not_a_number() -> None:
    pytest.importorskip("numba", reason="the extra [compiled] is not installed")

    def spoiled(nodes: dict[str, BrandNode]) -> None:
        nodes["b1"].splits["train"].x_bf[3] = float("nan")
        nodes["b2"].splits["train"].x_bf[3] = float("inf")

    for model in SHALLOW.values():
        task = Conversion(NUMBERS, model)
        states, kept, together = both(EVERY["fedavg"], in_force("none"), task=task, change=spoiled)
        assert kept[1][3] == [dict.fromkeys(("b1", "b2"), Code.NOT_FINITE)] * 2
        assert_same(states, kept)
        assert set(together.paths) == {COMPILED}


def test_a_compiled_loop_counts_a_customer_that_is_not_a_number_as_zero() -> None:
    pytest.importorskip("numba", reason="the extra [compiled] is not installed")

    def spoiled(nodes: dict[str, BrandNode]) -> None:
        nodes["b1"].splits["train"].x_bf[3] = float("nan")
        nodes["b2"].splits["train"].x_bf[0] = float("inf")
        nodes["b3"].splits["train"].x_bf[0] = 1e17

    for model in SHALLOW.values():
        plan, task = in_force("local", sampling_rate=1.0), Conversion(NUMBERS, model)
        states, kept, together = both(EVERY["fedavg"], plan, task=task, change=spoiled)
        assert arrays.finite(states[0])
        assert_same(states, kept)
        assert set(together.paths) == {COMPILED}


def test_a_compiled_loop_adds_long_sums_in_double_precision() -> None:
    pytest.importorskip("numba", reason="the extra [compiled] is not installed")

    def longer(nodes: dict[str, BrandNode]) -> None:
        for i, node in enumerate(nodes.values()):
            rows = worlds.splits(node.task, "b0", 300 * (i + 1))["train"]
            node.splits = {**node.splits, "train": rows}

    for model in SHALLOW.values():
        plan, task = in_force("local", sampling_rate=1.0), Conversion(NUMBERS, model)
        states, kept, together = both(
            EVERY["fedavg"], plan, task=task, change=longer, training=Training(0.5, steps=2)
        )
        assert_same(states, kept)
        assert set(together.paths) == {COMPILED}


def test_customers_of_many_rows_and_momentum_take_the_formula() -> None:
    def many_rows(nodes: dict[str, BrandNode]) -> None:
        node = nodes["b1"]
        rows = node.splits["train"]
        node.splits = {**node.splits, "train": rows.renumbered(torch.arange(len(rows)) % 9)}

    task = Conversion(NUMBERS, Logistic())
    for change, training in (
        (many_rows, Training(0.3, steps=4)),
        (lambda nodes: None, Training(0.3, steps=4, momentum=0.5)),
    ):
        states, kept, together = both(
            EVERY["fedavg"], in_force("local"), task=task, training=training, change=change
        )
        assert_same(states, kept)
        assert set(together.paths) == {FORMULA}


def test_equal_brands_in_stored_order_are_read_where_they_lie() -> None:
    def equal(nodes: dict[str, BrandNode]) -> None:
        for node in nodes.values():
            node.splits = {**node.splits, "train": node.splits["train"].span(0, 37)}

    training = Training(learning_rate=0.3, batch_size=8, epochs=2, shuffle=False)
    for compiled in (True, False):
        for model in (Conversion(NUMBERS, Logistic()), worlds.task("mlp")):
            states, kept, _ = both(
                EVERY["fedavg"], in_force("none"), task=model, training=training, change=equal,
                compiled=compiled,
            )  # fmt: skip
            assert_same(states, kept)


class Gated(nn.Module):
    """A model that has no formula."""

    def __init__(self, rng: torch.Generator) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(2, 3), nn.LayerNorm(3)
        with torch.no_grad():
            for p in self.parameters():
                p.normal_(0, 0.5, generator=rng)

    def forward(self, x_bf: Tensor, c_bg: Tensor) -> Tensor:
        return self.b(self.a(x_bf)).sigmoid().sum(1)


class Branching(Gated):
    """One whose forward looks at values."""

    def forward(self, x_bf: Tensor, c_bg: Tensor) -> Tensor:
        if float(x_bf.sum()) > 1e9:
            raise RuntimeError("never")
        return super().forward(x_bf, c_bg)


class Centred(Gated):
    """One in which a row's outcome depends on its batch."""

    def forward(self, x_bf: Tensor, c_bg: Tensor) -> Tensor:
        hidden = self.a(x_bf)
        return self.b(hidden - hidden.mean(0)).sigmoid().sum(1)


class Still(Centred):
    """The same, where nothing shows it before the first step."""

    def __init__(self, rng: torch.Generator) -> None:
        super().__init__(rng)
        with torch.no_grad():
            self.a.weight.zero_()


class Normed(nn.Module):
    """Another, which refuses a single row."""

    def __init__(self, rng: torch.Generator) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(2, 3), nn.Linear(3, 1)
        self.n = nn.BatchNorm1d(3, track_running_stats=False)
        with torch.no_grad():
            for p in self.parameters():
                p.normal_(0, 0.5, generator=rng)

    def forward(self, x_bf: Tensor, c_bg: Tensor) -> Tensor:
        return self.b(self.n(self.a(x_bf)).tanh())[:, 0]


MIXED = f"{LOOP}: a row's loss depends on the other rows of its batch"


class Built:
    """A model's config."""

    name = "other"

    def __init__(self, module: type[nn.Module]) -> None:
        self.module = module

    def build(self, schema: object, rng: torch.Generator) -> nn.Module:
        return self.module(rng)


@pytest.mark.parametrize(
    ("module", "plan", "path"),
    [
        (Gated, "none", FUNCTIONAL),
        (Gated, "brand", FUNCTIONAL),
        (Gated, "local", f"{LOOP}: no formula for this model, which is clipped by customer"),
        (Branching, "none", f"{LOOP}: torch.func cannot run the model"),
        (Centred, "none", MIXED),
        (Still, "none", MIXED),
        (Normed, "none", MIXED),
    ],
)
def test_a_model_without_a_formula_goes_the_next_best_way(
    module: type[nn.Module], plan: str, path: str
) -> None:
    task = replace(worlds.task(), architecture=Built(module))
    for name in ("fedavg", "scaffold"):
        states, kept, together = both(EVERY[name], in_force(plan, sampling_rate=1.0), task=task)
        assert_same(states, kept)
        assert set(together.paths) == {path}


def spoiled(how: str) -> Any:
    """What changes the rows of one brand of four, so that it cannot be computed."""

    def change(nodes: Any) -> None:
        rows = nodes["b1"].splits["train"]
        if how == "no rows":
            nodes["b1"].splits = {}
        elif how == "a column short":
            nodes["b1"].splits = {"train": replace(rows, x_bf=rows.x_bf[:, :1])}
        else:
            code_bg = rows.c_bg.clone()
            code_bg[0] = 10**6
            nodes["b1"].splits = {"train": replace(rows, c_bg=code_bg)}

    return change


@pytest.mark.parametrize("how", ["no rows", "a column short", "a code of no level"])
def test_a_brand_that_cannot_be_computed_is_absent_and_no_other(how: str) -> None:
    states, kept, _ = both(EVERY["fedavg"], in_force("none"), change=spoiled(how))
    assert_same(states, kept)
    assert [set(absent) for absent in kept[1][3]] == [{"b1"}, {"b1"}]


def test_a_clip_that_moves_is_followed_brand_by_brand() -> None:
    plan = in_force("local", clip_quantile=0.5)
    states, kept, together = both(EVERY["fedavg"], plan)
    assert_same(states, kept)
    assert set(together.paths) == {f"{LOOP}: local is not batched"}


def test_adam_is_followed_brand_by_brand() -> None:
    training = Training(0.05, steps=4, optimizer="adam")
    states, kept, together = both(EVERY["fedavg"], in_force("none"), training=training)
    assert_same(states, kept)
    assert set(together.paths) == {f"{LOOP}: adam is not batched"}


def test_a_block_has_a_brand() -> None:
    with pytest.raises(ValueError, match="block=0 >= 1"):
        Together({}, 0)


@pytest.mark.parametrize("way", [FORMULA, COMPILED])
def test_noise_of_a_block_is_secure_each_brands_own_and_of_the_booked_size(way: str) -> None:
    task, algorithm = worlds.task("mlp"), EVERY["fedavg"]
    if way == COMPILED:
        pytest.importorskip("numba", reason="the extra [compiled] is not installed")
        task = Conversion(NUMBERS, Mlp(hidden=(400,), activation="relu"))
    plan = in_force("local", noise_source="secure", sampling_rate=1.0, clip_norm=1e-3)
    state = algorithm.init(worlds.first_params(task))
    request = Request("train", 1, algorithm.broadcast(state))
    ends = []
    for _ in range(8):
        nodes = worlds.nodes(task, plan=plan, training=Training(1.0, steps=1), brands=4)
        for node in nodes.values():
            node.ledger = Booked()
        federation, together = cohort(nodes)
        replies = federation.ask({name: request for name in nodes}).values()
        assert together.paths == {way: 4}
        ends.append([np.concatenate([a.ravel() for a in r.arrays.values()]) for r in replies])
    noise = np.array(ends)  # [repeats, brands, entries]: what differs is noise
    noise = (noise - noise.mean(0)) * np.sqrt(8 / 7)
    assert noise[0].size > 1500
    assert abs(noise.std() / (plan.sigma * plan.clip_norm / 50.0) - 1) < 0.05
    across = np.corrcoef(noise.transpose(1, 0, 2).reshape(4, -1))
    along = np.corrcoef(noise.reshape(8, -1))
    assert np.abs(across - np.eye(4)).max() < 0.1  # no two brands share noise
    assert np.abs(along - np.eye(8)).max() < 0.25  # nor two runs (-1/7 by the mean taken off)
