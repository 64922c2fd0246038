"""The resolved config of a question as objects, checked before anything is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from experiments.questions.catalog import STUDIES
from experiments.questions.study import Study
from experiments.runtimes import Runtime
from experiments.settings import ALONE, Source, guarantees, instead, label, seeds
from fl.config import Values, build, choose
from fl.contracts import Unit
from fl.data.catalog import DATASETS
from fl.data.divide import Partition
from fl.data.partition import PARTITIONS
from fl.errors import InputError
from fl.privacy import SECURE_SUMS, Plan, Summing

_TOGETHER = ("plans", "epsilons")
_NEEDED = ("data", "partition", "task", "privacy", "secure_sum", "runtime", "seeds", *_TOGETHER)
_TRAINS = (
    *("model", "algorithm", "training", "tuning", "rounds", "evaluate_every", "arms"),
    *("preparation", "by_epsilon"),
)


@dataclass(frozen=True, slots=True)
class Inquiry:
    """One experiment whose task is a question. ``values`` is what it was built from.

    Attributes:
        plans: the guarantees under which it is asked, by label; the run's own is the first.
    """

    experiment: str
    question: str
    source: Source
    partition: Partition
    study: Study
    plans: Mapping[str, Plan]
    summing: Summing
    runtime: Runtime
    seeds: tuple[int, ...]
    values: Values


def inquiry(values: Values) -> Inquiry:
    """Build and check what a question uses of a resolved config.

    The groups that are about training (model, algorithm, training, tuning, rounds, arms) play no
    part in it.

    Raises:
        InputError: an unknown key, a missing or wrong value, a guarantee that this sum cannot keep.
    """
    for key in _NEEDED:
        if key not in values:
            remedy = f"leave ~{key} out; {ALONE}" if key in _TOGETHER else "give it a value"
            raise InputError(key, "is missing", remedy)
    summing = choose(SECURE_SUMS, values["secure_sum"], "secure_sum")
    plans = {label(plan): plan for plan in guarantees(values)}
    for plan in plans.values():
        _check(plan, summing, values)
    runtime = build(Runtime, values["runtime"], "runtime")
    if runtime.name == "ray":
        raise InputError(
            "runtime", "Ray's actors train; a question only counts", "set runtime=inprocess"
        )
    return Inquiry(
        experiment=str(values.get("experiment") or "custom"),
        question=str(values.get("question") or ""),
        source=choose(DATASETS, values["data"], "data"),
        partition=choose(PARTITIONS, values["partition"], "partition"),
        study=choose(STUDIES, values["task"], "task"),
        plans=plans,
        summing=summing,
        runtime=runtime,
        seeds=seeds(values["seeds"]),
        values=values,
    )


def idle(values: Values, overrides: Sequence[str]) -> list[str]:
    """Which overrides of the command line play no part: a question counts, and trains nothing.

    Args:
        values: a resolved config that builds.
        overrides: as given, such as ``training.epochs=2``.

    >>> idle({"task": {"name": "statistics"}}, ["rounds=3", "seeds=1", "+training.epochs=2"])
    ['rounds', 'training.epochs']
    """
    task = values["task"]
    if not isinstance(task, Mapping) or task.get("name") not in STUDIES or task.get("learners"):
        return []
    keys = [override.lstrip("+~").partition("=")[0] for override in overrides]
    return [key for key in keys if key.partition(".")[0] in _TRAINS]


def _check(plan: Plan, summing: Summing, values: Values) -> None:
    if plan.unit is Unit.BRAND:
        raise InputError(
            "privacy",
            f"{plan.name} clips what a brand sends to a norm of 1, and counts of customers are "
            "larger: it protects brands in training only",
            "choose privacy=distributed or privacy=local, which protect customers; brands are "
            "protected by the benchmark's rules of disclosure control (task=statistics) only",
        )
    if plan.needs_hidden_updates and not summing.hides_updates:
        raise InputError(
            "secure_sum",
            f"{summing.name} shows sums with a share of the noise of {label(plan)} only",
            f"set secure_sum=brandagg, or {instead(plan, values)}",
        )
