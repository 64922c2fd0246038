"""What a message means: sentiment, intent or topic, one class per message.

The model is linear in hashed character n-grams (``fl/data/grams.py``): brands need no common
vocabulary, and nobody's words are sent to build one. A frozen sentence vector can stand beside
them; it was trained on public text and learns nothing here.

The statistics of :meth:`Text.evaluate` are additive: log loss, accuracy and macro F1 of a
federation come from sums over brands alone.
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
from fl.contracts import Floats, Ints, Limits
from fl.data import sentences
from fl.data.grams import Grams, readable
from fl.data.messages import Messages
from fl.data.schema import Schema
from fl.data.schema import Text as TextColumn
from fl.errors import InputError
from fl.models.grams import GramsModel

_LOSS_LIMIT = 16.0  # one message adds at most this to the log loss: exp(-16) is 1e-7


@dataclass(frozen=True, slots=True)
class Text:
    """Classes of messages.

    Attributes:
        schema: one column of messages, and a label with two or more classes.
        architecture: which model.
        grams: how messages are hashed.
        vector_norm: L2 norm of the sentence vector, >= 0; 0 does without.
    """

    schema: Schema
    architecture: GramsModel
    grams: Grams
    vector_norm: float = 0.0
    name: str = "text"

    def __post_init__(self) -> None:
        kinds = [type(column) for column in self.schema.columns]
        if kinds != [TextColumn]:
            raise InputError(
                "data.columns",
                f"task=text reads one column of messages, and the data has {len(kinds)} columns",
                "state it alone: data.columns={NAME: {text: true}}; or choose task=conversion",
            )

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.schema.classes) or 2

    def model(self, rng: torch.Generator) -> nn.Module:
        """A fresh model."""
        width = sentences.WIDTH if self.vector_norm else 0
        return self.architecture.build(self.grams.buckets, width, self.classes, rng)

    def examples(self, table: pd.DataFrame, customers: Ints, where: str) -> Messages:
        """Encode messages, each by itself.

        Raises:
            InputError: no such column, an empty or unreadable message, an unknown label.
        """
        self.schema.require_columns(table, where, self.schema.label)
        messages = readable(table[self.schema.columns[0].name], where)
        bags = self.grams.encode(messages)
        x = self.vector_norm * sentences.vectors(messages) if self.vector_norm else None
        return Messages(
            torch.from_numpy(bags.code),
            torch.from_numpy(bags.value),
            torch.from_numpy(bags.start),
            torch.zeros(len(messages), 0) if x is None else torch.from_numpy(x),
            torch.from_numpy(self.schema.targets(table, where).to_numpy(np.int64, copy=True)),
            torch.from_numpy(customers.copy()),
        )

    def losses(self, model: nn.Module, batch: Messages) -> Tensor:
        """Cross-entropy of each message, ``[b]``."""
        logit_bo = _logits(model, batch)
        if self.classes == 2:
            return nn.functional.binary_cross_entropy_with_logits(
                logit_bo[:, 0], batch.y_b.to(logit_bo.dtype), reduction="none"
            )
        return nn.functional.cross_entropy(logit_bo, batch.y_b, reduction="none")

    def evaluate(self, model: nn.Module, batch: Messages) -> Arrays:
        """Each message's share of the statistics: one-hot classes, and a loss in [0, 16]."""
        guess, y = self.scores(model, batch).argmax(1), batch.y_b.numpy()
        hot = np.eye(self.classes)
        loss = self.losses(model, batch).numpy().astype(np.float64)
        right = (guess == y).astype(np.float64)
        return {
            "examples": np.ones(len(y)),
            "log_loss": np.minimum(loss, _LOSS_LIMIT),
            "labels": hot[y],
            "guesses": hot[guess],
            "hits": hot[y] * right[:, None],
        }

    def statistics(self) -> Arrays:
        """Zeros in the shape of summed statistics."""
        scalar, classes = np.zeros(()), np.zeros(self.classes)
        by_class = dict.fromkeys(("labels", "guesses", "hits"), classes)
        return {"examples": scalar, "log_loss": scalar, **by_class}

    def limits(self) -> Limits:
        """One of one class each, or a loss up to 16."""
        return {**dict.fromkeys(self.statistics(), 1.0), "log_loss": _LOSS_LIMIT}

    def metrics(self, sums: Arrays) -> dict[str, float]:
        """Log loss, accuracy, and F1 over the classes that were counted at all."""
        of = {name: np.asarray(x, np.float64) for name, x in sums.items()}
        n = max(float(of["examples"]), 1e-12)
        there = of["labels"] > 0
        f1 = 2 * of["hits"][there] / np.maximum((of["labels"] + of["guesses"])[there], 1e-12)
        return {
            "log_loss": float(of["log_loss"]) / n,
            "accuracy": float(of["hits"].sum()) / n,
            "macro_f1": float(f1.mean()) if there.any() else float("nan"),
        }

    def scores(self, model: nn.Module, batch: Messages) -> Floats:
        """Probability of each class, float64 ``[b, classes]``."""
        with torch.no_grad():
            logit_bo = _logits(model, batch).double()
            if self.classes == 2:
                logit_bo = torch.cat([torch.zeros_like(logit_bo), logit_bo], 1)
            return np.asarray(torch.softmax(logit_bo, 1).numpy())

    def truth(self, batch: Messages) -> Ints:
        """Classes, int64 ``[b]``."""
        return batch.y_b.numpy()


