"""Every trained task of the table keeps the contract that doors, arms and reports rely on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from experiments.details import DETAILS
from fl.contracts import Rows, concatenate
from fl.data.campaign import Campaign
from fl.data.schema import Number, Schema
from fl.models.logistic import Logistic
from fl.models.parameters import entries, load, parameters
from fl.models.popularity import Popularity
from fl.report.metrics import METRICS
from fl.tasks import TASKS, Trained
from fl.tasks.targeting import TargetingOptions
from tests import worlds
from tests.preference import worlds as shop

World = tuple[Trained[Any], Rows]


def _conversion() -> World:
    task = worlds.task()
    return task, worlds.splits(task, "b0")["train"]


def _text() -> World:
    task = worlds.text_task()
    table = worlds.messages(60)
    return task, task.examples(table, np.arange(len(table)), "brand")


def _targeting() -> World:
    rng = np.random.default_rng(0)
    n = 240
    table = pd.DataFrame({"x": rng.uniform(0, 1, n), "got": rng.integers(0, 3, n), "y": 0})
    table["y"] = (rng.uniform(size=n) < 0.3 + 0.1 * (table["got"] > 0)).astype(int)
    campaign = Campaign("got", "0", ("1", "2"), "randomised", (1 / 3, 1 / 3, 1 / 3))
    schema = Schema((Number("x", 0, 1),), "y", campaign=campaign)
    task = TargetingOptions().task(schema, Logistic())
    return task, task.examples(table, np.arange(n), "table")


def _preference() -> World:
    task = shop.task(Popularity())
    return task, shop.rows(task, "test")


WORLDS: dict[str, Callable[[], World]] = {
    "conversion": _conversion,
    "preference": _preference,
    "text": _text,
    "targeting": _targeting,
}


def model_of(task: Trained[Any]) -> torch.nn.Module:
    """A model that says something."""
    model, rng = task.model(torch.Generator().manual_seed(1)), np.random.default_rng(2)
    load(model, {n: a + rng.normal(0, 0.3, a.shape) for n, a in parameters(model).items()})
    return model


@pytest.mark.parametrize("name", sorted(TASKS))
def test_a_model_is_counted_without_being_made(name: str) -> None:
    task, _ = WORLDS[name]()
    made = parameters(task.model(torch.Generator().manual_seed(1)))
    counted = entries(lambda: task.model(torch.Generator().manual_seed(1)))
    assert counted == sum(a.size for a in made.values()) > 0


def test_every_task_is_tested_here_and_has_its_part_of_the_report() -> None:
    assert set(WORLDS) == set(DETAILS) == set(TASKS)


@pytest.mark.parametrize("name", sorted(TASKS))
class TestEveryTask:
    def test_options_name_what_exists(self, name: str) -> None:
        options = TASKS[name]
        assert options().name == name
        assert options.models and all(cls().name == m for m, cls in options.models.items())
        assert set(options.reports) <= set(METRICS)

    def test_one_loss_for_each_example_whatever_its_company(self, name: str) -> None:
        task, rows = WORLDS[name]()
        model = model_of(task)
        together = task.losses(model, rows)
        assert together.shape == (len(rows),)
        apart = torch.cat([task.losses(model, rows.span(i, i + 1)) for i in range(len(rows))])
        assert torch.allclose(together, apart, atol=1e-5)

    def test_statistics_have_their_names_shapes_and_limits(self, name: str) -> None:
        task, rows = WORLDS[name]()
        with torch.no_grad():
            each = task.evaluate(model_of(task), rows)
        zero, limits = task.statistics(), task.limits()
        assert set(each) == set(zero) == set(limits)
        for part, values in each.items():
            assert values.shape == (len(rows), *np.shape(zero[part]))
            norm = np.sqrt((values.reshape(len(rows), -1) ** 2).sum(1))
            assert (norm <= limits[part] + 1e-9).all()

    def test_counted_and_offline_metrics_agree_on_the_loss(self, name: str) -> None:
        task, rows = WORLDS[name]()
        model = model_of(task)
        with torch.no_grad():
            sums = {n: x.sum(0) for n, x in task.evaluate(model, rows).items()}
            loss = float(task.losses(model, rows).double().mean())
        assert task.metrics(sums)["log_loss"] == pytest.approx(loss, rel=1e-5)

    def test_every_report_is_a_number_for_scores_and_truth(self, name: str) -> None:
        task, rows = WORLDS[name]()
        scores, truth = task.scores(model_of(task), rows), task.truth(rows)
        assert len(scores) == len(truth) == len(rows)
        for metric in TASKS[name].reports:
            assert np.isfinite(METRICS[metric](truth, scores))

    def test_rows_can_be_chosen_and_joined(self, name: str) -> None:
        task, rows = WORLDS[name]()
        model = model_of(task)
        order = torch.arange(len(rows)).flip(0)
        one = task.scores(model, rows)
        assert np.allclose(task.scores(model, rows.rows(order)), one[::-1], atol=1e-6)
        both = concatenate([rows.span(0, 5), rows.span(5, len(rows))])
        assert np.allclose(task.scores(model, both), one, atol=1e-6)
        assert torch.equal(both.customer_b, rows.customer_b)
        assert rows.renumbered(rows.customer_b + 7).customer_b[0] == rows.customer_b[0] + 7
