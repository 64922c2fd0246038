"""The arms of a comparison, for one seed. Every arm is the same coordinator's loop:

- ``alone``      a federation of one brand, for each brand; nothing leaves it
- ``federated``  all brands
- ``finetuned``  all brands, then tuned on at each brand; the tuned model stays there
- ``central_dp`` a federation of one "brand" that holds all rows, with the guarantee
- ``pooled``     the same without: the ceiling that privacy forbids

An arm without a guarantee tries its tuning grid on train rows, takes the trial (and round) with the
lowest validation log loss, and trains once more on train and validation rows together. An arm with
a guarantee tunes nothing: it trains once, on both, as configured. Test rows are only scored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from clients.node import BrandNode
from experiments.journal import Piece, part_of_path
from experiments.learning import Bench, Learned, Recipe, learn, made_nodes
from experiments.prepare import Splits
from experiments.settings import Settings, Variant
from experiments.tuning import Trial
from fl import arrays
from fl.algorithms.fedavg import FedAvg
from fl.arrays import Arrays
from fl.contracts import Algorithm, Request, concatenate
from fl.errors import Code, NoAnswer
from fl.events import PrivacyEvent
from fl.models.parameters import load
from fl.privacy import NoPrivacy, PlainSum, Plan
from fl.seeds import torch_generator
from fl.tasks import Numbers
from server.coordinator import Progress, judged

POOLED = "pooled"
ALL = "(all)"  # where the scores of all brands' test rows at once are kept


@dataclass(frozen=True, slots=True)
class Result:
    """What an arm leaves: a model per brand, how it was tuned, and how the last training went.

    Attributes:
        plan: as it was in force.
        spent: what each ledger's keeper has booked; empty without a guarantee.
    """

    models: Mapping[str, Arrays]
    chosen: Mapping[str, Trial]
    rounds: Mapping[str, int]
    plan: Plan
    progress: Progress | None = None
    tuned_on_train: Arrays | None = None
    spent: Mapping[str, PrivacyEvent] = field(default_factory=dict)


def arm_key(arm: str, variant: Variant) -> str:
    """How an arm is called in journals and results.

    ``alone`` and ``pooled`` have no variants; plans that differ only in who adds the noise share
    one ``central_dp``.
    """
    if arm in ("alone", "pooled"):
        return arm
    central = variant.central if arm == "central_dp" else None
    return f"{arm}@{(central or variant).label}"


def arm_keys(how: Settings) -> dict[str, tuple[str, Variant | None]]:
    """Every arm of the settings, in order of display: its key, name, and guarantee if any."""
    keys: dict[str, tuple[str, Variant | None]] = {}
    for arm in how.arms:
        for variant in how.variants:
            if arm in ("alone", "pooled"):
                keys[arm] = (arm, None)
            elif arm != "central_dp":
                keys[arm_key(arm, variant)] = (arm, variant if variant.private else None)
            elif central := variant.central:
                keys[arm_key(arm, variant)] = (arm, central)
    return keys


def all_arms(bench: Bench) -> dict[str, Result]:
    """Every arm that the settings ask for, in order, by :func:`arm_key`."""
    how, results = bench.settings, {}
    if "alone" in how.arms:
        results["alone"] = alone(bench)
    for variant in how.variants:
        if "federated" in how.arms:
            shared = federated(bench, variant)
            results[arm_key("federated", variant)] = shared
            if "finetuned" in how.arms:
                results[arm_key("finetuned", variant)] = finetuned(bench, variant, shared)
        if "central_dp" in how.arms and (same := variant.central):
            key = arm_key("central_dp", variant)
            results[key] = results.get(key) or central(bench, same)
    if "pooled" in how.arms:
        results["pooled"] = pooled(bench)
    return results


def alone(bench: Bench) -> Result:
    """Each brand by itself."""
    parts = {}
    for brand, splits in bench.rows.brands.items():
        try:
            parts[brand] = _tuned(bench, "alone", {brand: splits}, f"alone/{brand}", FedAvg())
        except NoAnswer:  # the reason is in the brand's log; the brand has no model of its own
            continue
    return Result(
        {brand: next(iter(part.models.values())) for brand, part in parts.items()},
        {brand: part.chosen["all"] for brand, part in parts.items()},
        {brand: part.rounds["all"] for brand, part in parts.items()},
        NoPrivacy(),
    )


def federated(bench: Bench, variant: Variant) -> Result:
    """All brands, no record leaving."""
    brands, key = bench.rows.brands, f"federated@{variant.label}"
    if variant.private:
        return _private(bench, brands, key, variant)
    return _tuned(bench, "federated", brands, key, variant.algorithm, variant.plan)


def central(bench: Bench, variant: Variant) -> Result:
    """All rows in one place, trained with the same guarantee."""
    rows = {POOLED: bench.rows.pooled}
    part = _private(bench, rows, f"central_dp@{variant.label}", variant)
    model = next(iter(part.models.values()))
    return replace(part, models={brand: model for brand in bench.rows.brands})


def pooled(bench: Bench) -> Result:
    """All rows in one place."""
    part = _tuned(bench, "pooled", {POOLED: bench.rows.pooled}, "pooled", FedAvg())
    model = next(iter(part.models.values()))
    return replace(part, models={brand: model for brand in bench.rows.brands})


def finetuned(bench: Bench, variant: Variant, shared: Result) -> Result:
    """The federated model tuned on at each brand, which picks its own trial by itself."""
    trials = bench.settings.tuning.trials("finetuned")
    chosen = {brand: trials[0] for brand in bench.rows.brands}
    final = next(iter(shared.models.values()))
    if len(trials) > 1 and bench.settings.preparation.validation:
        start = final if shared.tuned_on_train is None else shared.tuned_on_train
        losses = [
            _validation_losses(bench, _finetune(bench, variant, start, i, {}, bench.rows.brands))
            for i in range(len(trials))
        ]
        for brand in bench.rows.brands:
            judged = [(losses[i][brand], i) for i in range(len(trials)) if brand in losses[i]]
            chosen[brand] = trials[min(judged)[1]] if judged else trials[0]
    whole = {brand: _refit(splits) for brand, splits in bench.rows.brands.items()}
    models = _finetune(bench, variant, final, None, chosen, whole)
    return Result(models, chosen, {}, shared.plan, spent=shared.spent)


def scores(bench: Bench, arm: str, result: Result) -> dict[str, Numbers]:
    """What the models say of all test rows, by brand and at once; only a benchmark may look at it.

    One shared model scores all rows at once as the pooled arm sees them; that differs from the
    brands' own rows only where brands scale by themselves.
    """
    model = bench.task.model(torch_generator(bench.seed, "model"))
    scored: dict[str, Numbers] = {}
    central_rows = arm == "pooled" or arm.startswith("central_dp")
    for brand, splits in bench.rows.brands.items():
        if brand in result.models:
            load(model, result.models[brand])
            rows = bench.rows.own(brand, "test") if central_rows else splits["test"]
            scored[brand] = bench.task.scores(model, rows)
    if arm.partition("@")[0] in ("federated", "pooled", "central_dp"):
        load(model, next(iter(result.models.values())))
        return {**scored, ALL: bench.task.scores(model, bench.rows.pooled["test"])}
    complete = len(scored) == len(bench.rows.brands)
    return {**scored, **({ALL: np.concatenate(list(scored.values()))} if complete else {})}


def work(settings: Settings, brands: int) -> int:
    """How many brand-rounds one seed costs at most."""
    tuned = settings.tuning.budget + 1 if settings.preparation.validation else 1
    one = brands * settings.rounds
    total = sum(one * tuned for arm in ("alone", "pooled") if arm in settings.arms)
    for variant in settings.variants:
        if "federated" in settings.arms:
            total += one * (1 if variant.private else tuned)
    if "central_dp" in settings.arms:
        total += one * len({c.label for v in settings.variants if (c := v.central)})
    return total


def _private(bench: Bench, brands: Mapping[str, Splits], key: str, variant: Variant) -> Result:
    """One training on train and validation rows, as configured."""
    how = bench.settings
    whole = {brand: _refit(splits) for brand, splits in brands.items()}
    recipe = Recipe(variant.algorithm, how.training, variant.plan, how.rounds, validate=False)
    done = learn(bench, key, whole, recipe)
    model = variant.algorithm.params(done.progress.state)
    everybody = {brand: model for brand in brands}
    rounds = {"all": how.rounds}
    return Result(everybody, {}, rounds, done.plan, done.progress, None, done.spent)


def _tuned(
    bench: Bench,
    arm: str,
    brands: Mapping[str, Splits],
    key: str,
    algorithm: Algorithm,
    plan: Plan | None = None,
) -> Result:
    """Try the arm's grid, then train the winner on train and validation rows together."""
    how, trials = bench.settings, bench.settings.tuning.trials(arm)
    plan = plan or NoPrivacy()
    chosen, rounds, on_train = trials[0], how.rounds, None
    if how.preparation.validation:
        tries: list[Learned] = []
        for i, trial in enumerate(trials):
            training, own = trial.training(how.training), trial.algorithm(algorithm)
            recipe = Recipe(own, training, plan, how.rounds, validate=True)
            tries.append(learn(bench, f"{key}/trial-{i}", brands, recipe))
        bests = [_best(one.progress, how.tuning.rounds) for one in tries]
        winner = min(range(len(trials)), key=lambda i: bests[i][1])
        chosen, rounds = trials[winner], bests[winner][0]
        best = tries[winner].progress.best
        on_train = best.params if best else None
    whole = {brand: _refit(splits) for brand, splits in brands.items()}
    training, own = chosen.training(how.training), chosen.algorithm(algorithm)
    last = learn(bench, f"{key}/final", whole, Recipe(own, training, plan, rounds, validate=False))
    final, model = last.progress, own.params(last.progress.state)
    if how.preparation.validation:  # the curve is that of the winning trial
        final = replace(final, history=tries[winner].progress.history)
    models = {brand: model for brand in brands}
    return Result(models, {"all": chosen}, {"all": rounds}, last.plan, final, on_train)


