"""What every privacy plan must keep, as small checks that ``test_mutants.py`` shows to fail.

A check takes nothing, and fails an assertion where the code is wrong. Statistical ones draw from
the secure source: their limits are 6 standard errors or more away, so that they fail by chance less
than once in a million runs, and 5 % of missing noise is 20 standard errors.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from fl.algorithms.fedavg import FedAvg
from fl.brand import LocalBrand
from fl.contracts import Update
from fl.doors import Of, Query, Statistic, Train, Trained, Training
from fl.errors import Code, Refused
from fl.events import Composed, Gaussian, PrivacyEvent, Repeated
from fl.privacy import CustomerPrivacy, PlainSum, lattice, statistics
from fl.privacy.accounting import prv_epsilon
from fl.privacy.bills import bill
from fl.privacy.blocks import CustomerBlock
from fl.privacy.draws import Customers
from fl.round import coordinate, price
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
    Exhausted,
    Still,
    Watched,
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

CLOSE = 0.015


def off(released: Tensor, expected: Tensor | float, std: float) -> float:
    """By which share the deviation of ``released`` around ``expected`` differs from ``std``."""
    return float((released - expected).square().mean().sqrt()) / std - 1


# ------------------------------------------------------------------------------------ the noise


def a_gradient_sum_has_the_noise_that_is_booked() -> None:
    task, examples = wide(), rows(10, 2)
    released = gradient(LOCAL, examples, task)
    assert abs(off(released, reference(task, examples, CLIP), SIGMA * CLIP)) < CLOSE


def a_step_has_the_noise_that_is_booked() -> None:
    task, examples = wide(), rows(10, 2)
    (step,) = LOCAL.gradients(task, model(task), examples, Training(), 0)
    expected = reference(task, examples, CLIP) / LOCAL.customers
    assert abs(off(flat(step), expected, SIGMA * CLIP / LOCAL.customers)) < CLOSE


def a_query_has_the_noise_that_is_booked() -> None:
    """In the scale in which a customer has norm 1, every part has the same noise."""
    parts = {"a": np.ones((4, ENTRIES // 2)) / ENTRIES, "b": np.ones((4, ENTRIES // 2)) / ENTRIES}
    limits = {"a": 1.0, "b": 16.0}
    for plan, multiplier in (
        (LOCAL, LOCAL.query_noise_multiplier),
        (SHARED, SHARED.query_noise_multiplier / 2**0.5 * lattice.inflated(1.0, ENTRIES)),
    ):
        released = query(plan, parts, np.arange(4), limits)
        for name, scale in {"a": 2.0, "b": 32.0}.items():  # limit * sqrt(2), up to a power of two
            noise = torch.from_numpy(np.asarray(released[name], np.float64)) / scale
            assert abs(off(noise, 0.0, multiplier)) < CLOSE


def records_have_the_noise_that_is_booked_for_their_share() -> None:
    """A share of a quarter has twice the noise; asked alone, a brand adds all of it."""
    part, limits = {"a": np.ones((4, ENTRIES)) / ENTRIES}, {"a": 1.0}
    for share, times in ((1.0, 1.0), (0.25, 2.0)):
        asked = Statistic("s", Of.RECORDS, share=share)
        for plan, alone, std in (
            (LOCAL, False, SIGMA),
            (SHARED, False, SIGMA / 2**0.5 * lattice.inflated(1.0, ENTRIES)),
            (SHARED, True, SIGMA),
        ):
            event = plan.event(Query(replace(asked, alone=alone)), Training())
            assert event == Gaussian(times * SIGMA)
            chunks = iter([(part, np.arange(4))])
            released, weight = plan.release(chunks, replace(asked, alone=alone), limits, 0)
            noise = torch.from_numpy(np.asarray(released["a"], np.float64))
            assert weight == 1.0 and abs(off(noise, 0.0, times * std)) < CLOSE


def largest_shares_have_the_noise_that_is_booked() -> None:
    """In the unit of a row's smallest total, all of it by the brand alone."""
    part, totals = np.ones((4, ENTRIES, 2)) / ENTRIES, np.array([[5.0, 20.0]] * ENTRIES)
    asked = Statistic("s", Of.LARGEST, {"a": totals}, ("a",), share=0.25, alone=True)
    for plan in (LOCAL, SHARED):
        assert plan.event(Query(asked), Training()) == Gaussian(2 * SIGMA)
        chunks = iter([({"a": part}, np.arange(4))])
        released, weight = plan.release(chunks, asked, {"a": 3.0}, 0)
        noise = torch.from_numpy(np.asarray(released["a"], np.float64)) * 5.0 / 3.0
        assert weight == 1.0 and abs(off(noise, 0.0, 2 * SIGMA)) < CLOSE


