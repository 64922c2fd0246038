"""The sparse layer: as a dense one, in every gradient and in every customer's clipped share."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fl.data.messages import Messages
from fl.errors import InputError
from fl.models.grams import GramsModel
from fl.privacy.gradients import clipped_sum, kernel_for
from fl.sparse import SparseLinear

INPUTS = 6


@st.composite
def batches(draw: st.DrawFn) -> Messages:
    """Messages with repeated and empty bags, of customers with one or several messages."""
    lengths = draw(st.lists(st.integers(0, 4), min_size=1, max_size=7))
    n, rows = sum(lengths), len(lengths)
    codes = draw(st.lists(st.integers(0, INPUTS), min_size=n, max_size=n))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    customers = draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows))
    if draw(st.booleans()):
        customers = list(range(rows))
    return Messages(
        torch.tensor(codes, dtype=torch.int32),
        torch.from_numpy(rng.normal(size=n).astype(np.float32)),
        torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)),
        torch.from_numpy(rng.normal(size=(rows, 2)).astype(np.float32)),
        torch.from_numpy(rng.integers(0, 3, rows)),
        torch.tensor(customers),
    )


def losses(model: nn.Module, batch: Messages) -> torch.Tensor:
    logit = model(batch.code_n, batch.value_n, batch.start_b, batch.x_bf)
    if logit.shape[1] == 1:
        return nn.functional.softplus(logit[:, 0] * (1 - 2 * (batch.y_b > 0).float()))
    return nn.functional.cross_entropy(logit, batch.y_b, reduction="none")


def model_of(classes: int, vector: int) -> nn.Module:
    model = GramsModel().build(INPUTS, vector, classes, torch.Generator())
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng))
    return model


@pytest.mark.parametrize(("classes", "vector"), [(2, 0), (3, 0), (3, 2)])
@given(batch=batches(), clip=st.sampled_from([0.3, 1.0, 100.0]))
@settings(max_examples=60, deadline=None)
def test_clipped_sums_are_those_of_customers_one_by_one(
    classes: int, vector: int, batch: Messages, clip: float
) -> None:
    model = model_of(classes, vector)
    assert kernel_for(model) == "analytic"
    total = clipped_sum(losses, model, batch, clip)
    expected = [torch.zeros_like(p) for p in model.parameters()]
    norms = []
    for customer in torch.unique(batch.customer_b):
        mine = batch.rows((batch.customer_b == customer).nonzero()[:, 0])
        gradient = torch.autograd.grad(losses(model, mine).mean(), list(model.parameters()))
        norm = float(torch.sqrt(sum((g.double() ** 2).sum() for g in gradient)))
        norms.append(norm)
        for e, g in zip(expected, gradient, strict=True):
            e += g * min(1.0, clip / max(norm, 1e-30))
    assert np.allclose(total.norms, norms, rtol=1e-4, atol=1e-6)
    for got, e in zip(total.gradients, expected, strict=True):
        assert torch.allclose(got, e, atol=1e-5)


@given(batch=batches())
@settings(max_examples=40, deadline=None)
def test_the_layer_is_a_dense_one_on_written_out_rows(batch: Messages) -> None:
    layer = model_of(3, 0).bag
    dense = torch.zeros(len(batch), INPUTS + 1)
    for row in range(len(batch)):
        for n in range(int(batch.start_b[row]), int(batch.start_b[row + 1])):
            dense[row, int(batch.code_n[n])] += batch.value_n[n]
    out = layer(batch.code_n, batch.value_n, batch.start_b)
    assert torch.allclose(out, dense @ layer.weight, atol=1e-5)
    back = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad(out, [layer.weight], back)
    assert torch.allclose(gradient, dense.t() @ back, atol=1e-4)


def test_a_row_that_is_not_finite_counts_as_zero_and_spoils_nobody() -> None:
    batch = Messages(
        torch.tensor([0, 1], dtype=torch.int32), torch.tensor([1.0, float("nan")]),
        torch.tensor([0, 1, 2], dtype=torch.int32), torch.zeros(2, 0), torch.tensor([0, 1]),
        torch.tensor([0, 1]),
    )  # fmt: skip
    model = model_of(3, 0)
    total = clipped_sum(losses, model, batch, 1.0)
    alone = clipped_sum(losses, model, batch.span(0, 1), 1.0)
    assert total.not_finite == 1
    assert torch.equal(total.gradients[0], alone.gradients[0])


def test_a_layer_that_is_called_twice_is_refused() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bag = SparseLinear(INPUTS + 1, 1)

        def forward(self, *given: torch.Tensor) -> torch.Tensor:
            return self.bag(*given[:3]) + self.bag(*given[:3])

    batch = Messages(
        torch.tensor([0], dtype=torch.int32), torch.ones(1),
        torch.tensor([0, 1], dtype=torch.int32), torch.zeros(1, 0),
        torch.tensor([1]), torch.tensor([0]),
    )  # fmt: skip
    with pytest.raises(InputError, match="layer bag"):
        clipped_sum(losses, Twice(), batch, 1.0)
