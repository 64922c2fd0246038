"""A bill counts elementary events (Gaussian, sampled Gaussian, unbounded): composition as data.

Events on the same data compose in any order, so a sum of bills is their sequential composition, and
the larger of two bills, event by event, covers either. Equal events of many rounds and runs come
together in one count, which keeps an accountant's work independent of the number of rounds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from fl.events import Composed, Gaussian, PrivacyEvent, Repeated, Sampled, Unbounded

Bill = Counter[Gaussian | Sampled | Unbounded]
Accountant = Callable[[Sequence[PrivacyEvent], float], float]
"""Epsilon of several events on the same data, composed, at a delta; ``inf`` where there is none."""


def bill(event: PrivacyEvent) -> Bill:
    """``event`` as counts of elementary events.

    Guarantee: composition does not depend on order, so the bill costs exactly what ``event`` costs.

    >>> bill(Repeated(Composed((Gaussian(2.0), Repeated(Gaussian(2.0), 3))), 5))
    Counter({Gaussian(noise_multiplier=2.0): 20})
    """
    match event:
        case Repeated(inner, times):
            return Counter({atom: n * times for atom, n in bill(inner).items() if times})
        case Composed(events):
            return total(bill(inner) for inner in events)
        case Sampled(rate, inner) if rate == 1:
            return Counter({inner: 1})
        case _:
            return Counter({event: 1})


def events(cost: Bill) -> tuple[PrivacyEvent, ...]:
    """The events of a bill, equal ones together.

    Guarantee: ``bill(Composed(events(cost))) == cost``.
    """
    return tuple(atom if n == 1 else Repeated(atom, n) for atom, n in cost.items() if n)


def total(bills: Iterable[Bill]) -> Bill:
    """The sum of ``bills``.

    Guarantee: sequential composition; nothing is treated as if it were on separate customers.
    """
    result: Bill = Counter()
    for part in bills:
        result.update(part)
    return result
