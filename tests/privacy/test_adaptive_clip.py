"""A clip that follows a quantile of the customers' norms, as an option of the plan ``local``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fl.contracts import Examples
from fl.doors import Of, Query, Statistic, Train, Training
from fl.errors import InputError
from fl.events import Composed, Gaussian, Repeated, Sampled
from fl.privacy import CustomerPrivacy
from fl.privacy.accounting import pld_epsilon
from fl.privacy.bills import bill
from fl.privacy.clipping import FURTHEST, Clip, count_below, joint_noise_multiplier
from fl.privacy.gradients import clipped_sum
from fl.privacy.ledger import Ledger
from fl.privacy.noise import InsecureNoiseForTests, SecureRandom
from fl.privacy.recompute import recompute
from fl.privacy.signing import SigningKey
from fl.privacy.statement import Statement
from tests import crm, worlds
from tests.ledgers import opening, rdp

TASK = worlds.task()
TRAINING = Training(steps=60)
TRAIN = Train(worlds.first_params(TASK))
PLAN = CustomerPrivacy(
    clip_norm=20.0,
    clip_quantile=0.5,
    customers=400.0,
    noise_source="insecure_noise_for_tests",
    sigma=2.0,
    brands=3,
)


def norms(examples: Examples, model: nn.Module) -> Tensor:
    return clipped_sum(TASK.losses, model, examples, 1.0).norms


def world(customers: int) -> tuple[Examples, nn.Module]:
    return (
        worlds.splits(TASK, "b0", customers * 3 // 2)["train"],
        TASK.model(torch.Generator().manual_seed(0)),
    )


def clips(plan: CustomerPrivacy, of_norms: Tensor, steps: int) -> Iterator[Clip]:
    """The clips of ``steps`` steps over the same norms."""
    clip, rng = plan._clip, InsecureNoiseForTests(5)
    for _ in range(steps):
        clip = clip.after(of_norms, rng)
        yield clip


@pytest.mark.parametrize("customers", [100, 400, 1600], ids=["quarter", "as expected", "fourfold"])
@pytest.mark.parametrize("quantile", [0.2, 0.5, 0.8])
def test_the_clip_finds_its_quantile_at_brands_of_any_size(quantile: float, customers: int) -> None:
    """The paper's own count would raise the clip for ever at the small brand (``clipping.py``)."""
    spread = torch.linspace(0.5, 2.0, customers, dtype=torch.float64)
    plan = replace(PLAN, clip_quantile=quantile)
    settled = [clip.norm for clip in clips(plan, spread, 400)][200:]
    below = sum(float((spread <= norm).double().mean()) for norm in settled) / len(settled)
    assert below == pytest.approx(quantile, abs=0.1)


def test_noise_follows_the_clip_and_gradients_are_clipped_at_it() -> None:
    """The model stands still, so that every step's sum can be made again from a known clip."""
    examples, model = world(400)
    median, start = float(norms(examples, model).median()), 0.05
    quiet, loud = (replace(PLAN, clip_norm=start, sigma=sigma) for sigma in (1e-3, 50.0))
    assert median > 10 * start

    def sums(plan: CustomerPrivacy) -> tuple[Tensor, Tensor]:
        """Of the first and of the last step."""
        first, *_, last = plan.gradients(TASK, model, examples, Training(steps=80), 0)
        return flat(first) * plan.customers, flat(last) * plan.customers

    def exact(clip_norm: float) -> Tensor:
        return flat(clipped_sum(TASK.losses, model, examples, clip_norm).gradients)

    first, last = sums(quiet)
    assert float((first - exact(start)).norm()) < 0.05 * float(exact(start).norm())
    assert float((last - exact(median)).norm()) < 0.05 * float(exact(median).norm())
    first, last = (total - of for total, of in zip(sums(loud), (exact(start), 0), strict=True))
    assert float(first.std()) == pytest.approx(50.0 * start, rel=0.5)
    assert float(last.std()) == pytest.approx(50.0 * median, rel=0.5)


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([t.flatten() for t in tensors])


def test_a_fixed_clip_draws_no_count_and_costs_no_count() -> None:
    examples, model = world(60)
    fixed = replace(PLAN, clip_quantile=0.0)
    one = list(fixed.gradients(TASK, model, examples, Training(steps=3), 0))
    other = list(
        replace(fixed, clip_rate=3.0).gradients(TASK, model, examples, Training(steps=3), 0)
    )
    assert all(
        torch.equal(a, b)
        for x, y in zip(one, other, strict=True)
        for a, b in zip(x, y, strict=True)
    )
    assert fixed.event(TRAIN, TRAINING) == Repeated(Sampled(1.0, Gaussian(2.0)), 60)


def test_every_local_training_starts_at_clip_norm() -> None:
    examples, model = world(60)
    run = [list(PLAN.gradients(TASK, model, examples, Training(steps=5), 0)) for _ in range(2)]
    assert all(
        torch.equal(a, b) for x, y in zip(*run, strict=True) for a, b in zip(x, y, strict=True)
    )


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_one_customer_moves_the_count_by_at_most_what_is_booked(quantile: float) -> None:
    """Counts with the same noise, so that the difference is the customer's part, up to the grid."""

    def count(of: list[float]) -> float:
        return count_below(torch.tensor(of), 1.0, 3.0, InsecureNoiseForTests(1), quantile)

    clip = replace(PLAN, clip_quantile=quantile)._clip
    alone = Clip(1.0, 1.0, quantile, 0.2, clip.noise_std, 1.0)
    for rest in ([], [0.5], [2.0] * 4):
        moved = max(abs(count([*rest, new]) - count(rest)) for new in (0.5, 1.0, 3.0, math.nan))
        booked = math.sqrt(1 / alone.booked(2.0) ** 2 - 1 / 2.0**2) * clip.noise_std
        assert moved == pytest.approx(booked, abs=0.01)


