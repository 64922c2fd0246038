"""The clipped sum: three ways to the same gradients, and the bound that privacy rests on.

The reference is a loop over customers with autograd. Comparisons are in float64, so that the
tolerance (1e-6) is about the formulas and not about rounding.
"""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fl.contracts import Examples
from fl.privacy.gradients import ClippedSum, check_model, clipped_sum, kernel_for
from fl.privacy.oracle import opacus_sum
from fl.seeds import numpy_generator, torch_generator
from tests import worlds

SIZES = (3, 5, 4, 7, 50, 2, 6, 9)  # of the tables of the embedding model
NUMBERS = 4


class Tables(nn.Module):
    """Eight tables and numbers into a perceptron."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(size, 3) for size in SIZES)
        self.hidden = nn.Linear(3 * len(SIZES) + NUMBERS, 6)
        self.head = nn.Linear(6, 1)

    def forward(self, x_bf: Tensor, c_bg: Tensor) -> Tensor:
        parts = [table(c_bg[:, g]) for g, table in enumerate(self.tables)]
        return self.head(torch.tanh(self.hidden(torch.cat([*parts, x_bf], 1)))).squeeze(1)


class Shared(nn.Module):
    """One table for all columns, read twice, with padding; one layer called twice, one per use."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 4, padding_idx=0)
        self.mix = nn.Linear(4, 4, bias=False)
        self.head = nn.Linear(4 + NUMBERS, 1)
        self.unused = nn.Linear(2, 2)

    def forward(self, x_bf: Tensor, c_bg: Tensor) -> Tensor:
        h_bgd = torch.relu_(self.mix(self.table(c_bg % 10)))  # in place, on the layer's own output
        h_bd = torch.relu(self.mix(h_bgd.sum(1) + self.table(c_bg[:, 0] % 10)))
        return self.head(torch.cat([h_bd, x_bf], 1)).squeeze(1)


