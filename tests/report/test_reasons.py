"""Reasons: exact for additive models, occlusion for the rest, and the two agree where both hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fl.data.schema import Category, Number, Schema
from fl.models import MODELS
from fl.models.parameters import load, parameters
from fl.report import reasons
from fl.report.reasons import contributions, largest, log_odds, texts
from fl.seeds import numpy_generator, torch_generator

SCHEMA = Schema(
    (Number("age", 0, 100), Number("spend", 0, 1000, log=True), Category("city", ("a", "b"))),
    "bought",
)


def rows(n: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    rng = numpy_generator(1, "reasons")
    x = torch.from_numpy(rng.uniform(-1, 1, (n, 2)).astype(np.float32))
    return x, torch.from_numpy(rng.integers(0, 3, (n, 1)))


def module(name: str) -> torch.nn.Module:
    model = MODELS[name]().build(SCHEMA, torch_generator(0, "m"))
    rng = numpy_generator(2, "weights", name)
    load(model, {n: rng.normal(0, 0.5, a.shape) for n, a in parameters(model).items()})
    return model


@pytest.mark.parametrize("name", ["logistic", "additive"])
def test_contributions_of_an_additive_model_add_up_to_the_score(name: str) -> None:
    x, c = rows()
    model = module(name)
    score = log_odds(model, x, c)
    added = contributions(name, model, x, c)
    assert added.shape == (60, 3)
    np.testing.assert_allclose(added.sum(1), score - score.mean(), atol=1e-5)
    np.testing.assert_allclose(added.mean(0), 0, atol=1e-6)


@pytest.mark.parametrize("name", ["logistic", "additive"])
def test_occlusion_of_an_additive_model_differs_by_a_constant_per_feature(name: str) -> None:
    x, c = rows()
    model = module(name)
    shift = reasons._occluded(model, x, c) - contributions(name, model, x, c)
    np.testing.assert_allclose(shift, np.broadcast_to(shift[0], shift.shape), atol=1e-5)


def test_occlusion_of_a_perceptron_is_the_fall_of_the_score() -> None:
    x, c = rows()
    model = module("mlp")
    added = contributions("mlp", model, x, c)
    usual = x.clone()
    usual[:, 1] = x[:, 1].median()
    np.testing.assert_allclose(added[:, 1], log_odds(model, x, c) - log_odds(model, usual, c))
    common = torch.full_like(c, int(c[:, 0].mode().values))
    np.testing.assert_allclose(added[:, 2], log_odds(model, x, c) - log_odds(model, x, common))


def test_a_feature_that_the_model_ignores_is_no_reason() -> None:
    x, c = rows()
    model = module("mlp")
    with torch.no_grad():
        model.layers[0].weight[:, 0] = 0  # type: ignore[union-attr,index]
    assert np.abs(contributions("mlp", model, x, c)[:, 0]).max() < 1e-6


def test_the_largest_by_size_come_first() -> None:
    found = largest(np.array([[0.1, -3.0, 2.0], [5.0, 0.0, -6.0]]), 2)
    assert found.tolist() == [[1, 2], [2, 0]]
    assert largest(np.zeros((2, 3)), 9).shape == (2, 3)
    assert largest(np.zeros((0, 3)), 2).shape == (0, 2)
    assert largest(np.zeros((2, 0)), 2).shape == (2, 0)


def test_reasons_are_in_the_units_of_the_schema() -> None:
    x = torch.tensor([[0.0, 1.0]])
    c = torch.tensor([[2]])
    said = texts(SCHEMA, x, c, np.array([[0.5, -1.25, 0.1]]), np.array([[1, 0, 2]]))
    assert said == [["spend = 1000 (-1.25)", "age = 50 (+0.50)", "city = b (+0.10)"]]
    assert texts(SCHEMA, x, c, np.zeros((1, 3)), np.zeros((1, 0), np.int64)) == [[]]


def test_nobody_gives_nothing() -> None:
    x, c = rows(0)
    for name in MODELS:
        assert contributions(name, module(name), x, c).shape == (0, 3)
