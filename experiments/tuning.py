"""Tuning: a grid of the same size for every arm without a guarantee, judged on validation rows."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fl.algorithms import ALGORITHMS
from fl.algorithms.finetune import FineTune
from fl.config import build, choose, plain
from fl.contracts import Algorithm
from fl.doors import Training
from fl.errors import InputError

TUNED = ("alone", "federated", "finetuned", "pooled")


@dataclass(frozen=True, slots=True)
class Trial:
    """One point of an arm's tuning grid: the values that differ from the config's."""

    values: Mapping[str, float | int | str]

    def training(self, base: Training) -> Training:
        """``base`` with this trial's local loop."""
        own = {k: v for k, v in self.values.items() if k in Training.__slots__}
        return build(Training, {**plain(base), **own}, "tuning")

    def algorithm(self, base: Algorithm) -> Algorithm:
        """``base`` with this trial's ``algorithm.*`` values."""
        own = {
            k.removeprefix("algorithm."): v
            for k, v in self.values.items()
            if k.startswith("algorithm.")
        }
        return choose(ALGORITHMS, {**plain(base), **own}, "tuning") if own else base

    def finetune(self) -> FineTune:
        """Fine-tuning with this trial's ``pull``."""
        own = {k: v for k, v in self.values.items() if k == "pull"}
        return build(FineTune, own, "tuning.finetuned")


@dataclass(frozen=True, slots=True)
class Tuning:
    """The same number of trials for every arm, judged by validation log loss.

    Attributes:
        budget: trials per arm, >= 1.
        alone, federated, finetuned, pooled: for each, lists of values by name; their grid must
            have exactly ``budget`` points; with a budget of 1 the first point is taken. Names are
            those of ``training``, ``algorithm.NAME`` for the federated arm, and ``pull`` for the
            finetuned one.
        rounds: ``best`` keeps the round with the lowest validation loss, ``last`` the last one.
    """

    budget: int = 1
    rounds: str = "best"
    alone: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    federated: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    finetuned: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    pooled: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.rounds not in ("best", "last"):
            raise ValueError(f"Expected rounds={self.rounds!r} to be 'best' or 'last'.")
        for arm in TUNED:
            points = len(self.trials(arm))
            if points != self.budget:
                raise InputError(
                    f"tuning.{arm}",
                    f"its grid has {points} points, and every arm gets tuning.budget={self.budget}",
                    f"give each arm lists with {self.budget} combinations, such as "
                    f"tuning.{arm}.{next(iter(getattr(self, arm)), 'learning_rate')}=[...], or "
                    "change tuning.budget",
                )

    def trials(self, arm: str) -> tuple[Trial, ...]:
        """The grid of one arm, in a fixed order."""
        space: Mapping[str, tuple[Any, ...]] = getattr(self, arm)
        points = tuple(itertools.product(*space.values()))
        kept = points[:1] if self.budget == 1 else points
        return tuple(Trial(dict(zip(space, point, strict=True))) for point in kept)
