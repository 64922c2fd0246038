"""The coordinator's loop: rounds, evaluation, and a progress that can be stored and taken up again.

State in, state out: :func:`advance` turns one :class:`Progress` into the next. All randomness is
derived from the run's seed and the round's number, so a run that continues from a stored progress
ends with the same arrays as one that was never interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from fl.algorithms.query import SumQuery
from fl.arrays import Arrays
from fl.contracts import Algorithm, Federation, Ledger, NodeId, PrivacyPlan, SecureSum
from fl.round import Round, coordinate
from fl.seeds import derive

Metrics = Callable[[Arrays], dict[str, float]]


@dataclass(frozen=True, slots=True)
class Point:
    """One point of the learning curve: the federation's metrics after a round."""

    number: int
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True)
class Absence:
    """A brand that had no part in a round, with the code that says why."""

    number: int
    brand: NodeId
    code: str


@dataclass(frozen=True, slots=True)
class Best:
    """The model that validation judges best so far; see :func:`judged`."""

    number: int
    log_loss: float
    params: Arrays


def judged(metrics: Mapping[str, float]) -> float:
    """What validation minimises: the log loss, unless the task names another loss.

    >>> judged({"log_loss": 0.5}), judged({"log_loss": 0.5, "selection_loss": 0.9})
    (0.5, 0.9)
    """
    return metrics.get("selection_loss", metrics["log_loss"])


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands after ``number`` rounds."""

    number: int
    state: Arrays
    history: tuple[Point, ...] = ()
    absences: tuple[Absence, ...] = ()
    best: Best | None = None


@dataclass(frozen=True, slots=True)
class Coordinator:
    """What does not change during a run.

    Attributes:
        federation, algorithm, plan, summing: the plug-ins.
        seed: of the run.
        validation: the counted query for the learning curve, or None to do without.
        metrics: from the query's answer to metrics, among them ``log_loss``, and where a task is
            judged by something else, ``selection_loss``.
        evaluate_every: rounds between two validations; the last round is always validated.
        ledger: of this run, where the unit of privacy is a brand.
    """

    federation: Federation
    algorithm: Algorithm
    plan: PrivacyPlan
    summing: SecureSum
    seed: int
    validation: SumQuery | None
    metrics: Metrics
    evaluate_every: int = 1
    ledger: Ledger | None = None

    def start(self, params: Arrays) -> Progress:
        """Before the first round."""
        return Progress(0, self.algorithm.init(params))

    def advance(self, progress: Progress, last: int) -> Progress:
        """One more round, validated when it is due.

        Raises:
            NoAnswer: no brand took part; ``progress`` is still good to continue from.
        """
        number = progress.number + 1
        done = self._round("train", number, progress.state, self.algorithm)
        absences = tuple(
            Absence(number, node, str(code)) for node, code in done.collected.absent.items()
        )
        progress = replace(
            progress, number=number, state=done.state, absences=progress.absences + absences
        )
        due = number % self.evaluate_every == 0 or number == last
        return self._validate(progress) if due else progress

    def run(self, progress: Progress, rounds: int, after: Callable[[Progress], None]) -> Progress:
        """Advance to ``rounds``; ``after`` sees every progress (to store and to show it)."""
        while progress.number < rounds:
            progress = self.advance(progress, rounds)
            after(progress)
        return progress

    def params(self, progress: Progress) -> Arrays:
        """The model of a progress."""
        return self.algorithm.params(progress.state)

    def _validate(self, progress: Progress) -> Progress:
        if self.validation is None:
            return progress
        params = self.params(progress)
        answer = self._round("validate", progress.number, params, self.validation)
        point = Point(progress.number, self.metrics(answer.state))
        loss = judged(point.metrics)
        best = progress.best
        if best is None or loss < best.log_loss:
            best = Best(progress.number, loss, params)
        return replace(progress, history=(*progress.history, point), best=best)

    def _round(self, kind: str, number: int, state: Arrays, algorithm: Algorithm) -> Round:
        return coordinate(
            number,
            state,
            kind=kind,
            federation=self.federation,
            algorithm=algorithm,
            plan=self.plan,
            summing=self.summing,
            seed=derive(self.seed, "round", kind, number),
            ledger=self.ledger,
        )
