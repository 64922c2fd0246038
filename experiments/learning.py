"""One training: enrol some brands, set the plan, open the ledgers, run the coordinator's loop.

Every arm is made of trainings; they differ in who takes part, in the recipe, and in what is done
with the model. A training that was interrupted goes on where its last checkpoint left it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clients.node import BrandNode
from experiments.books import COORDINATOR, Books, opened
from experiments.enrolment import enrolled
from experiments.journal import Journal, from_progress, memory_of, plan_from, to_progress
from experiments.prepare import Prepared, Splits
from experiments.runtimes import federation
from experiments.settings import Settings
from fl.algorithms.query import SumQuery, evaluation, headcount
from fl.arrays import Arrays
from fl.contracts import Algorithm, BrandSum, Federation, Ledger, PrivacyPlan, Unit
from fl.doors import Training
from fl.events import Composed, PrivacyEvent, Repeated
from fl.models.parameters import parameters
from fl.privacy import Plan
from fl.round import coordinate, price
from fl.seeds import derive, torch_generator
from fl.tasks import Trained
from server.coordinator import Coordinator, Progress

if TYPE_CHECKING:
    from experiments.simulation import Simulation


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
        paths: counts how the cohort runtime has answered what brands were asked.
        running: Ray, where that is the runtime.
    """

    settings: Settings
    task: Trained[Any]
    seed: int
    rows: Prepared
    journal: Journal
    tick: Callable[[int], None]
    paths: Counter[str] = field(default_factory=Counter)
    running: Simulation | None = None

    @property
    def start(self) -> Arrays:
        """The first parameters, the same for every arm."""
        return parameters(self.task.model(torch_generator(self.seed, "model")))

    def federation(self, nodes: Mapping[str, BrandNode[Any]]) -> Federation:
        """The nodes under the experiment's runtime."""
        how = self.settings
        return federation(how.runtime, nodes, self.paths, len(how.seeds), self.running)

    def transcript(self, key: str, run: str) -> Path:
        """Where the secure sum's lines of one part of a training go."""
        folder = self.journal.folder.parent / "transcripts" / f"seed-{self.seed}"
        return folder / key.replace("/", ".") / f"{run}.jsonl"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How brands train.

    Attributes:
        algorithm, training, plan: the plug-ins; the plan as configured.
        rounds: of the algorithm.
        validate: ask for the learning curve; under a private plan every point is paid for.
    """

    algorithm: Algorithm
    training: Training
    plan: Plan
    rounds: int
    validate: bool


@dataclass(frozen=True, slots=True)
class Learned:
    """What a training leaves.

    Attributes:
        progress: the coordinator's last.
        plan: as it was in force, with its noise.
        spent: what each ledger's keeper has booked; empty without a guarantee.
    """

    progress: Progress
    plan: Plan
    spent: Mapping[str, PrivacyEvent] = field(default_factory=dict)


def learn(bench: Bench, key: str, brands: Mapping[str, Splits], recipe: Recipe) -> Learned:
    """Train; ``key`` names the training in the journal, the ledgers and the derived seeds."""
    journal, journal_key = bench.journal, f"seed-{bench.seed}/{key}"
    stored = journal.get(journal_key)
    folder = journal.folder.parent / "ledgers" / f"seed-{bench.seed}" / key.replace("/", ".")
    lent = bench.running.lent if bench.running else None
    with opened(folder, journal.folder / "keys", list(brands), recipe.plan, lent) as books:
        if stored is not None:
            plan, progress = plan_from(stored.note["plan"]), to_progress(stored)
            memories = {name: memory_of(stored, name) for name in brands}
            bench.tick(len(brands) * progress.number)
            if stored.note["done"]:
                bench.tick(len(brands) * (bench.settings.rounds - progress.number))
                return Learned(progress, plan, books.spent())
        else:
            plan = _in_force(bench, key, brands, recipe, books)
            progress, memories = Progress(0, recipe.algorithm.init(bench.start)), {}
        recipe = replace(recipe, plan=plan)
        return _run(bench, key, brands, recipe, books, progress, memories)


def _run(
    bench: Bench,
    key: str,
    brands: Mapping[str, Splits],
    recipe: Recipe,
    books: Books,
    progress: Progress,
    memories: Mapping[str, tuple[Arrays, dict[str, Arrays]]],
) -> Learned:
    how, algorithm = bench.settings, recipe.algorithm
    validation = evaluation(bench.task, "validation") if recipe.validate else None
    left = recipe.rounds - progress.number
    run = f"from-round-{progress.number}"
    ledgers = books.reserve(run, _cost(bench, recipe, recipe.plan, left))
    served = {"train": algorithm} | ({"validate": validation} if validation else {})
    summing, halves = enrolled(
        how.summing,
        brands,
        served,
        recipe.plan,
        progress.state,
        witnesses=books.witnesses(),
        transcript=bench.transcript(key, run),
    )
    nodes = made_nodes(bench, brands, recipe.plan, recipe.training, served, key, ledgers, halves)
    for name, (arrays, personal) in memories.items():
        nodes[name].memory.arrays = arrays
        nodes[name].memory.personal.update(personal)
    coordinator = Coordinator(
        bench.federation(nodes),
        algorithm,
        recipe.plan,
        summing,
        bench.seed,
        validation,
        bench.task.metrics,
        how.evaluate_every,
        ledgers.get(COORDINATOR),
    )
    checkpoint = _Checkpoint(bench, key, recipe.plan, nodes)
    progress = coordinator.run(progress, recipe.rounds, checkpoint.after)
    checkpoint.finish(progress)
    books.settle(run)
    bench.tick(len(brands) * (how.rounds - recipe.rounds))
    return Learned(progress, recipe.plan, books.spent())


@dataclass(slots=True)
class _Checkpoint:
    """Stores a training now and then, and when it is over if it took long enough to matter."""

    bench: Bench
    key: str
    plan: Plan
    nodes: Mapping[str, BrandNode[Any]]
    began: float = field(default_factory=time.monotonic)
    saved: float = field(default_factory=time.monotonic)

    def after(self, progress: Progress) -> None:
        """After every round."""
        self.bench.tick(len(self.nodes))
        if time.monotonic() - self.saved >= self.bench.settings.runtime.checkpoint_seconds:
            self._store(progress, done=False)
            self.saved = time.monotonic()

    def finish(self, progress: Progress) -> None:
        """After the last round. What took less is computed again, to the same arrays.

        A private training is always stored: computed again, it would be paid for again.
        """
        took = time.monotonic() - self.began
        pause = self.bench.settings.runtime.checkpoint_seconds / 10
        if took >= pause or self.plan.unit is not Unit.NONE:
            self._store(progress, done=True)

    def _store(self, progress: Progress, *, done: bool) -> None:
        memories = {
            name: (node.memory.arrays, node.memory.personal) for name, node in self.nodes.items()
        }
        piece = from_progress(progress, memories, self.plan, done=done)
        self.bench.journal.put(f"seed-{self.bench.seed}/{self.key}", piece)


def made_nodes(
    bench: Bench,
    brands: Mapping[str, Splits],
    plan: PrivacyPlan,
    training: Training,
    algorithms: Mapping[str, Algorithm],
    key: str,
    ledgers: Mapping[str, Ledger],
    halves: Mapping[str, BrandSum],
) -> dict[str, BrandNode[Any]]:
    """A node for each brand, serving ``algorithms``."""
    how = bench.settings
    return {
        name: BrandNode(
            name,
            splits,
            bench.task,
            plan,
            halves[name],
            training,
            algorithms,
            bench.seed,
            key,
            ledgers.get(name),
            debug=how.runtime.debug,
        )
        for name, splits in brands.items()
    }


def _in_force(
    bench: Bench, key: str, brands: Mapping[str, Splits], recipe: Recipe, books: Books
) -> Plan:
    """The plan for these brands: sized by a counted query, then calibrated to the whole run."""
    plan = recipe.plan.enrolled(len(brands))
    opening: PrivacyEvent = Composed()
    if plan.needs_headcount:
        query = headcount("train")
        opening = price(query, {}, plan=plan, training=recipe.training)
        ledgers = books.reserve("headcount", opening)
        served = {"headcount": query}
        summing, halves = enrolled(
            bench.settings.summing,
            brands,
            served,
            plan,
            {},
            witnesses=books.witnesses(),
            transcript=bench.transcript(key, "headcount"),
        )
        nodes = made_nodes(bench, brands, plan, recipe.training, served, key, ledgers, halves)
        counted = coordinate(
            1,
            {},
            kind="headcount",
            federation=bench.federation(nodes),
            algorithm=query,
            plan=plan,
            summing=summing,
            seed=derive(bench.seed, "headcount", key),
        )
        books.settle("headcount")
        plan = plan.sized(float(counted.state["customers"]))
    return plan.calibrated(
        lambda candidate: Composed((opening, _cost(bench, recipe, candidate, recipe.rounds)))
    )


def _cost(bench: Bench, recipe: Recipe, plan: PrivacyPlan, rounds: int) -> PrivacyEvent:
    """What ``rounds`` rounds and their validations cost."""
    if plan.unit is Unit.NONE:
        return Composed()
    state = recipe.algorithm.init(bench.start)
    one = price(recipe.algorithm, state, plan=plan, training=recipe.training)
    events: list[PrivacyEvent] = [Repeated(one, rounds)]
    if recipe.validate:
        query: SumQuery = evaluation(bench.task, "validation")
        point = price(query, bench.start, plan=plan, training=recipe.training)
        events.append(Repeated(point, -(-rounds // bench.settings.evaluate_every)))
    return Composed(tuple(events))
