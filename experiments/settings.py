"""A resolved config as objects: everything an experiment needs, checked before anything is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from experiments.runtimes import Runtime
from experiments.tuning import TUNED, Tuning
from fl.algorithms import ALGORITHMS
from fl.config import Values, build, choose, group, plain
from fl.contracts import Algorithm, Unit
from fl.data.catalog import DATASETS
from fl.data.dataset import DataSet
from fl.data.divide import Partition, Preparation
from fl.data.partition import PARTITIONS
from fl.data.schema import Schema
from fl.doors import Train, Training
from fl.errors import InputError
from fl.privacy import PLANS, SECURE_SUMS, NoPrivacy, Plan, Summing
from fl.round import rehearse
from fl.tasks import TASKS, NamedConfig, TaskConfig, Trained

ALONE = "for the run's own guarantee alone, set plans=null 'epsilons=[]'"
ARMS = ("alone", "federated", "finetuned", "central_dp", "pooled")
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
    "plans",
    "epsilons",
    "by_epsilon",
}


class Source(Protocol):
    """One of the catalogue's data sets."""

    @property
    def name(self) -> str: ...

    def load(self) -> DataSet:
        """Read it."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One guarantee under which the federated arms run.

    Attributes:
        label: ``none``, or the plan's name and epsilon, such as ``local-0.5``.
        plan: as configured; not yet calibrated.
        algorithm: with what is set for this epsilon.
    """

    label: str
    plan: Plan
    algorithm: Algorithm

    @property
    def private(self) -> bool:
        """Whether it promises anything."""
        return self.plan.unit is not Unit.NONE

    @property
    def central(self) -> Variant | None:
        """The same guarantee where one party holds all rows and adds all noise, if there is one."""
        if self.plan.unit is not Unit.CUSTOMER:
            return None
        values = {**plain(self.plan), "name": "local", "dropouts": 0, "colluders": 0}
        plan = choose(PLANS, values, "privacy")
        return Variant(label(plan), plan, self.algorithm)


@dataclass(frozen=True, slots=True)
class Settings:
    """One experiment, ready to run. ``values`` is the resolved config it was built from."""

    experiment: str
    question: str
    source: Source
    partition: Partition
    preparation: Preparation
    options: TaskConfig
    architecture: NamedConfig
    algorithm: Algorithm
    variants: tuple[Variant, ...]
    summing: Summing
    runtime: Runtime
    training: Training
    tuning: Tuning
    rounds: int
    evaluate_every: int
    seeds: tuple[int, ...]
    arms: tuple[str, ...]
    values: Values

    def task(self, schema: Schema) -> Trained[Any]:
        """The task in this schema."""
        return self.options.task(schema, self.architecture)


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
    if absent := sorted(_KEYS - set(values) - {"experiment", "question", "out"}):
        raise InputError(absent[0], "is missing", "give it a value")
    options = choose(TASKS, values["task"], "task")
    made = Settings(
        experiment=str(values.get("experiment") or "custom"),
        question=str(values.get("question") or ""),
        source=choose(DATASETS, values["data"], "data"),
        partition=choose(PARTITIONS, values["partition"], "partition"),
        preparation=build(Preparation, values["preparation"], "preparation"),
        options=options,
        architecture=choose(options.models, values["model"], "model"),
        algorithm=choose(ALGORITHMS, values["algorithm"], "algorithm"),
        variants=_variants(values),
        summing=choose(SECURE_SUMS, values["secure_sum"], "secure_sum"),
        runtime=build(Runtime, values["runtime"], "runtime"),
        training=build(Training, values["training"], "training"),
        tuning=build(Tuning, values["tuning"], "tuning"),
        rounds=_at_least_one(values, "rounds"),
        evaluate_every=_at_least_one(values, "evaluate_every"),
        seeds=seeds(values["seeds"]),
        arms=_arms(values["arms"]),
        values=values,
    )
    _check_together(made)
    return made


def guarantees(values: Values) -> list[Plan]:
    """The run's own privacy first, then each plan of ``plans`` at each epsilon of ``epsilons``."""
    chosen = [choose(PLANS, values["privacy"], "privacy")]
    others, epsilons = group(values["plans"] or {}, "plans"), _listed(values["epsilons"])
    if bool(others) != bool(epsilons):
        raise InputError(
            "epsilons", f"{epsilons!r} goes with plans={sorted(others)!r}", "give both, or neither"
        )
    for name, plan in others.items():
        group(plan, f"plans.{name}")
        chosen += [
            choose(PLANS, {**plan, "epsilon": e, "noise_multiplier": None}, f"plans.{name}")
            for e in epsilons
        ]
    labels = [label(plan) for plan in chosen]
    if repeated := sorted({name for name in labels if labels.count(name) > 1}):
        twice = f"{repeated[0]} is asked for twice"
        if repeated[0] == labels[0]:
            twice += ", by privacy and by plans"
        raise InputError("epsilons", twice, f"name it once; {ALONE}")
    return chosen


def instead(plan: Plan, values: Values) -> str:
    """What may be set where ``plan`` cannot be kept: it is the run's own, or one of ``plans``."""
    own = label(plan) == label(choose(PLANS, values["privacy"], "privacy"))
    return "privacy=local" if own else f"leave {label(plan)} out of plans; {ALONE}"


