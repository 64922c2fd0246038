"""What every privacy plan promises: it goes with everything, and it keeps its bounds.

The checks that a mutation suite shows to fail are in ``checks.py``; here are the combinations, and
the same bounds over ranges.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable
from dataclasses import fields, replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.journal import plan_from, stored_plan
from fl import arrays
from fl.algorithms import ALGORITHMS
from fl.algorithms.fedavg import FedAvg
from fl.algorithms.finetune import FineTune
from fl.algorithms.query import evaluation, headcount
from fl.brand import LocalBrand
from fl.config import choose, plain, run_state
from fl.contracts import Algorithm, Examples, Request, Unit, Update, concatenate
from fl.doors import Counted, LocalOnly, Of, Personal, Query, Statistic, Train, Training
from fl.errors import Code, InputError, NoAnswer
from fl.events import Composed, PrivacyEvent, Repeated
from fl.privacy import (
    PLANS,
    SECURE_SUMS,
    BrandAgg,
    BrandPrivacy,
    CustomerPrivacy,
    NoPrivacy,
    PlainSum,
    Plan,
    lattice,
    statistics,
)
from fl.privacy.accounting import pld_epsilon
from fl.privacy.bills import bill
from fl.privacy.gradients import clipped_sum
from fl.round import coordinate, price, rehearse
from fl.seeds import torch_generator
from tests import worlds
from tests.privacy.plans import (
    BRAND,
    CLIP,
    ENTRIES,
    LOCAL,
    SHARED,
    SIGMA,
    TESTS,
    Booked,
    a_round,
    alike,
    flat,
    gradient,
    model,
    moved_by,
    narrow,
    query,
    reference,
    rows,
    scaled_norm,
    small,
    steps,
    wide,
)

FL = Path(__file__).resolve().parents[2] / "fl"

# ------------------------------------------------------------------------------- everything goes

TASK = worlds.task()
EVERY: dict[str, Algorithm] = {
    **{name: choose(ALGORITHMS, {"name": name}, "algorithm") for name in ALGORITHMS},
    "finetune": FineTune(pull=0.1),
    "evaluation": evaluation(TASK, "validation"),
    "headcount": headcount("train"),
}
ONE_SHARE = "a brand's own steps have only a share of the noise"
REFUSED = {
    ("distributed", name): ONE_SHARE
    for name in ("fedavg", "fedprox", "scaffold", "fedadam", "fedyogi", "fedadagrad")
}
SUMS = {"plain": PlainSum(), "brandagg": BrandAgg(min_brands=3, scale_bits=12)}
COMBINATIONS = list(product(EVERY, PLANS, SECURE_SUMS))


def in_force(name: str) -> Plan:
    """The plan for three brands, as a run would set it."""
    noise = {} if name == "none" else {"epsilon": None, "noise_multiplier": 2.0}
    plan = choose(PLANS, {"name": name, **noise}, "privacy")
    return plan.enrolled(3).sized(50.0).calibrated(lambda _: Composed())


@pytest.mark.parametrize(("algorithm", "plan", "summing"), COMBINATIONS)
def test_every_algorithm_runs_under_every_plan_and_every_sum(
    algorithm: str, plan: str, summing: str
) -> None:
    how, of = in_force(plan), EVERY[algorithm]
    state = of.init(worlds.first_params(TASK))
    own, halves = SUMS[summing].enrol(
        ["b0", "b1", "b2"], algorithms={"train": of}, plan=how, first=state
    )
    nodes = worlds.nodes(TASK, algorithm=of, plan=how)
    for name, node in nodes.items():
        node.summing = halves[name]
    books = {name: Booked() for name in nodes} if how.unit is Unit.CUSTOMER else {}
    for name, book in books.items():
        nodes[name].ledger = book
    coordinators = Booked() if how.unit is Unit.BRAND else None

    def a_round_of_it() -> arrays.Arrays:
        done = coordinate(
            1, state, kind="train", federation=worlds.federation(nodes), algorithm=of, plan=how,
            summing=own, seed=0, ledger=coordinators,
        )  # fmt: skip
        assert done.collected.survivors == ("b0", "b1", "b2") and not done.collected.absent
        return done.state

    if (plan, algorithm) in REFUSED:
        with pytest.raises(NoAnswer, match=re.escape(Code.FAILED)):
            a_round_of_it()
        assert not any(book.events for book in books.values())
        return
    after = a_round_of_it()
    assert arrays.finite(after)
    if of.limits is None:
        assert arrays.same_shape(after, state) and arrays.digest(after) != arrays.digest(state)
    assert all(len(book.events) == 1 for book in books.values())


@pytest.mark.parametrize(("plan", "algorithm"), REFUSED)
def test_what_is_refused_is_refused_for_its_reason(plan: str, algorithm: str) -> None:
    """Exactly what trains at a brand; it has no price, so it cannot be booked either."""
    of, how = EVERY[algorithm], in_force(plan)
    state = of.init(worlds.first_params(TASK))
    with pytest.raises(InputError, match=r"share of the noise.*algorithm=fedsgd"):
        price(of, state, plan=how, training=Training())
    trains = {
        n for n in EVERY if any(isinstance(a, Train) for a in rehearse(EVERY[n], EVERY[n].init({})))
    }
    assert trains == {name for _, name in REFUSED}


def test_no_class_is_named_for_a_combination() -> None:
    words = (
        {"Fed", "Avg", "Sgd", "Prox", "Opt", "Adam", "Yogi", "Tune"},
        {"Privacy", "Private", "Customer", "Dp", "Local"},
        {"Secure", "Plain", "Masked", "Pairwise"},
    )
    names = [
        node.name
        for path in FL.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    ]
    assert {"FedAvg", "CustomerPrivacy", "PlainSum"} <= set(names)
    for name in names:
        parts = set(re.findall(r"[A-Z][a-z]*", name))
        assert sum(bool(parts & group) for group in words) <= 1, name


# ---------------------------------------------------------------------------------- a customer

ANY = st.floats(width=32, allow_nan=True, allow_infinity=True)


@st.composite
def planted(draw: st.DrawFn) -> Examples:
    """One customer with up to 20 rows of any values."""
    n = draw(st.sampled_from([1, 2, 20]))
    values = draw(st.lists(ANY, min_size=n, max_size=n) | ANY.map(lambda x: [x] * n))
    return Examples(
        torch.tensor(values)[:, None],
        torch.tensor(draw(st.lists(st.integers(0, 4), min_size=n, max_size=n)))[:, None],
        torch.tensor(draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=n, max_size=n))),
        torch.full((n,), 999),
    )


@settings(max_examples=60, deadline=None)
@given(planted(), st.integers(0, 5), st.floats(1e-3, 1e3))
def test_a_planted_customer_moves_the_released_gradient_by_at_most_the_clip(
    customer: Examples, others: int, clip_norm: float
) -> None:
    quiet = replace(LOCAL, clip_norm=clip_norm, sigma=1e-3, noise_source=TESTS)
    assert moved_by(quiet, rows(others), customer) <= clip_norm * (1 + 1e-3)
    shared = replace(SHARED, clip_norm=clip_norm, noise_source=TESTS)
    entries = sum(p.numel() for p in model(narrow()).parameters())
    bound = lattice.inflated(clip_norm, entries)
    assert moved_by(shared, rows(others), customer) <= bound * (1 + 1e-5)


@pytest.mark.parametrize(
    ("many", "rounding"), [(2, 2e-5), (512, 2e-5), (513, 3e-3), (4_096, 2e-5), (100_000, 2e-5)]
)
def test_one_of_many_like_customers_moves_the_sum_by_the_clip(many: int, rounding: float) -> None:
    """Rounding is worst where all gradients point one way; in float32 100,000 gave 1.005.

    With 513 one sum is in float64 and the other in float32, so the latter's rounding is seen whole.
    """
    task, customers = narrow(), alike(many)
    without_last = customers.span(0, len(customers) - 1)
    full, rest = (
        flat(clipped_sum(task.losses, model(task), x, CLIP).gradients)
        for x in (customers, without_last)
    )
    assert float((full - rest).norm()) / CLIP == pytest.approx(1, abs=rounding)


@pytest.mark.parametrize("first", [1.0, 1e-3])
def test_many_customers_who_are_not_alike_leave_one_no_more_than_the_clip(first: float) -> None:
    """The first leaves: everybody behind it is added in another order, and in other blocks."""
    task, customers = narrow(), alike(20_001)
    rng = torch_generator(0, "inputs")
    customers.x_bf.uniform_(-9, 9, generator=rng)
    customers.x_bf[0] = first
    full, rest = (
        flat(clipped_sum(task.losses, model(task), x, CLIP).gradients)
        for x in (customers, customers.span(1, 20_001))
    )
    alone = flat(clipped_sum(task.losses, model(task), customers.span(0, 1), CLIP).gradients)
    assert float((full - rest - alone).norm()) <= 1e-6 * CLIP
    assert float((full - rest).norm()) <= CLIP * (1 + 1e-6)


@settings(max_examples=30, deadline=None)
@given(planted(), st.integers(1, 5))
def test_a_planted_customer_moves_an_evaluation_and_a_count_by_at_most_one(
    customer: Examples, others: int
) -> None:
    quiet = replace(
        LOCAL, query_noise_multiplier=1e-3, count_noise_multiplier=1e-3, noise_source=TESTS
    )
    start = {n: p.detach().numpy() for n, p in model(narrow()).named_parameters()}

    def asked(of: Of, examples: Examples) -> arrays.Arrays:
        brand = LocalBrand("b", {"s": examples}, narrow(), quiet, Training(), 0, "t", Booked())
        counted = brand.answer(Query(Statistic("s", of, start)))
        assert isinstance(counted, Counted) and counted.weight == 1.0
        return counted.sums

    both = concatenate([rows(others), customer])
    for of, limits in ((Of.EVALUATION, narrow().limits()), (Of.CUSTOMERS, {"customers": 1.0})):
        moved = arrays.subtract(asked(of, both), asked(of, rows(others)))
        assert scaled_norm(moved, statistics.scales(limits)) <= 1 + 1e-3


def test_a_batch_without_anybody_is_noise_over_the_expected_number() -> None:
    """And so is a brand without a row: nothing tells that nobody is there."""
    rare = replace(LOCAL, sampling_rate=1e-12)
    assert rare.gradient(narrow(), model(narrow()), rows(5), 0)[1] == 1.0
    for plan, examples in ((rare, rows(5)), (LOCAL, rows(0)), (rare, rows(0))):
        for step in steps(plan, examples, Training(steps=3)):
            assert 0 < float(step.abs().max()) < 8 * SIGMA * CLIP
    none = {"a": np.ones((0, 3))}
    for plan in (LOCAL, SHARED):
        assert query(plan, none, np.zeros(0, np.int64), {"a": 1.0})["a"].shape == (3,)
        empty = LocalBrand("b", {"s": rows(0)}, narrow(), plan, Training(), 0, "t", Booked())
        start = {n: p.detach().numpy() for n, p in model(narrow()).named_parameters()}
        for of in set(Of) - {Of.LARGEST}:  # which is asked of rows of numbers
            counted = empty.answer(Query(Statistic("s", of, start)))
            assert isinstance(counted, Counted) and counted.sums and arrays.finite(counted.sums)


def test_noise_repeats_only_from_the_source_that_is_named_for_tests() -> None:
    for plan in (LOCAL, SHARED):
        named = replace(plan, noise_source=TESTS)
        assert (
            gradient(named, rows(5), seed=3).tolist() == gradient(named, rows(5), seed=3).tolist()
        )
        assert (
            gradient(named, rows(5), seed=3).tolist() != gradient(named, rows(5), seed=4).tolist()
        )
        assert gradient(plan, rows(5), seed=3).tolist() != gradient(plan, rows(5), seed=3).tolist()


def test_without_noise_and_clip_a_private_sum_is_the_exact_sum() -> None:
    examples = rows(30)
    exact, count = NoPrivacy().gradient(narrow(), model(narrow()), examples, 0)
    assert count == 30.0
    for plan in (LOCAL, replace(SHARED, sigma=0.2)):
        loose = replace(plan, clip_norm=1e3 if plan is LOCAL else 2.0)
        quiet = replace(loose, sigma=1e-9) if plan is LOCAL else loose
        tolerance = 1e-4 if plan is LOCAL else 8 * 0.2 * 2.0
        assert float((gradient(quiet, examples) - flat(exact)).abs().max()) < tolerance


# ------------------------------------------------------------------------------ shares of noise


@pytest.mark.parametrize(("brands", "dropouts", "colluders"), [(3, 0, 0), (3, 1, 1), (6, 2, 1)])
def test_shares_of_all_brands_add_up_to_the_noise_of_a_centre(
    brands: int, dropouts: int, colluders: int
) -> None:
    """Mean: the union's clipped sum. Variance: the centre's, times brands over honest ones."""
    task = wide()
    plan = replace(SHARED, brands=brands, dropouts=dropouts, colluders=colluders)
    parts = [rows(3, 2, start=10 * i) for i in range(brands)]
    total = sum((gradient(plan, part, task) for part in parts), torch.zeros(()))
    noise = total - reference(task, concatenate(parts), CLIP)
    std = SIGMA * lattice.inflated(CLIP, len(noise)) * math.sqrt(brands / plan.shares)
    assert plan.shares == brands - dropouts - colluders
    assert abs(float(noise.std()) / std - 1) < 6 / math.sqrt(2 * ENTRIES)
    assert abs(float(noise.mean())) < 6 * std / math.sqrt(ENTRIES)


def test_what_a_brand_shares_lies_on_the_lattice() -> None:
    """A secure sum in fixed point then adds exactly what the guarantee is about."""
    found = gradient(SHARED, rows(9, 2))
    places = found / lattice.step_of(CLIP, len(found))
    assert torch.equal(places, places.round()) and float(places.abs().max()) < 2**24
    limits = {"a": 1.0, "b": 11.0}
    sums = query(SHARED, {n: np.ones((4, 5)) for n in limits}, np.arange(4), limits)
    for name, scale in statistics.scales(limits).items():  # and as fixed point carries it
        fine = np.asarray(sums[name]) * 2.0 ** lattice.bits(1.0, 10)
        places = np.asarray(sums[name]) / scale / lattice.step_of(1.0, 10)
        assert np.array_equal(places, np.rint(places)) and np.array_equal(fine, np.rint(fine))


def test_a_plan_without_honest_shares_is_refused() -> None:
    with pytest.raises(InputError, match="leave no noise share"):
        SHARED.enrolled(2)
    with pytest.raises(ValueError, match="shares=0"):
        gradient(replace(SHARED, brands=2), rows(3))


# -------------------------------------------------------------------------------------- a brand

UPDATES = st.lists(st.floats(), min_size=1, max_size=6)


@settings(max_examples=80, deadline=None)
@given(UPDATES, UPDATES, st.floats(1e-3, 1e3), st.floats())
def test_a_brands_update_is_clipped_whatever_it_is(
    w: list[float], b: list[float], clip_norm: float, weight: float
) -> None:
    """Trap T2: zero, NaN and infinity too."""
    plan = replace(BRAND, clip_norm=clip_norm)
    update = Update({"w": np.array(w), "b": np.array(b)}, weight)
    for limits, bound in ((None, clip_norm), ({"w": 2.0, "b": 0.5}, 1.0)):
        bounded = plan.bound(update, limits)
        scales = {"w": 1.0, "b": 1.0} if limits is None else statistics.scales(limits)
        assert bounded.weight == 1.0 and arrays.finite(bounded.sums)
        norm = scaled_norm(bounded.sums, scales)
        assert norm <= bound * (1 + 1e-9)
        if np.isfinite(w + b).all() and scaled_norm(update.sums, scales) <= bound:
            assert arrays.digest(bounded.sums) == arrays.digest(update.sums)


def test_a_zero_update_stays_zero() -> None:
    zero = Update({"w": np.zeros(3)}, 7.0)
    assert BRAND.bound(zero, None).sums["w"].tolist() == [0, 0, 0]


def test_brands_that_drop_out_do_not_change_the_denominator() -> None:
    sampled = replace(BRAND, sampling_rate=0.4, brands=10)
    for weight in (0.0, 1.0, 7.0):
        total = Update({}, weight)
        assert BRAND.denominator(total, None) == 3.0
        assert sampled.denominator(total, None) == 4.0
        assert sampled.denominator(total, {"a": 1.0}) == 10.0  # all are asked


def test_a_round_in_which_nobody_is_drawn_is_noised_booked_and_stepped() -> None:
    book = Booked()
    done, _ = a_round(replace(BRAND, sampling_rate=1e-12), FedAvg(), ledger=book)
    assert done.collected.survivors == () and len(book.events) == 1
    moved = arrays.subtract(done.state, FedAvg().init(worlds.first_params(TASK)))
    assert all(np.abs(x).max() > 0 for x in moved.values())


def test_brands_that_diverge_count_as_zero_and_the_round_goes_on() -> None:
    plan = replace(BRAND, noise_source=TESTS, sigma=1e-4)
    strange = Training(learning_rate=1e30, epochs=5)
    done, _ = a_round(plan, FedAvg(), training=strange, ledger=Booked())
    assert len(done.collected.survivors) == 3 and arrays.finite(done.state)
    assert done.collected.total.weight == 3.0


# ------------------------------------------------------------------------------ what it costs


@pytest.mark.parametrize(
    "plan", [LOCAL, replace(LOCAL, sampling_rate=0.2), BRAND], ids=["all", "sampled", "brands"]
)
@pytest.mark.parametrize("epsilon", [0.5, 8.0])
def test_calibrated_noise_costs_no_more_than_was_asked(
    plan: CustomerPrivacy | BrandPrivacy, epsilon: float
) -> None:
    of = FedAvg()
    state, training = of.init(worlds.first_params(TASK)), Training(epochs=2)

    def cost(candidate: Plan) -> PrivacyEvent:
        return Repeated(price(of, state, plan=candidate, training=training), 5)

    made = replace(plan, epsilon=epsilon, sigma=0.0).calibrated(cost)  # type: ignore[arg-type]
    assert 0.99 * epsilon < pld_epsilon(cost(made), plan.delta) <= epsilon
    given_noise = replace(plan, epsilon=None, noise_multiplier=3.0, sigma=0.0).calibrated(cost)  # type: ignore[arg-type]
    assert given_noise.sigma == 3.0


def test_a_plan_that_is_not_calibrated_has_no_price() -> None:
    for plan in (LOCAL, BRAND):
        with pytest.raises(ValueError, match="calibrated"):
            price(FedAvg(), {}, plan=replace(plan, sigma=0.0), training=Training())


def test_a_model_that_stays_costs_nothing_and_is_not_sent() -> None:
    for plan in (LOCAL, SHARED, BRAND):
        tune, kept = FineTune(), Booked()
        assert bill(price(tune, worlds.first_params(TASK), plan=plan, training=Training())) == bill(
            Composed()
        )
        nodes = worlds.nodes(TASK, algorithm=tune, plan=plan)
        node = nodes["b0"]
        node.ledger = kept
        reply = node.handle(Request("train", 1, worlds.first_params(TASK)))
        assert reply.code is Code.OK and dict(reply.arrays) == {}
        assert bill(Composed(tuple(kept.events))) == bill(Composed())
        assert node.memory.personal["personal"] and not node.memory.arrays
    assert [f.name for f in fields(LocalOnly)] == ["name"]  # what is answered holds no model


def test_a_personal_model_is_exact_under_every_plan() -> None:
    """So a plan without its noise set can make one, and it is the one of no plan at all."""
    models = []
    for plan in (NoPrivacy(), replace(LOCAL, sigma=0.0), SHARED, BRAND):
        brand = LocalBrand("b", worlds.splits(TASK, "b0"), TASK, plan, Training(), 0, "t", Booked())
        brand.answer(Personal(worlds.first_params(TASK)))
        models.append(arrays.digest(brand.personal["personal"]))
    assert len(set(models)) == 1


def test_a_customer_plan_without_a_ledger_answers_nothing() -> None:
    for algorithm in small(TASK).values():
        nodes = worlds.nodes(TASK, algorithm=algorithm, plan=LOCAL)
        reply = nodes["b0"].handle(Request("train", 1, worlds.first_params(TASK)))
        assert reply.code is Code.FAILED
    with pytest.raises(ValueError, match="needs a ledger"):
        a_round(BRAND, FedAvg(), ledger=None)


# ------------------------------------------------------------------------------------- run state


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([LOCAL, SHARED, BRAND]), st.integers(0, 9), st.floats(0, 100))
def test_a_stored_plan_comes_back_whole(plan: Plan, brands: int, sigma: float) -> None:
    made = replace(plan, brands=brands, sigma=sigma)  # type: ignore[call-arg]
    assert run_state(made) == {"brands": brands, "sigma": sigma}
    assert not run_state(made).keys() & plain(made).keys()
    assert plan_from(stored_plan(made)) == made


@pytest.mark.parametrize("name", sorted(PLANS))
def test_a_config_cannot_set_what_a_run_finds_out(name: str) -> None:
    for key in ("sigma", "brands"):
        with pytest.raises(InputError, match=f"privacy.{key}: no such key"):
            choose(PLANS, {"name": name, key: 1.0}, "privacy")


BAD: tuple[tuple[type[Plan], str, object], ...] = tuple(
    (plan, name, value)
    for plan in (CustomerPrivacy, BrandPrivacy)
    for name, values in {
        "epsilon": (0.0, -1.0, math.inf, math.nan, None),
        "delta": (0.0, 1.0, 1e-10, math.nan),
        "clip_norm": (0.0, -1.0, math.inf, math.nan),
        "sampling_rate": (0.0, 1.1, math.nan),
        "noise_source": ("torch",),
        "query_noise_multiplier": (0.0, math.inf, math.nan),
        "noise_multiplier": (1.0,),  # beside epsilon
    }.items()
    for value in values
)


@pytest.mark.parametrize(("plan", "name", "value"), BAD)
def test_a_number_that_promises_nothing_is_refused(
    plan: Callable[..., Plan], name: str, value: object
) -> None:
    with pytest.raises(ValueError, match="Expected"):
        plan(**{name: value})
