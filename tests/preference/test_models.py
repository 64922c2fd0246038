"""Recommenders learn what follows what, see nothing of the future, and keep customers apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from fl.brand import _Step
from fl.doors import Drift, Training
from fl.errors import InputError
from fl.models.factorisation import Factorisation
from fl.models.parameters import load, parameters
from fl.models.popularity import Popularity
from fl.models.sasrec import SasRec
from fl.privacy.gradients import check_model, clipped_sum, kernel_for
from fl.tasks.histories import Histories
from fl.tasks.preference import Preference
from tests.preference import worlds

BOUNDED = {
    "popularity": Popularity(),
    "factorisation": Factorisation(dim=4, per_customer=True),
    "sasrec": SasRec(dim=8, dropout=0.0, per_customer=True),
}
PACKED = SasRec(dim=8, dropout=0.0)
QUICK = Factorisation(dim=4)
ALL = {**BOUNDED, "packed": PACKED, "quick factorisation": QUICK}


def moved(task: Preference) -> Any:
    """A model with weights that say something."""
    model, rng = task.model(torch.Generator().manual_seed(1)), np.random.default_rng(2)
    load(model, {n: a + rng.normal(0, 0.3, a.shape) for n, a in parameters(model).items()})
    return model


@pytest.mark.parametrize("name", ["packed", "popularity", "sasrec"])
def test_a_state_sees_nothing_of_what_comes_later(name: str) -> None:
    model = moved(worlds.task(ALL[name]))
    past, other = torch.tensor([[3, 4, 5, 6]]), torch.tensor([[3, 4, 9, 1]])
    with torch.no_grad():
        assert torch.allclose(model(past)[:, :2], model(other)[:, :2], atol=1e-6)


@pytest.mark.parametrize("name", sorted(ALL))
class TestEveryRecommender:
    def test_padding_changes_nothing(self, name: str) -> None:
        model = moved(worlds.task(ALL[name]))
        with torch.no_grad():
            short = model(torch.tensor([[3, 4, 5]]))[0, -1]
            padded = model(torch.tensor([[0, 0, 0, 3, 4, 5], [1, 2, 3, 4, 5, 6]]))[0, -1]
        assert torch.allclose(short, padded, atol=1e-5)

    def test_a_history_is_scored_the_same_in_any_company(self, name: str) -> None:
        task = worlds.task(ALL[name])
        model, rows = moved(task), worlds.rows(task, "test")
        together = task.scores(model, rows)
        assert np.allclose(task.scores(model, rows.span(3, 4))[0], together[3], atol=1e-5)

    def test_the_score_of_chosen_items_is_that_of_all(self, name: str) -> None:
        model = moved(worlds.task(ALL[name]))
        with torch.no_grad():
            state = model(torch.tensor([[3, 4]]))[:, -1]
            weight, bias = model.output_of(torch.tensor([2, 7]))
            assert torch.allclose(state @ weight.t() + bias, model.score(state)[:, [1, 6]])

    def test_equal_seeds_give_equal_models_whatever_the_global_generator(self, name: str) -> None:
        task = worlds.task(ALL[name])
        torch.manual_seed(1)
        a = parameters(task.model(torch.Generator().manual_seed(3)))
        torch.manual_seed(2)
        b = parameters(task.model(torch.Generator().manual_seed(3)))
        assert all(np.array_equal(a[n], b[n]) for n in a)

    def test_no_parameter_belongs_to_a_customer(self, name: str) -> None:
        """So nothing of a customer can be sent by mistake: sizes depend on items alone."""
        task = worlds.task(ALL[name])
        sizes = {len(a) for a in parameters(task.model(torch.Generator())).values()}
        assert sizes <= {worlds.ITEMS, worlds.ITEMS + 1, 10, 8}

    def test_an_empty_history_and_an_unknown_item_are_scored(self, name: str) -> None:
        task = worlds.task(ALL[name])
        table = pd.DataFrame(
            {"history": [(), ("i01",), ("gone",)], "next": [("i02",), ("gone",), ("i03", "gone")]}
        )
        told = task.scores(moved(task), task.examples(table, np.arange(3), "brand b"))
        assert np.isfinite(told).all()
        assert told[1, 1:6].tolist() == [16, 0, 0, 0, 0]  # what is not in the catalogue is missed
        assert told[2, 2] <= 0.5

    def test_an_item_that_this_brand_never_sold_can_be_wanted(self, name: str) -> None:
        task = worlds.task(ALL[name])
        own = worlds.purchases()
        own = own[own["item"] != "i05"]
        model = worlds.trained(task, steps=20)
        rows = worlds.rows(task, "test", own)
        wanted = replace(rows, next_bk=torch.full_like(rows.next_bk, 6))
        assert np.isfinite(task.scores(model, wanted)).all()


@pytest.mark.parametrize("negatives", ["expected", "drawn"])
@pytest.mark.parametrize("name", sorted(ALL))
def test_what_a_customer_had_before_a_long_history_is_out_of_the_ranking(
    name: str, negatives: str
) -> None:
    """The wanted item ranks as if the old ones, which the model likes best, were not there."""
    task = worlds.task(ALL[name], length=3, new_only=True, negatives=negatives)
    model, limits = moved(task), task.limits()
    with torch.no_grad():
        order = model.score(model(torch.tensor([[21, 22, 23]]))[:, -1])[0].argsort(descending=True)
    open_items = [f"i{n:02d}" for n in order.tolist() if n not in (20, 21, 22)]
    *better, wanted = open_items[: len(open_items) - 4]
    row = {"history": ("i20", "i21", "i22"), "next": (wanted,)}
    table = pd.DataFrame([{**row, "owned": ()}, {**row, "owned": tuple(better)}])
    rows = task.examples(table, np.arange(2), "brand b")
    cut, whole = task.scores(model, rows)
    assert cut[2:6].max() == 0  # sixteen others are better
    assert whole[2:6].tolist() == [1, 1, 1, 1]
    first, *_ = whole[7:]
    assert first == int(wanted[1:]) + 1
    assert {f"i{int(n) - 1:02d}" for n in cut[7:]} == set(better[:10])
    assert task.scores(model, rows.span(1, 2))[0] == pytest.approx(whole)
    assert cut[1] == whole[1]  # the loss is of the whole catalogue
    sums = task.evaluate(model, rows)
    assert all(np.linalg.norm(sums[n][1]) <= bound + 1e-9 for n, bound in limits.items())


@pytest.mark.parametrize("name", BOUNDED)
def test_what_was_owned_before_the_history_moves_no_gradient(name: str) -> None:
    task = worlds.task(BOUNDED[name])
    rows = worlds.rows(task, "test")
    owned = replace(rows, owned_bo=torch.full((len(rows), 3), 5, dtype=torch.int32))
    model = moved(task)
    assert torch.equal(task.losses(model, rows), task.losses(model, owned))


@pytest.mark.parametrize("name", ["quick factorisation", "packed", "sasrec"])
def test_a_model_of_histories_beats_popularity(name: str) -> None:
    popular = worlds.task(Popularity(), loss="softmax")
    task = worlds.task(ALL[name])
    best = popular.scores(worlds.trained(popular), worlds.rows(popular, "test"))[:, 3].mean()
    found = task.scores(worlds.trained(task), worlds.rows(task, "test"))[:, 3].mean()
    # A vector of what was bought knows no order, so it can do less in this ordered world.
    assert found > best + (0.03 if name == "quick factorisation" else 0.1)


@pytest.mark.parametrize("loss", ["sampled_softmax", "bce"])
def test_losses_that_sample_learn_too(loss: str) -> None:
    task = worlds.task(SasRec(dim=16, dropout=0.1), loss=loss, sampled=8)
    found = task.scores(worlds.trained(task, steps=300), worlds.rows(task, "test"))[:, 3].mean()
    assert found > 0.6


def test_a_customers_vector_is_the_minimum_of_what_the_factorisation_lowers() -> None:
    """Of the sum over the whole catalogue, by its gradient in double precision."""
    model, how = moved(worlds.task(QUICK)), QUICK
    p_d = model(torch.tensor([[0, 3, 9, 3]]))[0, 0].detach().double().requires_grad_()
    q_nd, y_n = model.item.weight.detach().double(), torch.zeros(worlds.ITEMS)
    y_n[[2, 8]] = 1
    error_n = (how.unobserved + y_n) * (y_n - q_nd @ p_d) ** 2
    (error_n.sum() + how.ridge * (p_d**2).sum()).backward()
    assert p_d.grad is not None and p_d.grad.abs().max() < 1e-4 < p_d.abs().max()


def test_both_ways_of_adding_up_the_catalogue_agree() -> None:
    """In value and gradient, of rows that teach their own items and rows with a next basket."""
    found = []
    for how in (QUICK, BOUNDED["factorisation"]):
        task = worlds.task(how)
        model = moved(task)
        rows = worlds.rows(task, "train").span(0, 9)
        rows = rows.followed_by([worlds.rows(task, "validation").span(0, 4)])
        loss_b = task.losses(model, rows)
        found.append((loss_b, *torch.autograd.grad(loss_b.sum(), list(model.parameters()))))
    for quick, dense in zip(*found, strict=True):
        assert torch.allclose(quick, dense, rtol=1e-4, atol=1e-4)


def test_a_next_basket_is_wanted_and_not_seen_by_the_customers_vector() -> None:
    model = moved(worlds.task(QUICK))
    past, follows = torch.tensor([[0, 3, 9]]), torch.tensor([[5, -1]])
    asked = model.losses(past, follows) - model.losses(past, torch.zeros_like(follows))
    score = model.score(model(past))[0, 0, 4]
    alpha = QUICK.unobserved
    assert asked.item() == pytest.approx(
        ((1 + alpha) * (1 - score) ** 2 - alpha * score**2).item(), abs=1e-4
    )


def test_a_model_is_trained_by_a_loss_of_its_own_only() -> None:
    with pytest.raises(InputError, match=r"task.loss: model factorisation has no loss 'softmax'"):
        worlds.task(QUICK, loss="softmax")
    with pytest.raises(InputError, match=r"model sasrec has no loss 'squared'.*loss=softmax"):
        worlds.task(PACKED, loss="squared")


def test_both_ways_of_computing_attention_agree() -> None:
    packed, apart = (moved(worlds.task(c)) for c in (PACKED, BOUNDED["sasrec"]))
    shared = {n: a for n, a in parameters(apart).items() if not n.startswith("output")}
    load(packed, shared)
    rows = worlds.rows(worlds.task(PACKED), "test").item_bl
    with torch.no_grad():
        assert torch.allclose(packed(rows)[:, -1], apart(rows)[:, -1], atol=1e-5)


def test_dropout_is_drawn_from_the_runs_seed_and_only_in_training() -> None:
    task = worlds.task(SasRec(dim=8, dropout=0.5))
    rows = worlds.rows(task, "train")
    losses = []
    for disturbance in (1, 2):
        torch.manual_seed(disturbance)
        losses.append(task.losses(task.model(torch.Generator().manual_seed(3)), rows))
    assert torch.equal(*losses)
    model = task.model(torch.Generator().manual_seed(3))
    assert not torch.equal(task.losses(model, rows), task.losses(model, rows))
    assert np.array_equal(task.scores(model, rows.span(0, 4)), task.scores(model, rows.span(0, 4)))


@pytest.mark.parametrize("name", sorted(BOUNDED))
class TestUnderAPlan:
    def rows(self, task: Preference) -> Histories:
        """Customers with one row, and with two."""
        rows = worlds.rows(task, "train").span(0, 9)
        rows = rows.followed_by([worlds.rows(task, "validation").span(0, 4)])
        return rows.rows(torch.argsort(rows.customer_b, stable=True))

    def test_each_customers_gradient_is_bounded_as_if_made_alone(self, name: str) -> None:
        task = worlds.task(BOUNDED[name])
        model, rows, clip = moved(task), self.rows(task), 0.1
        expected = [torch.zeros_like(p) for p in model.parameters()]
        for who in torch.unique(rows.customer_b):
            own = rows.rows((rows.customer_b == who).nonzero()[:, 0])
            loss = task.losses(model, own).mean()
            parts = torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True)
            norm = float(torch.sqrt(sum((g**2).sum() for g in parts)))
            for total, g in zip(expected, parts, strict=True):
                total += g * min(1.0, clip / norm)
        made = clipped_sum(task.losses, model, rows, clip)
        for total, g in zip(expected, made.gradients, strict=True):
            assert torch.allclose(total, g, atol=1e-5)
        assert made.customers == 9 and made.not_finite == 0

    def test_the_quick_kernel_is_used_and_the_check_passes(self, name: str) -> None:
        task = worlds.task(BOUNDED[name])
        model = moved(task)
        assert kernel_for(model) == "analytic"
        check_model(task.losses, model, self.rows(task))


def test_adam_takes_the_steps_of_its_paper() -> None:
    """Two steps, by hand: m and v unbiased, then rate * m / (sqrt(v) + eps)."""
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(layer.weight, 1.0)
    step = _Step(layer, Training(learning_rate=0.1, optimizer="adam"), Drift())
    m = v = 0.0
    w = 1.0
    for t, g in enumerate((0.5, -2.0), start=1):
        step([torch.tensor([[g]])])
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w -= 0.1 * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)) ** 0.5 + 1e-8)
        assert layer.weight.item() == pytest.approx(w, abs=1e-6)


def test_options_out_of_range_are_refused() -> None:
    for make in (
        lambda: SasRec(dim=10, heads=3),
        lambda: SasRec(dropout=1.0),
        lambda: SasRec(per_customer=True, dropout=0.1),
        lambda: Factorisation(dim=0),
        lambda: Factorisation(ridge=0.0),
        lambda: Factorisation(unobserved=0.0),
        lambda: worlds.task(Popularity(), loss="hinge"),
        lambda: worlds.task(Popularity(), length=1),
        lambda: worlds.task(Popularity(), negatives="all"),
        lambda: Training(optimizer="lion"),
        lambda: Training(optimizer="adam", momentum=0.9),
    ):
        with pytest.raises(ValueError, match="Expected"):
            make()