def _variants(values: Values) -> tuple[Variant, ...]:
    return tuple(Variant(label(p), p, _algorithm(values, p)) for p in guarantees(values))


def _algorithm(values: Values, plan: Plan) -> Algorithm:
    """The run's algorithm, with what ``by_epsilon`` sets for this plan's epsilon.

    Where that names another algorithm, it is that one, and nothing of the run's is kept.
    """
    epsilon = None if isinstance(plan, NoPrivacy) else plan.epsilon
    own = {str(k): v for k, v in group(values["by_epsilon"] or {}, "by_epsilon").items()}
    changed = {} if epsilon is None else own.get(f"{epsilon:g}") or {}
    changed = group(changed, f"by_epsilon.{epsilon}")
    kept = {} if "name" in changed else values["algorithm"]
    return choose(ALGORITHMS, {**kept, **changed}, "algorithm")


def label(plan: Plan) -> str:
    """How a guarantee is called in results: ``none``, or the plan's name and epsilon."""
    if isinstance(plan, NoPrivacy):
        return "none"
    if plan.epsilon is None:
        return f"{plan.name}-noise-{plan.noise_multiplier:g}"
    return f"{plan.name}-{plan.epsilon:g}"


def _check_together(made: Settings) -> None:
    if "central_dp" in made.arms and not any(v.private for v in made.variants):
        raise InputError(
            "arms", "'central_dp' needs a privacy plan", "set privacy=local, or drop the arm"
        )
    for arm in (arm for arm in made.arms if arm in TUNED):
        for trial in made.tuning.trials(arm):
            trial.training(made.training)
            trial.algorithm(made.algorithm)
            trial.finetune()
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
    for variant in made.variants:
        _check_sum(made, variant)
    if made.preparation.scaling == "own" and made.options.name != "conversion":
        raise InputError(
            "preparation.scaling",
            f"'own' scales the numbers of a table, which task={made.options.name} does not read",
            "set preparation.scaling=bounds",
        )
    private = [variant for variant in made.variants if variant.private]
    guarded = [v.label for v in private if v.plan.unit is Unit.CUSTOMER]
    if guarded and (problem := made.options.unbounded(made.architecture)):
        why, remedy = problem
        raise InputError("model", f"{why}, which {guarded[0]} does not allow", remedy)
    if made.preparation.scaling == "own" and private:
        raise InputError(
            "preparation.scaling",
            f"'own' scales by the brand's rows, which {private[0].label} does not cover",
            "set preparation.scaling=bounds",
        )
    if made.tuning.budget > 1 and not made.preparation.validation:
        raise InputError(
            "preparation.validation",
            f"tuning.budget={made.tuning.budget} needs validation rows, and their share is 0",
            "set preparation.validation=0.25, or tuning.budget=1",
        )


def _check_sum(made: Settings, variant: Variant) -> None:
    """A share of the noise protects nobody but in a sum that hides single updates.

    Noise on the sum protects nobody if brands are shown the sum before it, to follow the model.
    """
    plan, algorithm = variant.plan, variant.algorithm
    if plan.unit is Unit.BRAND and made.summing.hides_updates:
        raise InputError(
            "secure_sum",
            f"{made.summing.name} shows all brands each sum and who is in it, but {plan.name} adds "
            "its noise to the sum afterwards and samples brands in secret",
            "set secure_sum=plain",
        )
    if not plan.needs_hidden_updates:
        return
    if any(isinstance(ask, Train) for ask in rehearse(algorithm, algorithm.init({}))):
        raise InputError(
            "algorithm",
            f"{algorithm.name} trains at a brand, with a share of {plan.name}'s noise only",
            f"choose algorithm=fedsgd, or {instead(plan, made.values)}",
        )
    if not made.summing.hides_updates:
        raise InputError(
            "secure_sum",
            f"{made.summing.name} shows updates with a share of the noise of {variant.label} only",
            f"set secure_sum=brandagg, or {instead(plan, made.values)}",
        )


def _at_least_one(values: Values, key: str) -> int:
    value = values[key]
    if type(value) is not int or value < 1:
        raise InputError(key, f"{value!r} is not a whole number >= 1", "change the value")
    return value


def seeds(value: Any) -> tuple[int, ...]:
    """Seeds from their number or a list of them."""
    found = tuple(range(value)) if type(value) is int else _listed(value)
    if not found or len(set(found)) != len(found) or any(type(s) is not int for s in found):
        raise InputError(
            "seeds", f"{value!r} names no seeds", "give a number of seeds, or a list such as [0,1]"
        )
    return found


def _arms(value: Any) -> tuple[str, ...]:
    arms = _listed(value)
    if not arms or any(arm not in ARMS for arm in arms):
        raise InputError("arms", f"{value!r} is no list of arms", f"list some of {', '.join(ARMS)}")
    if "finetuned" in arms and "federated" not in arms:
        raise InputError("arms", "'finetuned' starts from 'federated'", "add 'federated'")
    return tuple(arm for arm in ARMS if arm in arms)


def _listed(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else ()
