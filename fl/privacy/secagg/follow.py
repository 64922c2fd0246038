"""How a brand recomputes the coordinator's step, so that the coordinator cannot choose the model.

Pasquini, Francati, Ateniese, "Eluding secure aggregation in federated learning via model
inconsistency", CCS 2022, shows what a coordinator can do that chooses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from fl import arrays
from fl.arrays import Arrays
from fl.contracts import Algorithm, PrivacyPlan, Update


class Follow(Protocol):
    """The public course of a run: what is broadcast from a state, and the next state."""

    def broadcast(self, kind: str, state: Arrays) -> Arrays:
        """What every brand receives in a round of ``kind``; ``KeyError`` for an unknown kind."""

    def zero(self, kind: str, state: Arrays) -> Arrays:
        """Zeros with the names and shapes of the sums of such a round."""

    def advance(self, kind: str, state: Arrays, total: Update) -> Arrays:
        """The state after such a round."""


@dataclass(frozen=True, slots=True)
class Course:
    """The course of ``fl/round.py`` and ``server/coordinator.py``.

    Rounds of kind ``main`` change the state; all others ask something about the model in it. The
    plan must not noise centrally: brands cannot recompute noise that only the coordinator knows.

    Attributes:
        algorithms: the coordinator's half of each kind.
        plan: gives the denominator.
        main: the kind that learns.
    """

    algorithms: Mapping[str, Algorithm]
    plan: PrivacyPlan
    main: str = "train"

    def broadcast(self, kind: str, state: Arrays) -> Arrays:
        """As the coordinator does. Guarantee: a function of public values."""
        return self.algorithms[kind].broadcast(self._asked(kind, state))

    def zero(self, kind: str, state: Arrays) -> Arrays:
        """As the coordinator does. Guarantee: a function of public values."""
        return self.algorithms[kind].zero(self._asked(kind, state))

    def advance(self, kind: str, state: Arrays, total: Update) -> Arrays:
        """As the coordinator does. Guarantee: a function of public values."""
        if kind != self.main:
            return state
        mean = arrays.scale(
            total.sums, 1 / self.plan.denominator(total, self.algorithms[kind].limits)
        )
        return self.algorithms[kind].apply(state, mean)

    def _asked(self, kind: str, state: Arrays) -> Arrays:
        learns = self.main in self.algorithms and kind != self.main
        return self.algorithms[self.main].params(state) if learns else state
