"""One round, both halves, top to bottom. Read this file second.

The coordinator runs :func:`coordinate`; every brand runs :func:`contribute`. Steps 1-3 and 6-8 are
the coordinator's, 4-5 the brand's. Training, evaluation and statistics all travel this road: they
differ only in the algorithm.
"""

from __future__ import annotations

from dataclasses import dataclass

from fl import arrays
from fl.arrays import Arrays
from fl.contracts import (
    Algorithm,
    Brand,
    BrandSum,
    Collected,
    Federation,
    Local,
    Memory,
    PrivacyPlan,
    Reply,
    Request,
    SecureSum,
    Update,
)
from fl.errors import NoAnswer
from fl.seeds import Generator


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
    rng: Generator,
) -> Round:
    """The coordinator's half.

    Args:
        number: the round, from 1.
        state: the algorithm's state at the coordinator.
        kind: which of the brands' algorithms to run; the counterpart of ``algorithm``.
        rng: draws who takes part; derived from the run's seed and ``number``.

    Raises:
        NoAnswer: not one brand took part. Single absences are reported in ``Round.collected``.
    """
    cohort = plan.sample(federation.nodes(), rng=rng)  # 1 choose who
    broadcast = algorithm.broadcast(state)  # 2 what they get
    requests = {node: Request(kind, number, broadcast) for node in cohort}
    collected = summing.collect(federation, requests, algorithm.zero(state))  # 3 ask; 4-6: the sum
    if not collected.survivors:
        raise NoAnswer(number, dict(collected.absent))
    total = plan.noise(collected.total)  # 7 noise the sum
    mean = arrays.scale(total.sums, 1 / plan.denominator(total))
    return Round(algorithm.apply(state, mean), collected)  # 8 step


def contribute(
    request: Request,
    *,
    brand: Brand,
    memory: Memory,
    algorithm: Algorithm,
    plan: PrivacyPlan,
    summing: BrandSum,
) -> Reply:
    """The brand's half. ``memory.arrays`` is changed only when an update was made.

    Raises:
        Refused: the request fails a check; the data has not been touched.
    """
    if (reply := summing.answer(request, memory)) is not None:  # key agreement, unmasking
        return reply
    local = algorithm.local(request.arrays, memory.arrays)
    update, kept = carry_out(local, brand)  # 4 compute, through the doors
    update = plan.bound(update)  # 5 bound, add the noise share
    reply = summing.protect(request, update, memory)  # 6 protect
    memory.arrays = kept
    return reply


def carry_out(local: Local, brand: Brand) -> tuple[Update, Arrays]:
    """Answer an algorithm's asks one by one until it returns its update and memory."""
    try:
        ask = next(local)
        while True:
            ask = local.send(brand.answer(ask))
    except StopIteration as finished:
        update: Update
        update, kept = finished.value
        return update, kept
