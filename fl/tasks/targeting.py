"""Whom to treat: the effect of a campaign on each customer, by federated T-, X- or DR-learners.

All three are built from models of conversion, one for each arm (*heads*), as ``model=`` names them:

- ``t``   Kunzel, Sekhon, Bickel, Yu, "Metalearners for estimating heterogeneous treatment effects
  using machine learning", PNAS 2019, section "Metalearners": a head an arm;
  ``tau_a(x) = mu_a(x) - mu_0(x)``.
- ``x``   ibid., equations 4 and 5: the effects that heads impute, ``y - mu_0(x)`` for treated and
  ``mu_a(x) - y`` for control customers, are learned by two more models,
  ``tau_a(x) = g tau_a0(x) + (1 - g) tau_a1(x)`` with ``g`` the chance of treatment.
- ``dr``  Kennedy, "Towards optimal doubly robust estimation of heterogeneous causal effects",
  Electronic Journal of Statistics 2023, algorithm 1: one more model an arm learns the mean of
  ``mu_a - mu_0 + 1{t = a} (y - mu_a) / e_a - 1{t = 0} (y - mu_0) / e_0``.

Here all models of a learner are trained at once, in one federated training: each row's loss is that
of its own arm's head plus that of the effect models, whose targets are computed from the heads'
present parameters and held fixed (no gradient flows through them). The heads' optimum does not
depend on the effect models, so both learners have the fixed point of their two-stage originals. In
return there is one training to pay for, one sum, one ledger. Heads that make targets are fitted
across two halves of the customers (by their number, mixed): a row's target comes from
heads that never saw it.

The chance of treatment is the design's, public: only randomised campaigns are learned from.

Legend: ``_a`` arm, ``_b`` row, ``mu`` rate of the outcome, ``tau`` effect, ``e`` share of an arm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from fl.arrays import Arrays
from fl.contracts import Examples, Floats, Ints, Limits
from fl.data.campaign import RANDOMISED, stated
from fl.data.schema import Schema
from fl.errors import InputError
from fl.models import MODELS

LEARNERS = ("t", "x", "dr")
_OWN = 2  # codes that the task adds to a row: its arm, and the half that its customer is in


class Learner(nn.Module):
    """Heads by half and arm, ``heads[half * arms + arm]``, and the models of effects."""

    def __init__(self, heads: list[nn.Module], effects: list[nn.Module]) -> None:
        super().__init__()
        self.heads, self.effects = nn.ModuleList(heads), nn.ModuleList(effects)

    def forward(self, x_bf: Tensor, c_bg: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the heads ``[b, heads]`` and values of the effect models ``[b, effects]``."""
        logits = torch.stack([head(x_bf, c_bg) for head in self.heads], 1)
        if not len(self.effects):
            return logits, logits[:, :0]
        return logits, torch.stack([model(x_bf, c_bg) for model in self.effects], 1)


