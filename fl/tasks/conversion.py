"""Who will convert: a binary label per example, scored by a probability.

The statistics of :meth:`Conversion.evaluate` are additive, so that log loss, accuracy, Brier score,
calibration and a histogram approximation of the AUC can be had from sums over brands alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from fl.arrays import Arrays
from fl.contracts import Examples, Floats, Ints, Limits
from fl.data.schema import Schema
from fl.models import MODELS

_LOSS_LIMIT = 16.0  # one example adds at most this to the log loss: exp(-16) is 1e-7


class ModelConfig(Protocol):
    """A model of ``fl/models`` before it knows the schema."""

    @property
    def name(self) -> str: ...

    def build(self, schema: Schema, rng: torch.Generator) -> nn.Module:
        """A fresh module."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """Binary conversion.

    Attributes:
        schema: the feature space shared by brands.
        architecture: which model.
        score_bins: resolution of the score histograms, >= 2.
    """

    schema: Schema
    architecture: ModelConfig
    score_bins: int = 100
    name: str = "conversion"

    def __post_init__(self) -> None:
        if self.score_bins < 2:
            raise ValueError(f"Expected score_bins={self.score_bins} >= 2.")

    def model(self, rng: torch.Generator) -> nn.Module:
        """A fresh model."""
        return self.architecture.build(self.schema, rng)

    def examples(self, table: pd.DataFrame, customers: Ints, where: str) -> Examples:
        """Encode rows by the schema alone."""
        encoded = self.schema.encode(table, where)
        return Examples(
            torch.from_numpy(encoded.x),
            torch.from_numpy(encoded.c),
            torch.from_numpy(encoded.y),
            torch.from_numpy(customers.copy()),
        )

    def losses(self, model: nn.Module, batch: Examples) -> Tensor:
        """Cross-entropy of each example's logit, ``[b]``."""
        logit_b = model(batch.x_bf, batch.c_bg)
        return nn.functional.binary_cross_entropy_with_logits(logit_b, batch.y_b, reduction="none")

    def evaluate(self, model: nn.Module, batch: Examples) -> Arrays:
        """Each example's share of the statistics: in [0, 16], NaN where the score is none."""
        p = self.scores(model, batch)
        y = batch.y_b.numpy().astype(np.float64)
        loss = self.losses(model, batch).numpy().astype(np.float64)
        hot = np.zeros((len(p), self.score_bins))
        bins = (np.nan_to_num(p) * self.score_bins).astype(int)
        hot[np.arange(len(p)), np.minimum(bins, len(hot.T) - 1)] = 1
        return {
            "examples": np.ones(len(p)),
            "positives": y,
            "log_loss": np.minimum(loss, _LOSS_LIMIT),
            "correct": ((p >= 0.5) == (y == 1)).astype(np.float64),
            "squared_error": (p - y) ** 2,
            "score_histogram": hot,
            "positive_histogram": hot * y[:, None],
        }

    def statistics(self) -> Arrays:
        """Zeros in the shape of summed statistics."""
        scalar, bins = np.zeros(()), np.zeros(self.score_bins)
        scalars = ("examples", "positives", "log_loss", "correct", "squared_error")
        histograms = {"score_histogram": bins, "positive_histogram": bins}
        return {**{name: scalar for name in scalars}, **histograms}

    def limits(self) -> Limits:
        """A share of 0 or 1, one bar of a histogram, or a loss up to 16."""
        ones = dict.fromkeys(self.statistics(), 1.0)
        return {**ones, "log_loss": _LOSS_LIMIT}

    def scores(self, model: nn.Module, batch: Examples) -> Floats:
        """Probability of conversion of each example, float64 ``[b]``."""
        with torch.no_grad():
            logit_b: Tensor = model(batch.x_bf, batch.c_bg)
            return torch.sigmoid(logit_b).numpy().astype(np.float64)

    def truth(self, batch: Examples) -> Floats:
        """Labels, ``[b]``."""
        return np.asarray(batch.y_b.numpy(), np.float64)

    def metrics(self, sums: Arrays) -> dict[str, float]:
        """See :func:`metrics`."""
        return metrics(sums)


@dataclass(frozen=True, slots=True)
class ConversionOptions:
    """``conf/task/conversion.yaml``."""

    name: str = "conversion"
    score_bins: int = 100

    models: ClassVar[Mapping[str, type[Any]]] = MODELS
    reports: ClassVar[tuple[str, ...]] = (
        *("auc", "pr_auc", "accuracy", "log_loss", "brier", "calibration_error"),
        "lift_top_decile",
    )

    def __post_init__(self) -> None:
        if self.score_bins < 2:
            raise ValueError(f"Expected score_bins={self.score_bins} >= 2.")

    def task(self, schema: Schema, architecture: ModelConfig) -> Conversion:
        """The task in this schema."""
        return Conversion(schema, architecture, self.score_bins)


def metrics(sums: Arrays) -> dict[str, float]:
    """Metrics of a whole federation from its summed statistics (or their mean).

    >>> sums = {k: np.array(v) for k, v in {
    ...     "examples": 4.0, "positives": 2.0, "log_loss": 2.0, "correct": 3.0,
    ...     "squared_error": 1.0, "score_histogram": [2.0, 2.0],
    ...     "positive_histogram": [0.0, 2.0]}.items()}
    >>> metrics(sums)
    {'log_loss': 0.5, 'accuracy': 0.75, 'brier': 0.25, 'auc': 1.0}
    """
    of = {name: np.asarray(x, np.float64) for name, x in sums.items()}
    n = max(float(of["examples"]), 1e-12)
    positive, every = of["positive_histogram"], of["score_histogram"]
    negative = every - positive
    below = np.concatenate([[0.0], negative.cumsum()[:-1]])
    pairs = positive.sum() * negative.sum()
    wins = float((positive * (below + negative / 2)).sum())
    return {
        "log_loss": float(of["log_loss"]) / n,
        "accuracy": float(of["correct"]) / n,
        "brier": float(of["squared_error"]) / n,
        "auc": wins / float(pairs) if pairs > 0 else float("nan"),
    }
