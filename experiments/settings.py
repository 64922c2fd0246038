"""A resolved config as objects: everything an experiment needs, checked before anything is read."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from fl.algorithms import ALGORITHMS
from fl.algorithms.finetune import FineTune
from fl.arrays import Arrays
from fl.config import Values, build, choose
from fl.contracts import Algorithm, BrandSum, NodeId, PrivacyPlan, SecureSum, Training, Unit
from fl.data.catalog import DATASETS
from fl.data.dataset import DataSet
from fl.data.divide import Partition, Preparation
from fl.data.partition import PARTITIONS
from fl.data.schema import Schema
from fl.errors import InputError
from fl.models import MODELS
from fl.privacy import PLANS, SECURE_SUMS
from fl.tasks.conversion import Conversion, ModelConfig

ARMS = ("alone", "federated", "finetuned", "pooled")
_GROUPS = ("data", "partition", "preparation", "task", "model", "algorithm", "privacy")
_KEYS = {
    *_GROUPS,
    "experiment",
    "question",
    "secure_sum",
    "runtime",
    "training",
    "rounds",
    "evaluate_every",
    "seeds",
    "arms",
    "tuning",
    "out",
}


class Source(Protocol):
    """One of the catalogue's data sets."""

    @property
    def name(self) -> str: ...

    def load(self) -> DataSet:
        """Read it."""


class SummingConfig(Protocol):
    """A secure sum as configured, before the brands of a run are known."""

    @property
    def name(self) -> str: ...

    def enrol(
        self,
        names: Sequence[NodeId],
        *,
        algorithms: Mapping[str, Algorithm],
        plan: PrivacyPlan,
        first: Arrays,
        record: Callable[[str], None] = ...,
    ) -> tuple[SecureSum, Mapping[NodeId, BrandSum]]:
        """The coordinator's half and each brand's, for a run that starts at state ``first``."""


@dataclass(frozen=True, slots=True)
class ConversionOptions:
    """``conf/task/conversion.yaml``."""

    name: str = "conversion"
    score_bins: int = 100


@dataclass(frozen=True, slots=True)
class Runtime:
    """``conf/runtime``: speed and comfort; nothing here changes a result.

    Attributes:
        workers: processes that share the seeds out among them, >= 1.
        checkpoint_seconds: at least so long between two checkpoints of one training, >= 0.
        debug: stop at the first exception of a brand instead of counting it absent.
    """

    name: str = "inprocess"
    workers: int = 2
    checkpoint_seconds: float = 5.0
    debug: bool = False

    def __post_init__(self) -> None:
        if self.name != "inprocess":
            raise ValueError(f"Expected name={self.name!r} to be 'inprocess'.")
        if self.workers < 1 or self.checkpoint_seconds < 0:
            raise ValueError(
                f"Expected workers={self.workers} >= 1 and "
                f"checkpoint_seconds={self.checkpoint_seconds} >= 0."
            )


@dataclass(frozen=True, slots=True)
class Trial:
    """One point of an arm's tuning grid: the values that differ from the config's."""

    values: Mapping[str, float | int | str]

    def training(self, base: Training) -> Training:
        """``base`` with this trial's local loop."""
        own = {k: v for k, v in self.values.items() if k in Training.__slots__}
        return build(Training, {**_plain(base), **own}, "tuning")

    def algorithm(self, base: Algorithm) -> Algorithm:
        """``base`` with this trial's ``algorithm.*`` values."""
        own = {
            k.removeprefix("algorithm."): v
            for k, v in self.values.items()
            if k.startswith("algorithm.")
        }
        return choose(ALGORITHMS, {**_plain(base), **own}, "tuning") if own else base

    def finetune(self) -> FineTune:
        """Fine-tuning with this trial's ``pull``."""
        return FineTune(pull=float(self.values.get("pull", 0.0)))


