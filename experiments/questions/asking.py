"""One question asked of all brands: open their ledgers, set the noise, run its counted rounds.

A question that was interrupted goes on after its last round; rounds that were booked stay spent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic

from clients.node import BrandNode
from experiments.books import Books, opened
from experiments.enrolment import enrolled
from experiments.journal import Journal, Piece, from_progress, memory_of, plan_from, to_progress
from fl.arrays import Arrays
from fl.contracts import Collected, NodeId, Question, R, SecureSum, Task, Unit
from fl.doors import Training
from fl.errors import InputError
from fl.events import Composed, PrivacyEvent
from fl.federation.inprocess import InProcessFederation
from fl.privacy import Plan, Summing
from fl.round import coordinate, price, states
from fl.seeds import derive
from server.coordinator import Absence, Progress

SPLIT = "all"  # a brand's rows are not divided: nothing is learned from them
_KIND = "train"  # the kind of request whose rounds lead from state to state (secagg/follow.py)
_LOOP = Training()  # plays no part: no door to training is opened


@dataclass(frozen=True, slots=True)
class Place:
    """Where and how a question is asked.

    Attributes:
        folder: of the run; ledgers and transcripts go below it.
        journal: finished pieces.
        summing: the secure sum.
        seed: of this repetition.
        label: of the guarantee.
        debug: stop at the first exception of a brand instead of counting it absent.
        tick: told how many brands have answered.
    """

    folder: Path
    journal: Journal
    summing: Summing
    seed: int
    label: str
    debug: bool
    tick: Callable[[int], None]

    def key(self, name: str = "") -> str:
        """What the question is called in journals, ledgers, transcripts and results."""
        return _named(self.label) + (f"/{name}" if name else "")


@dataclass(frozen=True, slots=True)
class Answered:
    """What a question leaves.

    Attributes:
        state: the answer.
        plan: as it was in force, with its noise.
        spent: what each brand's ledger has booked; empty without a guarantee.
        cohort: whose customers are in the sums, sorted.
        absent: who is not, with the code that says why.
    """

    state: Arrays
    plan: Plan
    spent: Mapping[str, PrivacyEvent]
    cohort: tuple[NodeId, ...]
    absent: Mapping[NodeId, str]


def ask(
    place: Place,
    brands: Mapping[str, R],
    task: Task[R],
    question: Question,
    plan: Plan,
    *,
    first: Arrays | None = None,
    name: str = "",
) -> Answered:
    """Carry a question out, every round with the same brands.

    Args:
        plan: as configured; its noise is set here, so that all rounds keep its epsilon.
        first: what the question starts from, public.
        name: tells several questions of one run apart.

    Raises:
        InputError: the secure sum cannot work with so many brands, epsilon cannot be kept, or a
            brand was lost between two rounds.
        NoAnswer: not one brand took part.
    """
    key = place.key(name)
    stored = place.journal.get(_rounds(place.seed, key))
    ledgers = place.folder / "ledgers" / f"seed-{place.seed}" / key.replace("/", ".")
    with opened(ledgers, place.journal.folder / "keys", list(brands), plan) as books:
        if stored is not None:
            begun, plan = to_progress(stored), plan_from(stored.note["plan"])
            cohort = _stored_cohort(stored)
        else:
            begun, cohort = Progress(0, question.init(first or {})), None
            plan = in_force(plan, question, len(brands), first=first)
        asked = _Asked(place, key, brands, task, question, plan, books)
        progress, cohort = asked.run(begun, cohort, stored)
        place.tick(len(brands) * begun.number)
        absent = {a.brand: a.code for a in progress.absences if a.number == 1}
        return Answered(progress.state, plan, books.spent(), cohort, absent)


def in_force(plan: Plan, question: Question, brands: int, *, first: Arrays | None = None) -> Plan:
    """The plan for so many brands, with the noise with which this question keeps its epsilon."""
    state = question.init(first or {})
    return plan.enrolled(brands).calibrated(
        lambda candidate: _cost(question, state, question.rounds, candidate)
    )


@dataclass(frozen=True, slots=True)
class _Asked(Generic[R]):
    """What does not change while a question is carried out."""

    place: Place
    key: str
    brands: Mapping[str, R]
    task: Task[R]
    question: Question
    plan: Plan
    books: Books

    def run(
        self, progress: Progress, cohort: tuple[NodeId, ...] | None, stored: Piece | None
    ) -> tuple[Progress, tuple[NodeId, ...]]:
        """The rounds that are left."""
        question, left = self.question, self.question.rounds - progress.number
        if not left:
            return progress, cohort or ()
        part = f"from-round-{progress.number}"
        nodes, summing = self._nodes(part, progress, left)
        if stored is not None:
            for name, node in nodes.items():
                node.memory.arrays = memory_of(stored, name)[0]
        federation = InProcessFederation({name: node.handle for name, node in nodes.items()})
        while progress.number < question.rounds:
            number = progress.number + 1
            done = coordinate(
                number,
                progress.state,
                kind=_KIND,
                federation=federation,
                algorithm=question,
                plan=self.plan,
                summing=summing,
                seed=derive(self.place.seed, "question", self.key, number),
            )
            cohort = _same(cohort, done.collected, number)
            lost = [Absence(number, n, str(c)) for n, c in done.collected.absent.items()]
            progress = Progress(number, done.state, (), (*progress.absences, *lost))
            self._store(progress, cohort, nodes)
            self.place.tick(len(self.brands))
        self.books.settle(part)
        return progress, cohort or ()

    def _nodes(
        self, part: str, progress: Progress, left: int
    ) -> tuple[dict[str, BrandNode[R]], SecureSum]:
        place, served = self.place, {_KIND: self.question}
        ledgers = self.books.reserve(part, _cost(self.question, progress.state, left, self.plan))
        lines = place.folder / "transcripts" / f"seed-{place.seed}" / self.key.replace("/", ".")
        summing, halves = enrolled(
            place.summing,
            self.brands,
            served,
            self.plan,
            progress.state,
            witnesses=self.books.witnesses(),
            transcript=lines / f"{part}.jsonl",
            rounds=left,
        )
        nodes = {
            name: BrandNode(
                name,
                {SPLIT: rows},
                self.task,
                self.plan,
                halves[name],
                _LOOP,
                served,
                place.seed,
                self.key,
                ledgers.get(name),
                debug=place.debug,
            )
            for name, rows in self.brands.items()
        }
        return nodes, summing

    def _store(
        self, progress: Progress, cohort: tuple[NodeId, ...], nodes: Mapping[str, BrandNode[R]]
    ) -> None:
        memories: dict[str, tuple[Arrays, dict[str, Arrays]]] = {
            name: (node.memory.arrays, {}) for name, node in nodes.items()
        }
        done = progress.number == self.question.rounds
        piece = from_progress(progress, memories, self.plan, done=done)
        piece = replace(piece, note={**piece.note, "cohort": list(cohort)})
        self.place.journal.put(_rounds(self.place.seed, self.key), piece)


def asked_already(journal: Journal, seed: int, label: str) -> tuple[NodeId, ...] | None:
    """Who is in the rounds that a run's question has behind it; None if it has none."""
    stored = journal.get(_rounds(seed, _named(label)))
    return None if stored is None else _stored_cohort(stored)


