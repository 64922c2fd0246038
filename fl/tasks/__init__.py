"""What is learned: one file = schema, model, per-example loss, statistics; ``TASKS`` names them.

A trained task's file has the task (:class:`Trained`) and its options (:class:`TaskConfig`), which
are ``conf/task/NAME.yaml``. A task brings its own models, the metrics it is reported by, and, where
a row is no row of a table, its own form of rows (``fl.contracts.Rows``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
from torch import nn

from fl.arrays import Arrays
from fl.contracts import R, Task
from fl.data.schema import Schema
from fl.tasks.conversion import ConversionOptions
from fl.tasks.preference import PreferenceOptions
from fl.tasks.targeting import TargetingOptions
from fl.tasks.text import TextOptions

Numbers = npt.NDArray[np.number]


class Trained(Task[R], Protocol[R]):
    """A task with a model, as arms are compared on it."""

    def metrics(self, sums: Arrays) -> dict[str, float]:
        """A federation's metrics, among them ``log_loss``, from summed statistics or their mean."""

    def scores(self, model: nn.Module, batch: R) -> Numbers:
        """What the model says of each example, ``[b, ...]``: what offline metrics are made of."""

    def truth(self, batch: R) -> Numbers:
        """What it is compared with, ``[b, ...]``."""


class NamedConfig(Protocol):
    """A model of ``fl/models`` before it knows the schema; its task knows how to build it."""

    @property
    def name(self) -> str: ...


class TaskConfig(Protocol):
    """``conf/task/NAME.yaml``.

    Attributes:
        models: what ``model=`` can choose for this task.
        reports: names in ``fl.report.metrics.METRICS``, the headline first; each is a function of
            ``Trained.truth`` and ``Trained.scores``.
    """

    models: ClassVar[Mapping[str, type[Any]]]
    reports: ClassVar[tuple[str, ...]]

    @property
    def name(self) -> str: ...

    def task(self, schema: Schema, architecture: Any) -> Trained[Any]:
        """The task in this schema, with one of ``models``."""

    def unbounded(self, architecture: Any) -> tuple[str, str] | None:
        """Why no privacy plan can bound a customer's gradient in this model, and what to set
        instead; None if one can."""


TASKS: dict[str, type[TaskConfig]] = {
    "conversion": ConversionOptions,
    "preference": PreferenceOptions,
    "text": TextOptions,
    "targeting": TargetingOptions,
}
