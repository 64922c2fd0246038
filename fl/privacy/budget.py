"""What is left of a data set's budget, in the figure that refuses runs; from the books alone.

That figure is the filter's (``filter.py``), because the next run may be chosen after reading the
last one's report. It is larger than what an accountant says about a list of runs that was fixed
beforehand, and even nothing has one: what a budget keeps aside for sharing out its delta.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fl.events import PrivacyEvent
from fl.privacy.bills import Accountant, Bill, bill, events
from fl.privacy.books import Books
from fl.privacy.filter import filter_epsilon


@dataclass(frozen=True, slots=True)
class Budget:
    """One budget of a data set, as its filter sees it. All figures are epsilons.

    Attributes:
        epsilon: how large it is, > 0; ``inf`` for none.
        delta: of the ledger, at which every decision is taken.
        reason: why it was opened; empty for the first.
        booked: whether a run counts against it at all.
        decides: what counts against it, >= 0; of nothing, what is kept aside.
    """

    epsilon: float
    delta: float
    reason: str
    booked: bool
    decides: float

    @property
    def left(self) -> float:
        """What further runs may add, >= 0. Guarantee: a run that would add more is refused."""
        return max(0.0, self.epsilon - self.decides)

    def __str__(self) -> str:
        of = "without limit" if self.epsilon == math.inf else f"of epsilon {self.epsilon:g}"
        left = "" if self.epsilon == math.inf else f", left {self.left:.3f}"
        if self.booked:
            return f"spent {self.decides:.3f} {of} at delta {self.delta:g}{left}"
        return (
            f"spent 0 {of} at delta {self.delta:g}{left} "
            f"({self.decides:.3f} is kept aside, as runs are chosen one after another)"
        )


def budgets(books: Books) -> tuple[Budget, ...]:
    """All budgets that a data set had, the present one last.

    Guarantee: counts every open reservation as spent.

    Raises:
        ValueError: the ledger's delta is below 1e-9.
    """
    delta = books.opening.delta
    return tuple(
        Budget(epsilon, delta, reason, bool(spent), filter_epsilon(events(spent), delta))
        for number, (epsilon, reason) in enumerate(zip(books.budgets, books.reasons, strict=True))
        for spent in [books.spent(number)]
    )


def forecast(books: Books, run: str, event: PrivacyEvent, accountant: Accountant) -> float:
    """Epsilon of the data set's whole life once ``run`` has reserved ``event``.

    Guarantee: over every budget, at the opening's delta; a known run is not counted twice.
    """
    cost = Bill() if run in books.runs else bill(event)
    return accountant(events(books.lifetime() + cost), books.opening.delta)


def covers(books: Books, event: PrivacyEvent, accountant: Accountant) -> bool:
    """Whether the present budget has room for one more run of ``event``.

    Guarantee: false wherever the accountant has no figure.
    """
    cost = books.spent() + bill(event)
    return accountant(events(cost), books.opening.delta) <= books.budgets[-1]