def one_customer_moves_largest_shares_by_at_most_one() -> None:
    """In the same unit; by any values in any rows, on top of any others'."""
    totals = np.array([[4.0, 9.0, 2.0], [30.0, 1.0, 50.0]])
    kept: list[Tensor] = []

    def heard(rows: list[Tensor]) -> list[Tensor]:
        kept.append(rows[0].clone())
        return rows

    others = np.array([[[0.5, 0.1, 0.3], [0.0, 0.6, 0.0]], [[0.0, 0.7, 0.0], [0.1, 0.2, 0.0]]])
    for value in (0.3, 1.0, 1e6, 1e200, -1e6, math.nan, math.inf):
        for where in (np.s_[:, 0], np.s_[:, :, 1], np.s_[:, :, :]):
            planted = np.zeros((2, 2, 3))
            planted[where] = value
            both, who = np.concatenate([others, planted]), np.array([1, 2, 7, 7])
            kept.clear()
            for x, customers in ((others, who[:2]), (both, who)):
                chunks = iter([({"a": x}, customers)])
                statistics.largest_shares(chunks, {"a": totals}, {"a": 1.0}, heard)
            assert bool(torch.isfinite(kept[1]).all())
            assert float((kept[1] - kept[0]).norm()) <= 1 + 1e-9


def a_count_has_the_noise_that_is_booked() -> None:
    chunks = {"customers": np.ones(7)}, np.arange(7)
    released = [
        float(
            LOCAL.release(iter([chunks]), Statistic("s", Of.CUSTOMERS), {"customers": 1.0}, i)[0][
                "customers"
            ]
        )
        for i in range(2000)
    ]
    assert abs(off(torch.tensor(released), 7.0, LOCAL.count_noise_multiplier)) < 6 / math.sqrt(4000)


def a_sum_of_brands_has_the_noise_that_is_booked() -> None:
    zero = Update({"w": np.zeros(ENTRIES)}, 0.0)
    for limits, std in ((None, SIGMA * CLIP), ({"w": 4.0}, 4.0 * BRAND.query_noise_multiplier)):
        noisy = torch.from_numpy(np.asarray(BRAND.noise(zero, limits, 0).sums["w"], np.float64))
        assert abs(off(noisy, 0.0, std)) < CLOSE


def the_shares_that_are_counted_on_make_up_the_noise() -> None:
    """Without the brand that dropped out and the one that told its share, all noise is there."""
    task, examples = wide(), rows(3)
    expected = reference(task, examples, CLIP)
    std = SIGMA * lattice.inflated(CLIP, len(expected))
    releases = [gradient(SHARED, examples, task) for _ in range(SHARED.brands)]
    honest = sum(releases[: SHARED.brands - 2], torch.zeros(()))
    assert abs(off(honest, expected * (SHARED.brands - 2), std)) < CLOSE
    every = sum(releases, torch.zeros(()))
    assert abs(off(every, expected * SHARED.brands, std * math.sqrt(4 / 2))) < CLOSE


def a_share_covers_what_rounding_adds() -> None:
    rng = Still()
    for entries, step in ((2**10, 2.0**-13), (2**20, 2.0**-14)):  # 1 / (256 * sqrt(2^10)); 1 / 2^14
        lattice.shared([torch.zeros(entries)], 1.0, 3.0, 4, rng)
        rounding = step * math.sqrt(entries)  # each entry moves by one step at most
        assert math.isclose(rng.sigma * step * math.sqrt(4), 3.0 * (1.0 + rounding), rel_tol=1e-9)