def test_the_clip_stays_near_its_start_where_no_norm_says_anything() -> None:
    for nothing, edge in (
        (torch.zeros(400), 20 / FURTHEST),
        (torch.full((400,), math.nan), 20 * FURTHEST),
    ):
        *_, last = clips(PLAN, nothing, 300)
        assert last.norm == pytest.approx(edge)


def test_the_booked_step_is_one_gaussian_of_both_releases() -> None:
    joint = joint_noise_multiplier(2.0, 0.05 * 400)
    assert joint < 2.0
    assert PLAN.event(TRAIN, TRAINING) == Repeated(Sampled(1.0, Gaussian(joint)), 60)
    sampled = replace(PLAN, sampling_rate=0.25)
    assert bill(sampled.event(TRAIN, Training(steps=7))) == {
        Sampled(0.25, Gaussian(joint_noise_multiplier(2.0, 0.05 * 100))): 7
    }


def test_calibration_pays_for_the_count() -> None:
    def run(plan: CustomerPrivacy) -> Repeated:
        return Repeated(plan.event(TRAIN, TRAINING), 2)

    moving = replace(PLAN, epsilon=8.0, clip_noise_std=0.03, sigma=0.0).calibrated(run)
    fixed = replace(moving, clip_quantile=0.0, sigma=0.0).calibrated(run)
    assert moving.sigma > 1.02 * fixed.sigma
    assert 0.98 * 8.0 < pld_epsilon(run(moving), PLAN.delta) <= 8.0
    assert pld_epsilon(run(replace(fixed, clip_quantile=0.5)), PLAN.delta) > 8.0


def test_counts_that_cost_more_than_epsilon_are_a_clear_mistake() -> None:
    small = replace(PLAN, epsilon=1.0, customers=20.0, sigma=0.0)
    with pytest.raises(InputError, match=r"privacy\.epsilon: 1 cannot be kept.*cost \d+"):
        small.calibrated(lambda plan: plan.event(TRAIN, TRAINING))


def test_a_brands_ledger_gets_the_price_of_count_and_gradients(tmp_path: Path) -> None:
    from fl.brand import LocalBrand

    price = PLAN.event(TRAIN, TRAINING)
    path = tmp_path / "ledger.jsonl"
    with Ledger.create(path, SigningKey.generate(), opening(math.inf), accountant=rdp) as ledger:
        ledger.reserve("run", price)
        splits = worlds.splits(TASK, "b0")
        brand = LocalBrand("b0", splits, TASK, PLAN, TRAINING, 0, "train/1", ledger.run("run"))
        brand.answer(TRAIN)
        ledger.settle("run")
        assert bill(Composed(ledger.lifetime())) == bill(price)


def test_a_run_books_states_and_audits_its_moving_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    crm.table().to_csv("crm.csv", index=False)
    stated = (
        "data.columns={session_duration: {low: 0, high: 3000}, message_count: {low: 0, high: 20}, "
        "product_views: {low: 0, high: 50}}"
    )
    plan = ("privacy=local", "privacy.clip_quantile=0.6", "privacy.customers=200")
    more = (stated, "algorithm=fedavg", "training.steps=4", "arms=[federated]", "seeds=1")
    kept = crm.run(Path("crm.csv"), Path("out"), *plan, *more)
    values = kept["statements"]["federated@local-3"]
    assert values.pop("seed") == 0
    assert values.pop("lines")[3] == (
        "mechanism: Gaussian noise (secure) on sums, clip norm from 1 (L2) towards quantile 0.6 of "
        "the norms, from noised counts that are booked"
    )
    assert recompute(values) == []
    statement = Statement.from_json(values)
    assert statement.customer.pld <= 3.0
    assert [release.times for release in statement.releases or ()] == [12]


def test_one_sum_a_round_is_refused_before_it_costs_anything() -> None:
    ask = Query(Statistic("train", Of.GRADIENT, TRAIN.start))
    with pytest.raises(InputError, match=r"clip_quantile.*algorithm that trains"):
        PLAN.event(ask, TRAINING)
    examples, model = world(60)
    with pytest.raises(InputError, match="all brands would have to agree on"):
        PLAN.gradient(TASK, model, examples, 0)
    replace(PLAN, clip_quantile=0.0).event(ask, TRAINING)


def test_values_out_of_range_and_shares_of_noise_are_refused() -> None:
    for field, bad in (
        ("clip_quantile", (-0.1, 1.0, math.nan)),
        ("clip_rate", (0.0, -1.0, math.inf, math.nan)),
        ("clip_noise_std", (0.0, -1.0, math.inf, math.nan)),
    ):
        for value in bad:
            with pytest.raises(ValueError, match=field):
                replace(PLAN, **{field: value})
    with pytest.raises(ValueError, match="clip_quantile=0: brands would have to agree"):
        replace(PLAN, name="distributed")


def test_secure_noise_moves_the_clip_as_well() -> None:
    examples, model = world(60)
    secure = replace(PLAN, noise_source="secure")
    assert len(list(secure.gradients(TASK, model, examples, Training(steps=3), 0))) == 3
    spread = torch.linspace(0.5, 2.0, 400)
    assert PLAN._clip.after(spread, SecureRandom()).norm < PLAN.clip_norm