@dataclass(frozen=True, slots=True)
class Targeting:
    """A learner of effects.

    Attributes:
        schema: the shared feature space, with a randomised campaign.
        architecture: of every head and effect model.
        learner: ``t``, ``x`` or ``dr``.
        score_bins: resolution of the counted uplift curve, >= 2.
    """

    schema: Schema
    architecture: Any
    learner: str = "dr"
    score_bins: int = 100
    name: str = "targeting"

    def __post_init__(self) -> None:
        campaign = stated(self.schema.campaign)
        if campaign.design != RANDOMISED:
            raise InputError(
                "data.campaign.design",
                f"{campaign.design!r}: what made a customer's treatment likely would be "
                "learned as an effect",
                "learn from a randomised campaign; task=uplift can count an observational one, "
                "with task.propensity",
            )
        if not campaign.shares:
            raise InputError(
                "data.campaign.shares",
                "are not stated, and learners weight by the chance of each arm",
                "state what the design fixed: data.campaign.shares=[0.5, 0.5], control first",
            )

    @property
    def shares(self) -> tuple[float, ...]:
        """The chance of control and of each arm."""
        return stated(self.schema.campaign).shares

    @property
    def arms(self) -> int:
        """How many, with control."""
        return len(self.shares)

    @property
    def halves(self) -> int:
        """Of the customers, that heads are fitted on: targets of effects need heads apart."""
        return 1 if self.learner == "t" else 2

    def model(self, rng: torch.Generator) -> nn.Module:
        """A fresh learner."""
        effects = {"t": 0, "x": 2, "dr": 1}[self.learner] * (self.arms - 1)
        return Learner(
            [self.architecture.build(self.schema, rng) for _ in range(self.halves * self.arms)],
            [self.architecture.build(self.schema, rng) for _ in range(effects)],
        )

    def examples(self, table: pd.DataFrame, customers: Ints, where: str) -> Examples:
        """Encoded rows; the arm and the customer's half are two more codes.

        Raises:
            InputError: a wrong cell, or a customer in two arms.
        """
        encoded = self.schema.encode(table, where)
        arm = stated(self.schema.campaign).of_customers(table, customers, where)
        own = np.stack([arm, _half(customers)], 1)
        return Examples(
            torch.from_numpy(encoded.x),
            torch.from_numpy(np.concatenate([encoded.c, own], 1)),
            torch.from_numpy(encoded.y),
            torch.from_numpy(customers.copy()),
        )

    # --- losses ---------------------------------------------------------------------------------

    def losses(self, model: nn.Module, batch: Examples) -> Tensor:
        """Cross-entropy of the row's own head, and half the squared error of effects, ``[b]``."""
        logits, effects = model(batch.x_bf, batch.c_bg[:, :-_OWN])
        arm_b, half_b = batch.c_bg[:, -2], batch.c_bg[:, -1] % self.halves
        own = logits.gather(1, (half_b * self.arms + arm_b)[:, None])[:, 0]
        loss = nn.functional.binary_cross_entropy_with_logits(own, batch.y_b, reduction="none")
        if self.learner == "t":
            return loss
        mu = torch.sigmoid(logits.detach()).reshape(len(batch), self.halves, self.arms)
        other = mu[torch.arange(len(batch)), 1 - half_b]  # heads of the half without this row
        target, counts = self._targets(other, arm_b, batch.y_b)
        of_effects: Tensor = (counts * (effects - target) ** 2).sum(1)
        return loss + 0.5 * of_effects

    def _targets(self, mu_ba: Tensor, arm_b: Tensor, y_b: Tensor) -> tuple[Tensor, Tensor]:
        """What each effect model learns from each row, and whether it does, ``[b, effects]``."""
        treated = nn.functional.one_hot(arm_b, self.arms).to(mu_ba.dtype)
        control, mu_0 = treated[:, :1], mu_ba[:, :1]
        if self.learner == "x":
            of_treated, of_control = y_b[:, None] - mu_0, mu_ba[:, 1:] - y_b[:, None]
            target = torch.cat([of_treated.expand(-1, self.arms - 1), of_control], 1)
            return target, torch.cat([treated[:, 1:], control.expand(-1, self.arms - 1)], 1)
        e = torch.tensor(self.shares, dtype=mu_ba.dtype)
        correction = treated * (y_b[:, None] - mu_ba) / e
        whole = mu_ba + correction
        return whole[:, 1:] - whole[:, :1], torch.ones_like(mu_ba[:, 1:])

    # --- scores ---------------------------------------------------------------------------------

    def scores(self, model: nn.Module, batch: Examples) -> Floats:
        """Predicted effect of each arm on each row, float64 ``[b, arms - 1]``, within [-1, 1]."""
        with torch.no_grad():
            logits, effects = model(batch.x_bf, batch.c_bg[:, :-_OWN])
        found = effects.double().numpy()
        if self.learner == "t":
            mu = torch.sigmoid(logits).double().numpy()
            found = mu[:, 1:] - mu[:, :1]
        elif self.learner == "x":
            e = np.array(self.shares)
            g = e[1:] / (e[1:] + e[0])
            by_treated, by_control = np.split(found, 2, axis=1)
            found = g * by_control + (1 - g) * by_treated
        return np.asarray(np.clip(found, -1.0, 1.0), np.float64)

    def truth(self, batch: Examples) -> Floats:
        """Arm code and outcome of each row, ``[b, 2]``."""
        return np.stack([batch.c_bg[:, -2].numpy(), batch.y_b.numpy()], 1).astype(np.float64)

    # --- counted --------------------------------------------------------------------------------

    def evaluate(self, model: nn.Module, batch: Examples) -> Arrays:
        """Each row's loss, and its place by score, arm and outcome for every arm it speaks for."""
        tau, truth = self.scores(model, batch), self.truth(batch).astype(np.int64)
        loss = np.minimum(self.losses(model, batch).double().numpy(), self._largest_loss)
        bins = np.minimum((_position(tau) * self.score_bins).astype(int), self.score_bins - 1)
        cells = np.zeros((len(batch), self.arms - 1, self.score_bins, 2, 2))
        row = np.arange(len(batch))
        for arm in range(self.arms - 1):
            speaks = (truth[:, 0] == 0) | (truth[:, 0] == arm + 1)
            r = row[speaks]
            cells[r, arm, bins[r, arm], np.minimum(truth[r, 0], 1), truth[r, 1]] = 1
        return {"examples": np.ones(len(batch)), "log_loss": loss, "uplift_histogram": cells}

    def statistics(self) -> Arrays:
        """Zeros in the shape of summed statistics."""
        shape = (self.arms - 1, self.score_bins, 2, 2)
        return {
            "examples": np.zeros(()),
            "log_loss": np.zeros(()),
            "uplift_histogram": np.zeros(shape),
        }

    def limits(self) -> Limits:
        """One row; a control customer speaks for every arm."""
        return {
            "examples": 1.0,
            "log_loss": self._largest_loss,
            "uplift_histogram": float(np.sqrt(self.arms - 1)),
        }

    @property
    def _largest_loss(self) -> float:
        return 16.0 if self.learner == "t" else 16.0 + 32.0 * (self.arms - 1)

    def metrics(self, sums: Arrays) -> dict[str, float]:
        """Loss (called ``log_loss``; with effects it holds their squared error), and Qini."""
        n = max(float(sums["examples"]), 1e-12)
        areas = [_counted_qini(cells) for cells in np.asarray(sums["uplift_histogram"])]
        return {"log_loss": float(sums["log_loss"]) / n, "qini": float(np.mean(areas))}