def no_seed_makes_two_releases_equal() -> None:
    """Trap T5."""
    zero, counts = Update({"w": np.zeros(8)}, 0.0), ({"a": np.zeros((2, 8))}, np.arange(2))
    half, how = {"sampling_rate": 0.5, "sigma": 1e-4}, Training(steps=30)

    def releases() -> list[list[float]]:
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002
        return [
            *(gradient(plan, rows(5)).tolist() for plan in (LOCAL, SHARED)),
            [round(50 * float(x.norm())) for x in steps(replace(LOCAL, **half), alike(50), how)],
            *(query(plan, *counts, {"a": 1.0})["a"].tolist() for plan in (LOCAL, SHARED)),
            np.asarray(BRAND.noise(zero, None, 0).sums["w"]).tolist(),
        ]

    assert all(a != b for a, b in zip(releases(), releases(), strict=True))
    cohorts = []
    for _ in range(2):
        torch.manual_seed(0)
        cohorts.append(tuple(replace(BRAND, **half).sample([str(i) for i in range(99)], None, 0)))
    assert cohorts[0] != cohorts[1]


# ----------------------------------------------------------------------------- the sensitivity


def one_customer_moves_a_gradient_by_at_most_the_clip() -> None:
    """20 rows of one customer, far out of their bounds (trap T18)."""
    quiet = replace(LOCAL, sigma=1e-3, noise_source=TESTS)
    for rows_each, scale in ((1, 1e3), (20, 1e3), (20, 1e-3)):
        planted = rows(1, rows_each, scale=scale, start=1000)
        assert moved_by(quiet, rows(6), planted) <= CLIP * (1 + 1e-4)


def one_customer_moves_a_query_by_at_most_one() -> None:
    quiet = replace(LOCAL, query_noise_multiplier=1e-3, noise_source=TESTS)
    limits = {"a": 1.0, "h": 16.0}
    other = {"a": np.ones(3), "h": np.ones((3, 4))}
    without = query(quiet, other, np.array([1, 1, 2]), limits)
    for value in (0.5, 1.0, 1e6, 1e200, np.nan, -np.inf):
        planted = {
            n: np.concatenate([x, np.full((20, *x.shape[1:]), value)]) for n, x in other.items()
        }
        with_one = query(quiet, planted, np.array([1, 1, 2, *[7] * 20]), limits)
        moved = {n: with_one[n] - without[n] for n in limits}
        assert scaled_norm(moved, statistics.scales(limits)) <= 1 + 1e-4


def a_customer_that_is_not_a_number_counts_as_zero() -> None:
    quiet = replace(LOCAL, noise_source=TESTS)
    for value in (math.nan, math.inf):
        planted = rows(1, 3, start=1000)
        planted.x_bf[1] = value
        assert moved_by(quiet, rows(6), planted) == 0.0


def one_brand_moves_the_mean_by_at_most_the_clip_over_a_constant() -> None:
    """Trap T1: brands of very unequal size; behind Flower's wrapper one moves the mean by 0.9."""
    task, sizes = worlds.task(), (900, 30, 30, 20, 20)
    brands = {f"b{i}": worlds.splits(task, f"b{i}", n)["train"] for i, n in enumerate(sizes)}
    for strange in (Training(learning_rate=0.5), Training(learning_rate=1e4, epochs=3)):
        plan, done = replace(BRAND, brands=5, noise_source=TESTS, sigma=1e-4), {}
        for absent in (None, *brands):
            how = {"brands": brands, "training": strange, "ledger": Booked()}
            silent = () if absent is None else (absent,)
            params = FedAvg().params(a_round(plan, FedAvg(), silent=silent, **how)[0].state)
            done[absent] = np.concatenate([params[n].ravel() for n in sorted(params)])
        for absent in brands:
            assert np.linalg.norm(done[None] - done[absent]) <= CLIP / 5 * (1 + 1e-3)


# ------------------------------------------------------------------- public numbers and sampling


def means_are_taken_with_public_numbers() -> None:
    """The expected number of customers, whoever came; a rate of 0.2 of 50 is 10."""
    quiet = replace(LOCAL, sigma=1e-4, noise_source=TESTS)
    for customers in (0, 1, 20, 90):
        examples = rows(customers)
        (step,) = steps(quiet, examples, Training())
        expected = reference(narrow(), examples, CLIP) / 50
        assert float((step - expected).norm()) < 1e-4
        for plan in (LOCAL, SHARED):
            sampled = replace(plan, sampling_rate=0.2)
            assert sampled.gradient(narrow(), model(narrow()), examples, 0)[1] == 10.0