@dataclass(frozen=True, slots=True)
class Tuning:
    """The same number of trials for every arm, judged by validation log loss.

    Attributes:
        budget: trials per arm, >= 1.
        alone, federated, finetuned, pooled: for each, lists of values by name; their grid must
            have exactly ``budget`` points. Names are those of ``training``, ``algorithm.NAME`` for
            the federated arm, and ``pull`` for the finetuned one.
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
        for arm in ARMS:
            points = len(self.trials(arm))
            if points != self.budget:
                raise ValueError(
                    f"Expected tuning.{arm} to have budget={self.budget} points like every other "
                    f"arm, but its grid has {points}"
                )

    def trials(self, arm: str) -> tuple[Trial, ...]:
        """The grid of one arm, in a fixed order."""
        space: Mapping[str, tuple[Any, ...]] = getattr(self, arm)
        points = itertools.product(*space.values())
        return tuple(Trial(dict(zip(space, point, strict=True))) for point in points)


@dataclass(frozen=True, slots=True)
class Settings:
    """One experiment, ready to run. ``values`` is the resolved config it was built from."""

    experiment: str
    question: str
    source: Source
    partition: Partition
    preparation: Preparation
    options: ConversionOptions
    architecture: ModelConfig
    algorithm: Algorithm
    plan: PrivacyPlan
    summing: SummingConfig
    runtime: Runtime
    training: Training
    tuning: Tuning
    rounds: int
    evaluate_every: int
    seeds: tuple[int, ...]
    arms: tuple[str, ...]
    values: Values

    def task(self, schema: Schema) -> Conversion:
        """The task in this schema."""
        return Conversion(schema, self.architecture, self.options.score_bins)


def settings(values: Values) -> Settings:
    """Build and check every part of a resolved config.

    Raises:
        InputError: an unknown key, a missing or wrong value.
    """
    for key in values:
        if key not in _KEYS:
            raise InputError(
                str(key), "no such key", f"the top level has {', '.join(sorted(_KEYS))}"
            )
    if values["task"].get("name") != "conversion":
        raise InputError("task.name", f"{values['task'].get('name')!r} is not known", "conversion")
    made = Settings(
        experiment=str(values.get("experiment") or "custom"),
        question=str(values.get("question") or ""),
        source=choose(DATASETS, values["data"], "data"),
        partition=choose(PARTITIONS, values["partition"], "partition"),
        preparation=build(Preparation, values["preparation"], "preparation"),
        options=build(ConversionOptions, values["task"], "task"),
        architecture=choose(MODELS, values["model"], "model"),
        algorithm=choose(ALGORITHMS, values["algorithm"], "algorithm"),
        plan=choose(PLANS, values["privacy"], "privacy"),
        summing=choose(SECURE_SUMS, values["secure_sum"], "secure_sum"),
        runtime=build(Runtime, values["runtime"], "runtime"),
        training=build(Training, values["training"], "training"),
        tuning=build(Tuning, values["tuning"], "tuning"),
        rounds=_at_least_one(values, "rounds"),
        evaluate_every=_at_least_one(values, "evaluate_every"),
        seeds=_seeds(values["seeds"]),
        arms=_arms(values["arms"]),
        values=values,
    )
    _check_together(made)
    return made


def _check_together(made: Settings) -> None:
    for arm in made.arms:
        for trial in made.tuning.trials(arm):
            trial.training(made.training)
            trial.algorithm(made.algorithm)
            for key in trial.values:
                allowed = {
                    "federated": key.startswith("algorithm."),
                    "finetuned": key == "pull",
                }.get(arm, False)
                if key not in Training.__slots__ and not allowed:
                    raise InputError(
                        f"tuning.{arm}.{key}",
                        "nothing of that name can be tuned in this arm",
                        f"use one of {', '.join(Training.__slots__)}",
                    )
    if made.preparation.scaling == "own" and made.plan.unit is not Unit.NONE:
        raise InputError(
            "preparation.scaling",
            f"'own' scales by the brand's rows, which privacy={made.plan.name} does not cover",
            "set preparation.scaling=bounds",
        )
    if made.tuning.budget > 1 and not made.preparation.validation:
        raise InputError(
            "preparation.validation",
            f"tuning.budget={made.tuning.budget} needs validation rows, and their share is 0",
            "set preparation.validation=0.25, or tuning.budget=1",
        )


def _at_least_one(values: Values, key: str) -> int:
    value = values[key]
    if type(value) is not int or value < 1:
        raise InputError(key, f"{value!r} is not a whole number >= 1", "change the value")
    return value


def _seeds(value: Any) -> tuple[int, ...]:
    seeds = tuple(range(value)) if type(value) is int else tuple(value or ())
    if not seeds or len(set(seeds)) != len(seeds) or any(type(s) is not int for s in seeds):
        raise InputError(
            "seeds", f"{value!r} names no seeds", "give a number of seeds, or a list such as [0,1]"
        )
    return seeds


def _arms(value: Any) -> tuple[str, ...]:
    arms = tuple(value or ())
    unknown = [arm for arm in arms if arm not in ARMS]
    if not arms or unknown:
        raise InputError("arms", f"{value!r} has no known arm", f"choose among {', '.join(ARMS)}")
    if "finetuned" in arms and "federated" not in arms:
        raise InputError("arms", "'finetuned' starts from 'federated'", "add 'federated'")
    return tuple(arm for arm in ARMS if arm in arms)


def _plain(config: Any) -> dict[str, Any]:
    return {name: getattr(config, name) for name in type(config).__slots__}


def with_workers(made: Settings, workers: int) -> Settings:
    """The same experiment on another number of processes."""
    return replace(made, runtime=replace(made.runtime, workers=workers))
