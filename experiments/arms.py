"""The four arms of a comparison, for one seed. Every arm is the same coordinator's loop:

- ``alone``      a federation of one brand, for each brand
- ``federated``  all brands
- ``finetuned``  all brands, then tuned on at each brand; the tuned model stays there
- ``pooled``     a federation of one "brand" that holds all rows: the ceiling that privacy forbids

Each arm tries its tuning grid on train rows, takes the trial (and round) with the lowest validation
log loss, and trains once more on train and validation rows together. Test rows are only scored.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from clients.node import BrandNode
from experiments.enrolment import enrolled
from experiments.journal import Journal, Piece, from_progress, memory_of, to_progress
from experiments.prepare import Prepared, Splits
from experiments.settings import Settings, Trial
from fl import arrays
from fl.algorithms.fedavg import FedAvg
from fl.algorithms.query import SumQuery
from fl.arrays import Arrays
from fl.contracts import Algorithm, BrandSum, Floats, Memory, Training, concatenate
from fl.errors import NoAnswer
from fl.federation.inprocess import InProcessFederation
from fl.models.parameters import load, parameters
from fl.privacy.plain import PlainSum
from fl.round import coordinate
from fl.seeds import numpy_generator, torch_generator
from fl.tasks.conversion import Conversion, metrics
from server.coordinator import Coordinator, Progress

POOLED = "pooled"
ALL = "(all)"  # where the scores of all brands' test rows at once are kept


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything that is fixed for one seed.

    Attributes:
        settings: the experiment.
        task: in the shared schema.
        seed: of this repetition.
        rows: encoded, by brand and pooled.
        journal: finished pieces of this seed.
        tick: told how much work was done, in brand-rounds.
    """

    settings: Settings
    task: Conversion
    seed: int
    rows: Prepared
    journal: Journal
    tick: Callable[[int], None]

    @property
    def transcripts(self) -> Path:
        """Where the secure sum's transcripts of this seed go."""
        return self.journal.folder.parent / "transcripts" / f"seed-{self.seed}"

    @property
    def start(self) -> Arrays:
        """The first parameters, the same for every arm."""
        return parameters(self.task.model(torch_generator(self.seed, "model")))


@dataclass(frozen=True, slots=True)
class Result:
    """What an arm leaves: a model per brand, how it was tuned, and how the last training went."""

    models: Mapping[str, Arrays]
    chosen: Mapping[str, Trial]
    rounds: Mapping[str, int]
    progress: Progress | None = None
    tuned_on_train: Arrays | None = None


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
    )


def federated(bench: Bench) -> Result:
    """All brands, no record leaving."""
    return _tuned(bench, "federated", bench.rows.brands, "federated", bench.settings.algorithm)


def pooled(bench: Bench) -> Result:
    """All rows in one place."""
    part = _tuned(bench, "pooled", {POOLED: bench.rows.pooled}, "pooled", FedAvg())
    model = next(iter(part.models.values()))
    return replace(part, models={brand: model for brand in bench.rows.brands})


def finetuned(bench: Bench, shared: Result) -> Result:
    """The federated model tuned on at each brand, which picks its own trial by itself."""
    trials = bench.settings.tuning.trials("finetuned")
    chosen = {brand: trials[0] for brand in bench.rows.brands}
    if len(trials) > 1 and shared.tuned_on_train is not None:
        losses = [
            _validation_losses(
                bench, _finetune(bench, shared.tuned_on_train, i, {}, bench.rows.brands)
            )
            for i in range(len(trials))
        ]
        for brand in bench.rows.brands:
            judged = [(losses[i][brand], i) for i in range(len(trials)) if brand in losses[i]]
            chosen[brand] = trials[min(judged)[1]] if judged else trials[0]
    whole = {brand: _refit(splits) for brand, splits in bench.rows.brands.items()}
    final = next(iter(shared.models.values()))
    models = _finetune(bench, final, None, chosen, whole)
    return Result(models, chosen, {})


def scores(bench: Bench, arm: str, result: Result) -> dict[str, Floats]:
    """Probabilities of all test rows, by brand and at once: what only a benchmark may look at.

    One shared model scores all rows at once as the pooled arm sees them; that differs from the
    brands' own rows only where brands scale by themselves.
    """
    model = bench.task.model(torch_generator(bench.seed, "model"))
    scored = {}
    for brand, splits in bench.rows.brands.items():
        if brand in result.models:
            load(model, result.models[brand])
            rows = bench.rows.own(brand, "test") if arm == "pooled" else splits["test"]
            scored[brand] = bench.task.scores(model, rows)
    if arm in ("federated", "pooled"):
        load(model, next(iter(result.models.values())))
        return {**scored, ALL: bench.task.scores(model, bench.rows.pooled["test"])}
    complete = len(scored) == len(bench.rows.brands)
    return {**scored, **({ALL: np.concatenate(list(scored.values()))} if complete else {})}


def work(settings: Settings, brands: int) -> int:
    """How many brand-rounds one seed costs at most."""
    trials = settings.tuning.budget + 1 if settings.preparation.validation else 1
    return brands * settings.rounds * trials * len([a for a in settings.arms if a != "finetuned"])