@dataclass(frozen=True, slots=True)
class TargetingOptions:
    """``conf/task/targeting.yaml``."""

    name: str = "targeting"
    learner: str = "dr"
    score_bins: int = 100

    models: ClassVar[Mapping[str, type[Any]]] = MODELS
    reports: ClassVar[tuple[str, ...]] = ("qini", "auuc", "policy_top_30")

    def __post_init__(self) -> None:
        if self.learner not in LEARNERS:
            raise ValueError(f"Expected learner={self.learner!r} to be one of {LEARNERS}.")
        if self.score_bins < 2:
            raise ValueError(f"Expected score_bins={self.score_bins} >= 2.")

    def unbounded(self, architecture: Any) -> tuple[str, str] | None:
        """Every model of this task can be trained under a plan."""
        return None

    def task(self, schema: Schema, architecture: Any) -> Targeting:
        """The task in this schema."""
        return Targeting(schema, architecture, self.learner, self.score_bins)


def _half(customers: Ints) -> Ints:
    """0 or 1 by a customer's number, mixed so that no order of rows shows in it (Fibonacci hashing,
    Knuth, "The Art of Computer Programming" 3, section 6.4)."""
    mixed = customers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    return np.asarray(mixed >> np.uint64(63), np.int64)


def _position(tau: Floats) -> Floats:
    """Effects in [-1, 1] to [0, 1], finer near zero, where effects are."""
    return np.asarray((np.sign(tau) * np.sqrt(np.abs(tau)) + 1) / 2)


def _counted_qini(cells: Floats) -> float:
    """Qini from counts by bin, arm and outcome ``[bins, 2, 2]``; ties within a bin share a rank."""
    n_ta = cells.sum(2)[::-1]
    y_ta = cells[::-1, :, 1]
    total, n = n_ta.sum(), n_ta.sum(0)
    if not (n > 0).all():
        return float("nan")
    e, rate = n / total, y_ta.sum(0) / n
    psi = n_ta.sum(1) * (rate[1] - rate[0])
    psi = (
        psi
        + (y_ta[:, 1] - n_ta[:, 1] * rate[1]) / e[1]
        - (y_ta[:, 0] - n_ta[:, 0] * rate[0]) / e[0]
    )
    count = n_ta.sum(1)
    middle = (np.cumsum(count) - count / 2) / total
    return float((psi * (0.5 - middle)).sum() / total)
