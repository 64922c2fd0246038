"""One round, both halves, top to bottom. Read this file second.

The coordinator runs :func:`coordinate`; every brand runs :func:`contribution`. Steps 1-3 and 7-8
are the coordinator's, 4-6 the brand's. Training, evaluation and statistics all travel this road:
they differ only in the algorithm.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass

from fl import arrays
from fl.arrays import Arrays
from fl.contracts import (
    Algorithm,
    BrandSum,
    Collected,
    Federation,
    Ledger,
    Memory,
    PrivacyPlan,
    Reply,
    Request,
    SecureSum,
    Unit,
)
from fl.doors import Answer, Ask, Counted, LocalOnly, Personal, Query, Train, Trained, Training
from fl.errors import NoAnswer
from fl.events import Composed, PrivacyEvent


@dataclass(frozen=True, slots=True)
class Round:
    """What a round leaves behind: the next state, and who took part."""

    state: Arrays
    collected: Collected


def coordinate(
    number: int,
    state: Arrays,
    *,
    kind: str,
    federation: Federation,
    algorithm: Algorithm,
    plan: PrivacyPlan,
    summing: SecureSum,
    seed: int,
    ledger: Ledger | None = None,
) -> Round:
    """The coordinator's half.

    Args:
        number: the round, from 1.
        state: the algorithm's state at the coordinator.
        kind: which of the brands' algorithms to run; the counterpart of ``algorithm``.
        seed: of this round; see ``PrivacyPlan``.
        ledger: the coordinator's, needed where the unit of privacy is a brand.

    Raises:
        NoAnswer: not one of the brands asked took part; single absences are in ``Round.collected``.
        Refused: the ledger does not cover the round; nobody was asked.
    """
    limits = algorithm.limits
    cohort = plan.sample(federation.nodes(), limits, seed)  # 1 choose who
    if plan.unit is Unit.BRAND:  # 2 pay first
        _required(ledger).commit(plan.round_event(limits), f"{kind}/{number}")
    broadcast = algorithm.broadcast(state)
    requests = {node: Request(kind, number, broadcast) for node in cohort}
    collected = summing.collect(federation, requests, algorithm.zero(state))  # 3 ask; 4-6: the sum
    if requests and not collected.survivors:
        raise NoAnswer(number, dict(collected.absent))
    total = plan.noise(collected.total, limits, seed)  # 7 noise the sum
    mean = arrays.scale(total.sums, 1 / plan.denominator(total, limits))
    return Round(algorithm.apply(state, mean), collected)  # 8 step


def contribution(
    request: Request,
    *,
    memory: Memory,
    algorithm: Algorithm,
    plan: PrivacyPlan,
    summing: BrandSum,
) -> Generator[Ask, Answer, Reply]:
    """The brand's half as it waits for answers, so that a runtime can answer many brands at once.

    ``memory.arrays`` is changed only when an update was made.

    Raises:
        Refused: the request fails a check; the data has not been touched.
    """
    if (reply := summing.answer(request, memory)) is not None:  # key agreement, unmasking
        return reply
    update, kept = yield from algorithm.local(request.arrays, memory.arrays)  # 4 the doors
    update = plan.bound(update, algorithm.limits)  # 5 bound
    reply = summing.protect(request, update, memory)  # 6 protect
    memory.arrays = kept
    return reply


def rehearse(algorithm: Algorithm, state: Arrays) -> tuple[Ask, ...]:
    """What one round will ask of a brand, found by answering with zeros: no data is touched."""
    local = algorithm.local(algorithm.broadcast(state), {})
    asks: list[Ask] = []
    try:
        ask = next(local)
        while True:
            asks.append(ask)
            match ask:
                case Train(start):
                    ask = local.send(Trained(start, 0, 1.0))
                case Personal(name=name):
                    ask = local.send(LocalOnly(name))
                case Query():
                    ask = local.send(Counted(algorithm.zero(state), 1.0))
    except StopIteration:
        return tuple(asks)


def states(algorithm: Algorithm, first: Arrays, rounds: int) -> Iterator[Arrays]:
    """The state before each round, with sums taken as zero: what is public of it beforehand.

    A question asks for something else in every round; this is how it is priced.
    """
    state = first
    for _ in range(rounds):
        yield state
        state = algorithm.apply(state, algorithm.zero(state))


def price(
    algorithm: Algorithm, state: Arrays, *, plan: PrivacyPlan, training: Training
) -> PrivacyEvent:
    """What one round costs a unit of the plan; a plan counts no cost that depends on data."""
    if plan.unit is Unit.BRAND:
        return plan.round_event(algorithm.limits)
    return Composed(tuple(plan.event(ask, training) for ask in rehearse(algorithm, state)))


def _required(ledger: Ledger | None) -> Ledger:
    if ledger is None:
        raise ValueError("A plan with a guarantee books what it spends: it needs a ledger.")
    return ledger