def _tuned(
    bench: Bench, arm: str, brands: Mapping[str, Splits], key: str, algorithm: Algorithm
) -> Result:
    """Try the arm's grid, then train the winner on train and validation rows together."""
    how, trials = bench.settings, bench.settings.tuning.trials(arm)
    chosen, rounds, on_train = trials[0], how.rounds, None
    if how.preparation.validation:
        tries = []
        for i, trial in enumerate(trials):
            training, own = trial.training(how.training), trial.algorithm(algorithm)
            tries.append(_learn(bench, f"{key}/trial-{i}", brands, own, training, how.rounds, True))
        bests = [_best(progress, how.tuning.rounds) for progress in tries]
        winner = min(range(len(trials)), key=lambda i: bests[i][1])
        chosen, rounds = trials[winner], bests[winner][0]
        best = tries[winner].best
        on_train = best.params if best else None
    whole = {brand: _refit(splits) for brand, splits in brands.items()}
    training, own = chosen.training(how.training), chosen.algorithm(algorithm)
    final = _learn(bench, f"{key}/final", whole, own, training, rounds, False)
    model = own.params(final.state)
    if how.preparation.validation:  # the curve is that of the winning trial
        final = replace(final, history=tries[winner].history)
    models = {brand: model for brand in brands}
    return Result(models, {"all": chosen}, {"all": rounds}, final, on_train)


def _best(progress: Progress, rounds: str) -> tuple[int, float]:
    if rounds == "best" and progress.best is not None:
        return progress.best.number, progress.best.log_loss
    return progress.number, progress.history[-1].metrics["log_loss"]


def _learn(
    bench: Bench,
    key: str,
    brands: Mapping[str, Splits],
    algorithm: Algorithm,
    training: Training,
    rounds: int,
    validate: bool,
) -> Progress:
    """One training, taken up from the journal where it was left."""
    how, journal_key = bench.settings, f"seed-{bench.seed}/{key}"
    validation = SumQuery("validation", bench.task.statistics())
    served: Mapping[str, Algorithm] = {"train": algorithm, "validate": validation}
    stored = bench.journal.get(journal_key)
    first = algorithm.init(bench.start) if stored is None else to_progress(stored).state
    part = "" if stored is None else f"-from-{stored.note['number']}"
    file = bench.transcripts / key / f"transcript{part}.jsonl"
    summing, halves = enrolled(how, brands, served, first, file)
    nodes = _nodes(bench, brands, training, served, halves, key)
    coordinator = Coordinator(
        InProcessFederation({name: node.handle for name, node in nodes.items()}),
        algorithm,
        how.plan,
        summing,
        bench.seed,
        validation if validate else None,
        metrics,
        how.evaluate_every,
    )
    progress = coordinator.start(bench.start)
    if stored is not None:
        progress = to_progress(stored)
        for name, node in nodes.items():
            node.memory = Memory(memory_of(stored, name))
        bench.tick(len(brands) * progress.number)
        if stored.note["done"]:
            bench.tick(len(brands) * (how.rounds - progress.number))
            return progress

    def store(latest: Progress, done: bool) -> None:
        memories = {name: node.memory.arrays for name, node in nodes.items()}
        bench.journal.put(journal_key, from_progress(latest, memories, done))

    saved = time.monotonic()

    def after(latest: Progress) -> None:
        nonlocal saved
        bench.tick(len(brands))
        if time.monotonic() - saved >= how.runtime.checkpoint_seconds:
            store(latest, False)
            saved = time.monotonic()

    began = saved
    progress = coordinator.run(progress, rounds, after)
    if time.monotonic() - began >= how.runtime.checkpoint_seconds / 10:
        store(progress, True)  # what took less is computed again, to the same arrays
    bench.tick(len(brands) * (how.rounds - rounds))
    return progress


def _finetune(
    bench: Bench,
    start: Arrays,
    trial: int | None,
    chosen: Mapping[str, Trial],
    brands: Mapping[str, Splits],
) -> dict[str, Arrays]:
    """One personal round with one trial for all brands, or with each brand's chosen trial."""
    key = f"seed-{bench.seed}/finetuned/{'final' if trial is None else f'trial-{trial}'}"
    if (stored := bench.journal.get(key)) is not None:
        kept = {brand: arrays.below(brand, stored.arrays) for brand in brands}
        return {brand: model for brand, model in kept.items() if model}
    trials = bench.settings.tuning.trials("finetuned")
    plain = PlainSum()  # nothing is sent, so nothing is added
    nodes: dict[str, BrandNode] = {}
    for brand, splits in brands.items():
        own = chosen[brand] if trial is None else trials[trial]
        training = own.training(bench.settings.training)
        served = {"finetune": own.finetune()}
        halves = {brand: plain}
        nodes |= _nodes(bench, {brand: splits}, training, served, halves, "finetuned")
    coordinate(
        1,
        start,
        kind="finetune",
        federation=InProcessFederation({name: node.handle for name, node in nodes.items()}),
        algorithm=trials[0].finetune(),
        plan=bench.settings.plan,
        summing=plain,
        rng=numpy_generator(bench.seed, "cohort", "finetune", 1),
    )
    kept = {name: arrays.below("personal", node.memory.arrays) for name, node in nodes.items()}
    models: dict[str, Arrays] = {name: model for name, model in kept.items() if model}
    content = {f"{brand}/{name}": a for brand, m in models.items() for name, a in m.items()}
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


def _nodes(
    bench: Bench,
    brands: Mapping[str, Splits],
    training: Training,
    algorithms: Mapping[str, Algorithm],
    halves: Mapping[str, BrandSum],
    key: str,
) -> dict[str, BrandNode]:
    how = bench.settings
    return {
        name: BrandNode(
            name,
            splits,
            bench.task,
            how.plan,
            halves[name],
            training,
            algorithms,
            bench.seed,
            key,
            debug=how.runtime.debug,
        )
        for name, splits in brands.items()
    }


def _refit(splits: Splits) -> Splits:
    """Train and validation rows together, once tuning is over."""
    if "validation" not in splits:
        return splits
    return {**splits, "train": concatenate([splits["train"], splits["validation"]])}