def _best(progress: Progress, rounds: str) -> tuple[int, float]:
    if rounds == "best" and progress.best is not None:
        return progress.best.number, progress.best.log_loss
    return progress.number, judged(progress.history[-1].metrics)


def _finetune(
    bench: Bench,
    variant: Variant,
    start: Arrays,
    trial: int | None,
    chosen: Mapping[str, Trial],
    brands: Mapping[str, Splits],
) -> dict[str, Arrays]:
    """One personal round with one trial for all brands, or with each brand's chosen trial."""
    name = "final" if trial is None else f"trial-{trial}"
    key = f"seed-{bench.seed}/finetuned@{variant.label}/{name}"
    if (stored := bench.journal.get(key)) is not None:
        kept = {brand: arrays.below(part_of_path(brand), stored.arrays) for brand in brands}
        return {brand: model for brand, model in kept.items() if model}
    trials = bench.settings.tuning.trials("finetuned")
    nodes: dict[str, BrandNode[Any]] = {}
    requests: dict[str, Request] = {}
    for brand, splits in brands.items():
        own = chosen[brand] if trial is None else trials[trial]
        training, tune = own.training(bench.settings.training), own.finetune()
        nodes |= made_nodes(
            bench,
            {brand: splits},
            NoPrivacy(),
            training,
            {"finetune": tune},
            "finetuned",
            {},
            {brand: PlainSum()},  # nothing is sent, so nothing is added
        )
        requests[brand] = Request("finetune", 1, tune.broadcast(start))
    replies = bench.federation(nodes).ask(requests)
    models = {  # of other brands the reason is in their log; they have no model here
        brand: nodes[brand].memory.personal["personal"]
        for brand in brands
        if brand in replies and replies[brand].code is Code.OK
    }
    content = {
        f"{part_of_path(brand)}/{name}": a for brand, m in models.items() for name, a in m.items()
    }
    bench.journal.put(key, Piece(content, {}))
    return models


def _validation_losses(bench: Bench, models: Mapping[str, Arrays]) -> dict[str, float]:
    """What each brand computes by itself to choose its trial; it does not leave the brand."""
    model = bench.task.model(torch_generator(bench.seed, "model"))
    losses = {}
    for brand, splits in bench.rows.brands.items():
        if brand not in models:
            continue
        load(model, models[brand])
        with torch.no_grad():
            losses[brand] = float(bench.task.losses(model, splits["validation"]).double().mean())
    return losses


def _refit(splits: Splits) -> Splits:
    """Train and validation rows together, once tuning is over."""
    if "validation" not in splits:
        return splits
    return {**splits, "train": concatenate([splits["train"], splits["validation"]])}
