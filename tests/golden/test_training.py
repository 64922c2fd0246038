"""The local loop against hand calculations on a model with one weight and a bias.

Two examples x = (1, -1), y = (1, 0), logistic model from zero: p = 0.5, gradient of the mean loss
is mean((p - y) x) = -0.5 for the weight and mean(p - y) = 0 for the bias.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fl.brand import LocalBrand
from fl.contracts import Examples
from fl.data.schema import Number, Schema
from fl.doors import Drift, Train, Trained, Training
from fl.models import Logistic
from fl.privacy import NoPrivacy
from fl.tasks.conversion import Conversion

START = {
    "numbers.weight": np.zeros((1, 1), np.float32),
    "numbers.bias": np.zeros(1, np.float32),
    "category.weight": np.zeros((0, 1), np.float32),
}


def trained(training: Training, drift: Drift | None = None) -> dict[str, float]:
    task = Conversion(Schema((Number("x", -1, 1),), "y"), Logistic())
    examples = Examples(
        torch.tensor([[1.0], [-1.0]]),
        torch.zeros(2, 0, dtype=torch.int64),
        torch.tensor([1.0, 0.0]),
        torch.tensor([0, 1]),
    )
    brand = LocalBrand("b", {"train": examples}, task, NoPrivacy(), training, 0, "t")
    answer = brand.answer(Train(START, drift or Drift()))
    assert isinstance(answer, Trained)
    assert answer.steps == (training.steps or training.epochs)
    assert answer.weight == 2.0
    return {n: float(a.reshape(-1)[0]) for n, a in answer.arrays.items() if a.size}


def test_one_step_of_gradient_descent() -> None:
    got = trained(Training(learning_rate=0.2, batch_size=2))
    assert got["numbers.weight"] == pytest.approx(0.1) and got["numbers.bias"] == pytest.approx(0.0)


def test_momentum_adds_the_last_step() -> None:
    """w1 = 0.1; g2 = -(1 - sigmoid(0.1)); v2 = 0.9 * -0.5 + g2; w2 = 0.1 - 0.2 v2."""
    got = trained(Training(learning_rate=0.2, batch_size=2, momentum=0.9, steps=2))
    g2 = -(1 - 1 / (1 + np.exp(-0.1)))
    assert got["numbers.weight"] == pytest.approx(0.1 - 0.2 * (0.9 * -0.5 + g2), rel=1e-6)


def test_weight_decay_pulls_to_zero() -> None:
    """g2 + 0.1 w1 at the second step."""
    got = trained(Training(learning_rate=0.2, batch_size=2, weight_decay=0.1, epochs=2))
    g2 = -(1 - 1 / (1 + np.exp(-0.1)))
    assert got["numbers.weight"] == pytest.approx(0.1 - 0.2 * (g2 + 0.1 * 0.1), rel=1e-6)


def test_drift_adds_its_offset_and_its_pull() -> None:
    """g + offset + pull * (w - anchor) = -0.5 + 0.3 + 2 * (0 - 0.25) = -0.7."""
    drift = Drift(
        offset={**START, "numbers.weight": np.full((1, 1), 0.3)},
        pull=2.0,
        anchor={**START, "numbers.weight": np.full((1, 1), 0.25)},
    )
    got = trained(Training(learning_rate=0.2, batch_size=2), drift)
    assert got["numbers.weight"] == pytest.approx(0.2 * 0.7, rel=1e-6)
