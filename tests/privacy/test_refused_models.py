"""Models without a gradient for each customer are refused, with the layer's name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fl.errors import InputError
from fl.privacy.gradients import check_model, clipped_sum, kernel_for
from tests.privacy.test_gradients import NUMBERS, Normed, filled, losses, naive, rows, same


class Around(nn.Module):
    """Something between two layers."""

    def __init__(self, between: Callable[[Tensor], Tensor] | nn.Module) -> None:
        super().__init__()
        self.first = nn.Linear(NUMBERS, 6)
        self.between = between
        self.head = nn.Linear(6, 1)
        self.codes: nn.Embedding | None = None

    def forward(self, x_bf: Tensor, c_bg: Tensor) -> Tensor:
        h = self.between(self.first(x_bf))
        if self.codes is not None:
            h = h + self.codes(c_bg).sum(1)
        return self.head(h).squeeze(1)


class Counting(nn.Module):
    """Keeps what it saw."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.in_place = in_place
        self.register_buffer("seen", torch.zeros(6))

    def forward(self, h: Tensor) -> Tensor:
        if self.in_place:
            self.seen.add_(h.detach().sum(0))
        else:
            self.seen = self.seen + h.detach().sum(0)
        return h


class Outside(nn.Module):
    """Reads a layer's weight without calling the layer."""

    def __init__(self, extra: nn.Module | None = None) -> None:
        super().__init__()
        self.first = nn.Linear(NUMBERS, 1)
        self.extra = extra

    def forward(self, x_bf: Tensor, c_bg: Tensor) -> Tensor:
        h = x_bf if self.extra is None else self.extra(x_bf)
        return (self.first(h) + h @ self.first.weight.T).squeeze(1)


class Raw(nn.Module):
    """A parameter of no layer, and two inputs: Opacus cannot see the second."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(NUMBERS))

    def forward(self, x_bf: Tensor, c_bg: Tensor) -> Tensor:
        return x_bf @ self.weight


class Folded(nn.Module):
    """Two rows of the batch become one row of the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2 * NUMBERS, 2)

    def forward(self, x_bf: Tensor, c_bg: Tensor) -> Tensor:
        return self.first(x_bf.reshape(len(x_bf) // 2, -1)).reshape(-1)


class Overwritten(nn.Module):
    """Changes a layer's input after the layer read it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(NUMBERS, 1)

    def forward(self, x_bf: Tensor, c_bg: Tensor) -> Tensor:
        x = x_bf.clone()
        logit = self.first(x.detach())
        x.mul_(2)
        return logit.squeeze(1)


BATCH = [3, 1, 2]
STATIC = {
    "batch norm": (lambda: Around(nn.BatchNorm1d(6)), "layer between: BatchNorm1d"),
    "batch norm without parameters": (
        lambda: Around(nn.BatchNorm1d(6, affine=False, track_running_stats=False)),
        "layer between: BatchNorm1d",
    ),
    "buffer written": (lambda: Around(Counting(True)), "buffer changes"),
    "buffer replaced": (lambda: Around(Counting(False)), "buffer changes"),
    "weight outside its layer": (Outside, "layer first.*outside"),
    "weight outside its layer, other layers too": (
        lambda: Outside(nn.LayerNorm(NUMBERS)),
        "first.weight: no gradient for each customer",
    ),
    "raw parameter": (Raw, "no gradient for each customer"),
    "rows folded": (Folded, "layer first.*row by row"),
    "input overwritten": (Overwritten, "layer first.*row by row"),
}


@pytest.mark.parametrize("name", STATIC)
def test_a_model_without_a_gradient_for_each_customer_is_refused(name: str) -> None:
    make, message = STATIC[name]
    with pytest.raises(InputError, match=message):
        clipped_sum(losses, make().double(), rows(BATCH), 1.0)


@pytest.mark.parametrize("option", [{"max_norm": 1.0}, {"scale_grad_by_freq": True}])
def test_an_embedding_whose_options_mix_rows_is_refused(option: dict[str, float]) -> None:
    model = Around(nn.Tanh())
    model.codes = nn.Embedding(60, 6, **option)
    with pytest.raises(InputError, match="layer codes: max_norm"):
        clipped_sum(losses, model.double(), rows(BATCH), 1.0)


def test_a_frozen_parameter_is_refused() -> None:
    model = Around(nn.Tanh()).double()
    model.head.bias.requires_grad_(False)
    with pytest.raises(InputError, match="layer head: a parameter is frozen"):
        clipped_sum(losses, model, rows(BATCH), 1.0)


@pytest.mark.parametrize(
    "mix", [lambda h: h - h.mean(0), lambda h: h.softmax(0), lambda h: h.roll(1, 0)]
)
def test_the_check_finds_operations_that_mix_rows(mix: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(InputError, match="rows beside it"):
        check_model(losses, filled(Around(mix)), rows(BATCH))


def test_the_check_refuses_what_opacus_has_no_private_form_of() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.memory = nn.LSTM(NUMBERS, 1, batch_first=True)

        def forward(self, x_bf: Tensor, c_bg: Tensor) -> Tensor:
            return self.memory(x_bf[:, None])[0][:, 0, 0]

    with pytest.raises(InputError, match="model"):
        check_model(losses, Recurrent().double(), rows(BATCH))


def test_the_check_accepts_good_models_and_leaves_them_as_they_were() -> None:
    for model in (Around(nn.Dropout(0.5)), Around(nn.Identity()), Normed()):
        before = {n: p.clone() for n, p in filled(model).named_parameters()}
        check_model(losses, model, rows(BATCH))
        assert model.training
        assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())
        check_model(losses, model, rows([]))


def test_two_layers_with_one_weight_go_through_opacus() -> None:
    model = Around(nn.Tanh())
    model.between = nn.Sequential(nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6))
    model.between[3].weight = model.between[1].weight
    assert kernel_for(filled(model)) == "opacus"
    batch = rows(BATCH)
    same(clipped_sum(losses, model, batch, 0.1).gradients, naive(model, batch, 0.1)[0])
