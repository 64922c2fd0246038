"""Every model of the table can be trained, stored and loaded, and has no hidden state."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fl.data.schema import Number, Schema
from fl.models import MODELS
from fl.models.additive import Additive
from fl.models.parameters import entries, load, parameters
from tests import worlds


@pytest.mark.parametrize("name", sorted(MODELS))
class TestEveryModel:
    def test_gives_one_logit_per_example(self, name: str) -> None:
        task = worlds.task(name)
        batch = worlds.splits(task, "b0")["train"]
        model = task.model(torch.Generator().manual_seed(1))
        assert model(batch.x_bf, batch.c_bg).shape == (len(batch),)

    def test_two_models_of_one_generator_are_equal(self, name: str) -> None:
        task = worlds.task(name)
        a, b = (parameters(task.model(torch.Generator().manual_seed(3))) for _ in range(2))
        assert all(np.array_equal(a[n], b[n]) for n in a)

    def test_ignores_the_global_generator(self, name: str) -> None:
        task = worlds.task(name)
        torch.manual_seed(1)
        a = parameters(task.model(torch.Generator().manual_seed(3)))
        torch.manual_seed(2)
        b = parameters(task.model(torch.Generator().manual_seed(3)))
        assert all(np.array_equal(a[n], b[n]) for n in a)

    def test_parameters_survive_a_round_trip(self, name: str) -> None:
        task = worlds.task(name)
        model = task.model(torch.Generator().manual_seed(1))
        values = {n: a + 1 for n, a in parameters(model).items()}
        load(model, values)
        assert all(np.array_equal(values[n], a) for n, a in parameters(model).items())

    def test_is_counted_without_being_made(self, name: str) -> None:
        task = worlds.task(name)
        made = parameters(task.model(torch.Generator().manual_seed(1)))
        counted = entries(lambda: task.model(torch.Generator().manual_seed(1)))
        assert counted == sum(a.size for a in made.values()) > 0

    def test_has_no_buffer_that_could_carry_data(self, name: str) -> None:
        assert not task_buffers(name)

    def test_an_example_is_scored_the_same_in_any_company(self, name: str) -> None:
        task = worlds.task(name)
        batch = worlds.splits(task, "b0")["train"]
        model = task.model(torch.Generator().manual_seed(1))
        load(model, {n: a + 0.1 for n, a in parameters(model).items()})
        alone = task.scores(model, batch.span(3, 4))
        assert alone[0] == pytest.approx(task.scores(model, batch)[3], abs=1e-6)

    def test_works_without_numbers_and_without_categories(self, name: str) -> None:
        for columns in (SCHEMA_NUMBERS, SCHEMA_CODES):
            model = MODELS[name]().build(columns, torch.Generator().manual_seed(0))
            x = torch.zeros(2, len(columns.numbers))
            c = torch.zeros(2, len(columns.codes), dtype=torch.int64)
            assert model(x, c).shape == (2,)


SCHEMA_NUMBERS = Schema((Number("a", 0, 1),), "y")
SCHEMA_CODES = Schema(worlds.SCHEMA.codes, "y")


def task_buffers(name: str) -> dict[str, torch.Tensor]:
    """Everything a model would save beside its parameters."""
    model = worlds.task(name).model(torch.Generator().manual_seed(1))
    named = dict(model.named_parameters())
    return {k: v for k, v in model.state_dict().items() if k not in named}


def test_load_refuses_other_names_or_shapes() -> None:
    task = worlds.task()
    model = task.model(torch.Generator().manual_seed(1))
    with pytest.raises(ValueError, match="names and shapes"):
        load(model, {"weight": np.zeros(3)})


def test_additive_curves_add_up_to_the_logit() -> None:
    """The plotted contributions of an example's levels, plus the last level, are its logit."""
    task = worlds.task("additive")
    config = Additive()
    model = task.model(torch.Generator().manual_seed(0))
    rng = np.random.default_rng(5)
    load(model, {n: rng.normal(size=a.shape) for n, a in parameters(model).items()})
    params = parameters(model)
    curves = config.curves(worlds.SCHEMA, params)
    batch = worlds.splits(task, "b0")["train"].span(0, 20)
    logit = model(batch.x_bf, batch.c_bg).detach().numpy()
    for i in range(20):
        total = float(params["level.weight"][-1, 0])
        for f, number in enumerate(worlds.SCHEMA.numbers):
            level = min(int((batch.x_bf[i, f].item() + 1) * config.bins / 2), config.bins - 1)
            total += curves[number.name][1][level]
        for g, code in enumerate(worlds.SCHEMA.codes):
            total += curves[code.name][1][int(batch.c_bg[i, g])]
        assert total == pytest.approx(logit[i], abs=1e-4)