def weights_say_nothing_about_sizes() -> None:
    for plan, ledger in ((LOCAL, None), (BRAND, Booked())):
        for algorithm in small(worlds.task()).values():
            done, _ = a_round(plan, algorithm, ledger=ledger)
            one, _ = a_round(
                plan,
                algorithm,
                brands={"b0": worlds.splits(worlds.task(), "b9", 9)["train"]},
                ledger=ledger,
            )
            assert done.collected.total.weight == one.collected.total.weight


def batches_are_poisson_samples_at_the_booked_rate() -> None:
    """Customers alike, so that the length of a step counts them. A shuffled batch is always 20."""
    n, rate, times = 200, 0.1, 400
    plan = replace(LOCAL, sampling_rate=rate, customers=float(n), sigma=1e-4)
    lengths = torch.stack([x.norm() for x in steps(plan, alike(n), Training(steps=times))])
    _binomial(lengths * (n * rate) / CLIP, n, rate)
    task = narrow()
    sums = [float(gradient(plan, alike(n), task, i).norm()) for i in range(times)]
    _binomial(torch.tensor(sums) / CLIP, n, rate)


def cohorts_are_poisson_samples_at_the_booked_rate() -> None:
    nodes = [str(i) for i in range(200)]
    plan = replace(BRAND, sampling_rate=0.1)
    _binomial(torch.tensor([float(len(plan.sample(nodes, None, i))) for i in range(400)]), 200, 0.1)


def _binomial(sizes: Tensor, n: int, rate: float) -> None:
    variance, k = n * rate * (1 - rate), len(sizes)
    assert abs(float(sizes.mean()) - n * rate) < 6 * math.sqrt(variance / k)
    assert 1 - 6.3 * math.sqrt(2 / k) < float(sizes.var()) / variance < 1 + 7 * math.sqrt(2 / k)


def blocks_of_brands_are_sampled_at_the_booked_rate() -> None:
    """What simulated brands get that are computed together; each line is a brand's steps."""
    brands, n, rate, times = 8, 200, 0.1, 50
    drawn = _block(brands, n, rate, times).drawn
    came = torch.from_numpy(np.diff(drawn.edge)).double()
    assert came.shape == (brands * times,)
    _binomial(came, n, rate)
    first, second = (drawn.customer_n[drawn.edge[i] : drawn.edge[i + 1]] for i in (0, 1))
    assert first.tolist() != second.tolist(), "every step draws anew"


def blocks_of_brands_have_noise_of_their_own_in_every_step() -> None:
    brands, times, entries = 4, 3, 4_000
    block = _block(brands, 20, 0.1, times, entries)
    halves = [block.noise(slice(i, i + 2), torch.float32).clone() for i in (0, 2)]
    for lines in (torch.cat(halves).double(), _block_sums(block, brands, times, entries)):
        noise = lines.reshape(brands * times, entries) * block.grid
        assert abs(off(noise, 0.0, SIGMA * CLIP)) < 2 * CLOSE
        alike = torch.corrcoef(noise) - torch.eye(brands * times)
        assert float(alike.abs().max()) < 7 / math.sqrt(entries)


def _block(brands: int, n: int, rate: float, times: int, entries: int = 10) -> CustomerBlock:
    plan = replace(LOCAL, sampling_rate=rate, customers=float(n))
    of = [Customers.of(torch.arange(n), n * i) for i in range(brands)]
    training = Training(steps=times)
    return CustomerBlock(plan, training, of, list(range(brands)), entries=entries, compiled=True)


def _block_sums(block: CustomerBlock, brands: int, times: int, entries: int) -> Tensor:
    """The noise of :meth:`CustomerBlock.noised`, in units of the grid: ``[b, times, entries]``."""
    zeros = [torch.zeros(brands, entries)]
    made = [block.noised(zeros, step)[0] * (block.expected / block.grid) for step in range(times)]
    return torch.stack(made, 1).double()


# --------------------------------------------------------------------------------- the booking


def every_release_is_booked_at_its_price() -> None:
    task, training = worlds.task(), Training(epochs=2)
    for algorithm in small(task).values():
        state = algorithm.init(worlds.first_params(task))
        local = replace(LOCAL, sampling_rate=0.25)
        one = price(algorithm, state, plan=local, training=training)
        for number in (1, 2):
            _, books = a_round(local, algorithm, training=training, number=number)
            assert all(bill(Composed(tuple(b.events))) == bill(one) for b in books.values())
        of_brand = price(algorithm, state, plan=BRAND, training=training)
        kept = Booked()
        for number in (1, 2):
            a_round(BRAND, algorithm, training=training, number=number, ledger=kept)
        assert bill(Composed(tuple(kept.events))) == bill(Repeated(of_brand, 2)) != bill(Composed())