class Normed(nn.Module):
    """Layer norm has parameters that only Opacus knows."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(NUMBERS, 5)
        self.norm = nn.LayerNorm(5)
        self.head = nn.Linear(5, 1)

    def forward(self, x_bf: Tensor, c_bg: Tensor) -> Tensor:
        return self.head(torch.tanh(self.norm(self.first(x_bf)))).squeeze(1)


def losses(model: nn.Module, batch: Examples) -> Tensor:
    logit_b = model(batch.x_bf, batch.c_bg)
    y_b = batch.y_b.to(logit_b.dtype)
    return nn.functional.binary_cross_entropy_with_logits(logit_b, y_b, reduction="none")


def filled(model: nn.Module, seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Module:
    """The model in float64, away from zero."""
    rng = torch_generator(seed, "weights")
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=rng) * 0.5)
    return model.to(dtype)


def rows(
    counts: list[int], seed: int = 0, *, scale: float = 1.0, dtype: torch.dtype = torch.float64
) -> Examples:
    """Customers with so many rows, their ids and rows in no order."""
    rng = numpy_generator(seed, "rows")
    n = sum(counts)
    ids = rng.permutation(1000)[: len(counts)].repeat(counts)
    codes = [torch.from_numpy(rng.integers(0, size, n)) for size in SIZES]
    return Examples(
        torch.from_numpy(rng.uniform(-scale, scale, (n, NUMBERS))).to(dtype),
        torch.stack(codes, 1),
        torch.from_numpy(rng.integers(0, 2, n).astype("float32")),
        torch.from_numpy(ids[rng.permutation(n)]),
    )


def naive(model: nn.Module, batch: Examples, clip_norm: float) -> tuple[list[Tensor], Tensor]:
    """One backward pass for each customer."""
    weights = list(model.parameters())
    total = [torch.zeros_like(w) for w in weights]
    norms = []
    for customer in batch.customer_b.unique():
        mine = batch.rows((batch.customer_b == customer).nonzero()[:, 0])
        loss = losses(model, mine).mean()
        gradient = torch.autograd.grad(loss, weights, materialize_grads=True, allow_unused=True)
        norm = math.sqrt(sum(float(g.square().sum()) for g in gradient))
        factor = min(1.0, clip_norm / norm) if norm > 0 else 1.0
        total = [t + factor * g for t, g in zip(total, gradient, strict=True)]
        norms.append(norm)
    return total, torch.tensor(norms, dtype=torch.float64)


def opacus(model: nn.Module, batch: Examples, clip_norm: float) -> tuple[list[Tensor], Tensor]:
    gradients, norm_k = opacus_sum(losses, model, batch, clip_norm)
    return gradients, torch.from_numpy(norm_k)


def same(a: list[Tensor], b: list[Tensor], rtol: float = 1e-6) -> None:
    size = norm_of(b)
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(x, y, rtol=rtol, atol=rtol * max(size, 1e-12))


def norm_of(tensors: list[Tensor]) -> float:
    return math.sqrt(sum(float(t.square().sum()) for t in tensors))


def of_table(name: str) -> nn.Module:
    """A model of ``fl.models`` for as many columns as :func:`rows` has."""
    from fl.data.schema import Category, Number, Schema
    from fl.models import MODELS

    numbers = [Number(f"n{i}", -1, 1) for i in range(NUMBERS)]
    codes = [Category(f"c{g}", tuple(map(str, range(max(1, s - 1))))) for g, s in enumerate(SIZES)]
    return MODELS[name]().build(Schema((*numbers, *codes), "y"), torch_generator(0, "model"))


MODELS = {
    "logistic": lambda: of_table("logistic"),
    "mlp": lambda: of_table("mlp"),
    "additive": lambda: of_table("additive"),
    "tables": Tables,
    "shared": Shared,
}
COUNTS = {
    "one row each": [1] * 9,
    "1 to 20 rows": list(range(1, 21)),
    "one customer": [13],
    "one row": [1],
}


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS.keys())
@pytest.mark.parametrize("name", MODELS)
def test_analytic_gradients_are_those_of_a_loop_over_customers(
    name: str, counts: list[int]
) -> None:
    model, batch = filled(MODELS[name]()), rows(counts)
    assert kernel_for(model) == "analytic"
    _, norms = naive(model, batch, 1.0)
    for clip_norm in (float(norms.median()), 1e-3, 1e3):
        expected, _ = naive(model, batch, clip_norm)
        got = clipped_sum(losses, model, batch, clip_norm)
        same(got.gradients, expected)
        torch.testing.assert_close(got.norms, norms, rtol=1e-6, atol=1e-9)
        assert (got.customers, got.not_finite) == (len(counts), 0)


@pytest.mark.parametrize("counts", [[1] * 6, [1, 20, 3, 7]], ids=["one row each", "many rows"])
@pytest.mark.parametrize("name", ["logistic", "mlp", "additive", "tables", "normed"])
def test_opacus_gradients_are_those_of_a_loop_over_customers(name: str, counts: list[int]) -> None:
    model = filled(Normed() if name == "normed" else MODELS[name]())
    batch = rows(counts)
    _, norms = naive(model, batch, 1.0)
    expected, _ = naive(model, batch, float(norms.median()))
    got, got_norms = opacus(model, batch, float(norms.median()))
    same(got, expected)
    torch.testing.assert_close(got_norms, norms)
    assert not any(hasattr(p, "grad_sample") for p in model.parameters())


def test_other_layers_go_through_opacus() -> None:
    model, batch = filled(Normed()), rows([2, 1, 5])
    assert kernel_for(model) == "opacus"
    expected, _ = naive(model, batch, 0.1)
    got = clipped_sum(losses, model, batch, 0.1)
    same(got.gradients, expected)
    assert not clipped_sum(losses, model, rows([]), 0.1).customers


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(sorted(MODELS)),
    st.lists(st.integers(1, 20), min_size=1, max_size=8),
    st.integers(0, 10**6),
    st.floats(1e-3, 10),
)
def test_any_batch_gives_the_sum_of_the_loop(
    name: str, counts: list[int], seed: int, clip_norm: float
) -> None:
    model, batch = filled(MODELS[name](), seed), rows(counts, seed)
    same(clipped_sum(losses, model, batch, clip_norm).gradients, naive(model, batch, clip_norm)[0])


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([*sorted(MODELS), "normed"]),
    st.lists(st.integers(1, 5), min_size=1, max_size=6),
    st.integers(0, 10**6),
    st.floats(0, 6),
    st.booleans(),
)
def test_a_planted_customer_with_20_rows_moves_the_sum_by_at_most_the_clip(
    name: str, counts: list[int], seed: int, power: float, same_row: bool
) -> None:
    """Trap T18. Values up to 10^6 out of their bounds make huge losses."""
    model = filled(Normed() if name == "normed" else MODELS[name](), seed)
    others = rows(counts, seed)
    planted = rows([20], seed + 1, scale=10.0**power)
    if same_row:
        planted = planted.rows(torch.zeros(20, dtype=torch.int64))
    clip_norm = 0.7
    without = clipped_sum(losses, model, others, clip_norm)
    both = clipped_sum(losses, model, together(others, planted), clip_norm)
    moved = [a - b for a, b in zip(both.gradients, without.gradients, strict=True)]
    assert both.not_finite == 0
    assert norm_of(moved) <= clip_norm * (1 + 1e-6)


def together(*parts: Examples) -> Examples:
    """Batches of different customers."""
    return Examples(
        torch.cat([p.x_bf for p in parts]),
        torch.cat([p.c_bg for p in parts]),
        torch.cat([p.y_b for p in parts]),
        torch.cat([p.customer_b + 10_000 * i for i, p in enumerate(parts)]),
    )


@pytest.mark.parametrize("name", ["mlp", "shared", "normed"])
def test_float32_gradients_are_close(name: str) -> None:
    model = Normed() if name == "normed" else MODELS[name]()
    expected, norms = naive(filled(model), rows([1, 20, 3, 7]), 0.2)
    batch = rows([1, 20, 3, 7], dtype=torch.float32)
    got = clipped_sum(losses, filled(model, dtype=torch.float32), batch, 0.2)
    assert all(g.dtype == torch.float32 for g in got.gradients)
    same([g.double() for g in got.gradients], expected, rtol=1e-5)
    torch.testing.assert_close(got.norms.double(), norms, rtol=1e-5, atol=1e-6)


def test_rows_that_cancel_are_never_clipped_too_little() -> None:
    """Ten rows, each once with a huge positive and once with the opposite loss: the norm is 0, the
    Gram form is left with its rounding, and the sum of the rows with more than the clip."""

    def opposite(model: nn.Module, batch: Examples) -> Tensor:
        return 1e7 * (2 * batch.y_b - 1) * model(batch.x_bf, batch.c_bg)

    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.wide = nn.Linear(NUMBERS, 200), nn.Linear(200, 200)

        def forward(self, x_bf: Tensor, c_bg: Tensor) -> Tensor:
            return torch.tanh(self.wide(torch.tanh(self.first(x_bf)))).sum(1)

    for seed in range(5):
        model = filled(Wide(), seed, torch.float32)
        ten = rows([10], seed, dtype=torch.float32)
        order = torch.from_numpy(numpy_generator(seed, "order").permutation(20))
        batch = ten.rows(order % 10)
        batch.y_b.copy_(order < 10)
        got = clipped_sum(opposite, model, batch, 1e-3)
        assert norm_of(got.gradients) <= 1e-3


@pytest.mark.parametrize("name", [*MODELS, "normed"])
def test_an_empty_batch_gives_zeros(name: str) -> None:
    model = filled(Normed() if name == "normed" else MODELS[name]())
    got = clipped_sum(losses, model, rows([]), 1.0)
    assert [g.shape for g in got.gradients] == [p.shape for p in model.parameters()]
    assert norm_of(got.gradients) == 0 and got.norms.shape == (0,)
    assert (got.customers, got.not_finite) == (0, 0)


@pytest.mark.parametrize("name", ["mlp", "normed"])
def test_a_zero_gradient_stays_zero(name: str) -> None:
    """Losses that do not depend on the rows of one customer, and then on nobody's."""
    model = filled(Normed() if name == "normed" else MODELS[name]())
    batch = rows([2, 3])
    first = batch.customer_b == batch.customer_b.min()

    def some(model: nn.Module, batch: Examples) -> Tensor:
        return losses(model, batch) * ~first

    def none(model: nn.Module, batch: Examples) -> Tensor:
        return losses(model, batch) * 0

    got = clipped_sum(some, model, batch, 1e-3)
    assert sorted(got.norms == 0) == [False, True] and got.not_finite == 0
    assert norm_of(got.gradients) == pytest.approx(1e-3)
    assert norm_of(clipped_sum(none, model, batch, 1e-3).gradients) == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e300])