def _stored_cohort(stored: Piece) -> tuple[NodeId, ...] | None:
    return tuple(stored.note["cohort"]) or None


def _named(label: str) -> str:
    return f"federated@{label}"


def _rounds(seed: int, key: str) -> str:
    """The piece that a question's rounds are stored in."""
    return f"seed-{seed}/{key}"


def _same(
    cohort: tuple[NodeId, ...] | None, collected: Collected, number: int
) -> tuple[NodeId, ...]:
    """The difference of two rounds' sums is the part of who was in one of them only."""
    if cohort is None or cohort == collected.survivors:
        return collected.survivors
    lost = sorted(set(cohort) ^ set(collected.survivors))
    raise InputError(
        f"brand {lost[0]}",
        f"was not in the same rounds as the others (round {number}), so that their sums would show "
        "its part by subtraction; nothing is published",
        f"ask anew without it: partition.exclude=[{lost[0]}]",
    )


def _cost(question: Question, state: Arrays, rounds: int, plan: Plan) -> PrivacyEvent:
    """What ``rounds`` rounds from ``state`` on cost a customer."""
    if plan.unit is Unit.NONE:
        return Composed()
    return Composed(
        tuple(
            price(question, each, plan=plan, training=_LOOP)
            for each in states(question, state, rounds)
        )
    )