@dataclass(frozen=True, slots=True)
class TextOptions:
    """``conf/task/text.yaml``.

    Attributes:
        buckets, weights, norm, intercept, longest: see :class:`fl.data.grams.Grams`.
        vector_norm: L2 norm of a frozen sentence vector beside the n-grams; 0 does without. It
            needs the extra ``text``.
        alert_class: whose messages a brand lists for itself, by rising doubt; empty: none.
        alerts: how many, >= 1.
    """

    name: str = "text"
    buckets: int = 1 << 18
    weights: tuple[float, ...] = (1.0, 1.0, 0.5)
    norm: float = 3.0
    intercept: float = 1.0
    longest: int = 400
    vector_norm: float = 0.0
    alert_class: str = ""
    alerts: int = 20

    models: ClassVar[Mapping[str, type[Any]]] = {"grams": GramsModel}
    reports: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1", "log_loss", "calibration_error")

    def __post_init__(self) -> None:
        _ = self.grams
        if not 0 <= self.vector_norm < np.inf or self.alerts < 1:
            raise ValueError(
                f"Expected vector_norm={self.vector_norm} >= 0 and alerts={self.alerts} >= 1."
            )

    @property
    def grams(self) -> Grams:
        """How messages are hashed."""
        return Grams(self.buckets, self.weights, self.norm, self.intercept, self.longest)

    def unbounded(self, architecture: GramsModel) -> tuple[str, str] | None:
        """Every model of this task can be trained under a plan."""
        return None

    def task(self, schema: Schema, architecture: GramsModel) -> Text:
        """The task in this schema."""
        if self.vector_norm:
            sentences.require()
        names = class_names(schema)
        if self.alert_class and self.alert_class not in names:
            raise InputError(
                "task.alert_class",
                f"{self.alert_class!r} is none of the classes {', '.join(names)}",
                "name one of them, or leave it empty",
            )
        return Text(schema, architecture, self.grams, self.vector_norm)


def class_names(schema: Schema) -> tuple[str, ...]:
    """The label's values in the order of their codes; of a label with two, the first negative."""
    return schema.classes or (schema.negative[0], schema.positive)


def _logits(model: nn.Module, batch: Messages) -> Tensor:
    logit_bo: Tensor = model(batch.code_n, batch.value_n, batch.start_b, batch.x_bf)
    return logit_bo