@pytest.mark.parametrize("name", ["mlp", "logistic", "shared", "tables", "normed"])
def test_a_customer_that_is_not_finite_counts_as_zero(name: str, value: float) -> None:
    """Trap T25: one NaN must not reach the others. 1e300 overflows in the square, not before."""
    model = filled(Normed() if name == "normed" else MODELS[name]())
    others, bad = rows([1, 4, 2]), rows([3], seed=9)
    bad.x_bf[1] = value
    got = clipped_sum(losses, model, together(others, bad), 0.5)
    if value < math.inf and bool(torch.isfinite(got.norms).all()):  # bounded before the square
        assert got.not_finite == 0 and norm_of(got.gradients) <= 4 * 0.5
        return
    assert (got.customers, got.not_finite) == (4, 1)
    same(got.gradients, clipped_sum(losses, model, others, 0.5).gradients)


def test_a_sum_is_not_printed() -> None:
    assert repr(clipped_sum(losses, filled(Tables()), rows([2]), 1.0)) == "ClippedSum(<redacted>)"
    assert isinstance(clipped_sum(losses, filled(Tables()), rows([2]), 1.0), ClippedSum)


@pytest.mark.parametrize("clip_norm", [0.0, -1.0, math.inf, math.nan])
def test_a_clip_out_of_range_is_refused(clip_norm: float) -> None:
    with pytest.raises(ValueError, match="clip_norm"):
        clipped_sum(losses, filled(Tables()), rows([1]), clip_norm)


def test_every_model_of_the_table_is_analytic_and_passes_the_check() -> None:
    for name in ("logistic", "mlp", "additive"):
        task = worlds.task(name)
        batch = worlds.splits(task, "b0")["train"]
        model = filled(task.model(torch_generator(0, "model")), dtype=torch.float32)
        check_model(task.losses, model, batch)
        assert kernel_for(model) == "analytic"
        expected, _ = naive(model, batch, 0.3)
        same(clipped_sum(task.losses, model, batch, 0.3).gradients, expected, rtol=1e-5)