def as_many_steps_are_booked_as_are_taken() -> None:
    task = worlds.task()
    start = worlds.first_params(task)
    for training in (Training(epochs=3), Training(steps=5)):
        plan, booked = replace(LOCAL, sampling_rate=0.3), Booked()
        splits = worlds.splits(task, "b0")
        brand = LocalBrand("b0", splits, task, plan, training, 0, "t", booked)
        trained = brand.answer(Train(start))
        assert isinstance(trained, Trained)
        assert bill(booked.events[0]).total() == trained.steps == plan.steps(training)


def what_is_not_paid_for_touches_no_data() -> None:
    task = worlds.task()
    start = worlds.first_params(task)
    asks = [Train(start), *(Query(Statistic("train", of, start)) for of in set(Of) - {Of.LARGEST})]
    asks += [Query(Statistic("train", Of.LARGEST, start, tuple(start), alone=True))]
    for plan in (LOCAL, SHARED):
        for ask in asks:
            if plan is SHARED and isinstance(ask, Train):
                continue
            splits = Watched(worlds.splits(task, "b0"))
            brand = LocalBrand("b0", splits, task, plan, Training(), 0, "t", Exhausted())
            try:
                brand.answer(ask)
            except Refused as refusal:
                assert refusal.code is Code.BUDGET and not splits.touched
            else:
                raise AssertionError("answered without being paid for")
    made = worlds.nodes(task, plan=BRAND)
    watched = [Watched(node.splits) for node in made.values()]
    for node, splits in zip(made.values(), watched, strict=True):
        node.splits = splits
    try:
        coordinate(
            1, FedAvg().init(start), kind="train", federation=worlds.federation(made),
            algorithm=FedAvg(), plan=BRAND, summing=PlainSum(), seed=0, ledger=Exhausted(),
        )  # fmt: skip
    except Refused:
        assert not any(splits.touched for splits in watched)
    else:
        raise AssertionError("asked without being paid for")


def calibrated_noise_keeps_the_promise() -> None:
    """By other people's accountant (PRV, error 0.01), where the GDP formula says 9.6 for 11.5."""

    def run(plan: CustomerPrivacy) -> PrivacyEvent:
        query = Query(Statistic("train", Of.GRADIENT))
        return Repeated(plan.event(query, Training()), 100)

    plan = replace(LOCAL, epsilon=11.0, sampling_rate=0.05, sigma=0.0).calibrated(run)
    assert 10.9 < prv_epsilon(run(plan), plan.delta) <= 11.0 + 0.02


CHECKS = (
    a_gradient_sum_has_the_noise_that_is_booked,
    a_step_has_the_noise_that_is_booked,
    a_query_has_the_noise_that_is_booked,
    records_have_the_noise_that_is_booked_for_their_share,
    largest_shares_have_the_noise_that_is_booked,
    one_customer_moves_largest_shares_by_at_most_one,
    a_count_has_the_noise_that_is_booked,
    a_sum_of_brands_has_the_noise_that_is_booked,
    the_shares_that_are_counted_on_make_up_the_noise,
    a_share_covers_what_rounding_adds,
    no_seed_makes_two_releases_equal,
    one_customer_moves_a_gradient_by_at_most_the_clip,
    one_customer_moves_a_query_by_at_most_one,
    a_customer_that_is_not_a_number_counts_as_zero,
    one_brand_moves_the_mean_by_at_most_the_clip_over_a_constant,
    means_are_taken_with_public_numbers,
    weights_say_nothing_about_sizes,
    batches_are_poisson_samples_at_the_booked_rate,
    cohorts_are_poisson_samples_at_the_booked_rate,
    blocks_of_brands_are_sampled_at_the_booked_rate,
    blocks_of_brands_have_noise_of_their_own_in_every_step,
    every_release_is_booked_at_its_price,
    as_many_steps_are_booked_as_are_taken,
    what_is_not_paid_for_touches_no_data,
    calibrated_noise_keeps_the_promise,
)
