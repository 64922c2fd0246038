"""What the entries of a ledger add up to: runs, what each reserved and committed, what is spent.

With R the bill (``fl/privacy/bills.py``) that a run reserved and C the bill of its commits,

    owed = C when the run is settled, otherwise the larger of R and C, event by event.

So all committed rounds count, and until a run is settled its uncommitted remainder counts too: a
crash counts as spent. Settling gives back the remainder, which is sound because a round is
committed before it touches data.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from fl.contracts import Unit
from fl.events import from_json
from fl.privacy.bills import Bill, bill, total
from fl.privacy.entries import Entry, Json, Kind
from fl.privacy.signing import is_public_key


class Neighbours(StrEnum):
    """Which two data sets the guarantee cannot tell apart."""

    ADD_REMOVE = "add-remove"
    REPLACE = "replace"
    ZERO_OUT = "zero-out"


@dataclass(frozen=True, slots=True)
class Opening:
    """What a ledger is about; its first entry.

    Attributes:
        brand: whose data.
        dataset: hash of the data set's manifest; the budget belongs to this data set.
        unit: whose presence is hidden.
        relation: the neighbouring relation.
        epsilon: the first budget, > 0; ``inf`` books without a limit.
        delta: in (0, 1); every budget decision is taken at it.
        software: the version that opened the ledger.
    """

    brand: str
    dataset: str
    unit: Unit
    relation: Neighbours
    epsilon: float
    delta: float
    software: str

    def __post_init__(self) -> None:
        if not self.epsilon > 0 or not 0 < self.delta < 1:
            raise ValueError(f"Expected epsilon={self.epsilon} > 0, delta={self.delta} in (0, 1).")
        if not (self.brand and self.dataset and self.software):
            raise ValueError("Expected brand, dataset and software to be named.")

    def body(self, public_key: str) -> dict[str, Json]:
        """The entry's body.

        Guarantee: binds brand, data set, unit, relation, budget, delta and key in one signature.
        """
        return {
            "brand": self.brand,
            "dataset": self.dataset,
            "unit": self.unit,
            "relation": self.relation,
            "epsilon": limit(self.epsilon),
            "delta": self.delta,
            "software": self.software,
            "public_key": public_key,
        }


@dataclass(slots=True)
class Run:
    """One run's account. ``period`` is the budget it is charged to: 0 for the first."""

    period: int
    reserved: Bill
    committed: Bill = field(default_factory=Counter)
    occasions: set[str] = field(default_factory=set)
    settled: bool = False

    def owed(self) -> Bill:
        """What counts as spent.

        Guarantee: never less than what was committed; see the module's formula.
        """
        return self.committed if self.settled else self.reserved | self.committed

    def covers(self, cost: Bill) -> bool:
        """Whether one more commit of ``cost`` stays within the reservation.

        Guarantee: while every commit is covered, commits never exceed what the budget allowed.
        """
        return self.committed + cost <= self.reserved


@dataclass(slots=True)
class Books:
    """The state that a sequence of entries leads to; changed by :meth:`book` only.

    Attributes:
        opening, public_key: from the first entry.
        budgets: epsilon of each period; renewals add one.
        reasons: why each period was opened; empty for the first.
        runs: by id, in order of reservation.
        refusals: code and run id of each refusal.
        entries: how many there are.
        head: hash of the last one.
    """

    opening: Opening
    public_key: str
    budgets: list[float]
    reasons: list[str]
    runs: dict[str, Run]
    refusals: list[tuple[str, str]]
    entries: int
    head: str

    @classmethod
    def begin(cls, entry: Entry) -> Books:
        """Books after the first entry.

        Guarantee: nothing is spent.

        Raises:
            ValueError: not an open entry, or something in it is missing or out of range.
        """
        match entry.kind, entry.body:
            case (
                Kind.OPEN,
                {
                    "brand": str(brand),
                    "dataset": str(dataset),
                    "unit": str(unit),
                    "relation": str(relation),
                    "epsilon": epsilon,
                    "delta": float(delta),
                    "software": str(software),
                    "public_key": str(public_key),
                    **rest,
                },
            ) if not rest and is_public_key(public_key):
                budget = _limit(epsilon)
                of = Unit(unit), Neighbours(relation)
                opening = Opening(brand, dataset, *of, budget, delta, software)
                return cls(opening, public_key, [budget], [""], {}, [], 1, entry.hash)
        raise ValueError("a ledger begins with a complete open entry")

    def book(self, entry: Entry) -> None:
        """Take in the next entry.

        Guarantee: an entry that breaks the order reserve, commit, settle, or a commit that is not
        covered by its run's reservation, is not taken in.

        Raises:
            ValueError: such an entry, or a body that does not belong to its kind.
        """
        match entry.kind, entry.body:
            case Kind.RESERVE, {"run": str(run), "event": dict(event), **rest} if not rest:
                self._reserve(run, bill(from_json(event)))
            case (
                Kind.COMMIT,
                {"run": str(run), "occasion": str(occasion), "event": dict(event), **rest},
            ) if not rest:
                self._commit(run, occasion, bill(from_json(event)))
            case Kind.SETTLE, {"run": str(run), **rest} if not rest:
                self._open_run(run).settled = True
            case Kind.REFUSE, {"run": str(run), "code": str(code), "evidence": str(), **rest} if (
                not rest
            ):
                self.refusals.append((code, run))
            case Kind.RENEW, {"epsilon": epsilon, "reason": str(reason), **rest} if (
                reason and not rest
            ):
                self._renew(_limit(epsilon), reason)
            case Kind.CHECKPOINT, {"reason": str(), **_more}:
                pass
            case _:
                raise ValueError(f"does not have the fields of a {entry.kind} entry here")
        self.entries, self.head = self.entries + 1, entry.hash

    def spent(self, period: int | None = None) -> Bill:
        """What counts against a budget: the present one, or that of ``period`` (from 0).

        Guarantee: all rounds of the period that may have touched data, and every open reservation.
        """
        of = len(self.budgets) - 1 if period is None else period
        return total(run.owed() for run in self.runs.values() if run.period == of)

    def lifetime(self) -> Bill:
        """What counts over all budgets this data set ever had.

        Guarantee: renewals forget nothing here.
        """
        return total(run.owed() for run in self.runs.values())

    def has_open_run(self) -> bool:
        """Whether a run is not settled.

        Guarantee: false means that nothing more can be committed without a new reservation.
        """
        return any(not run.settled for run in self.runs.values())

    def _reserve(self, name: str, cost: Bill) -> None:
        if name in self.runs:
            raise ValueError("reserves a run that is already known")
        self.runs[name] = Run(len(self.budgets) - 1, cost)

    def _commit(self, name: str, occasion: str, cost: Bill) -> None:
        run = self._open_run(name)
        if occasion in run.occasions or not run.covers(cost):
            raise ValueError("commits a round twice, or more than its run reserved")
        run.occasions.add(occasion)
        run.committed += cost

    def _open_run(self, name: str) -> Run:
        run = self.runs.get(name)
        if run is None or run.settled:
            raise ValueError("names a run that is not open")
        return run

    def _renew(self, epsilon: float, reason: str) -> None:
        if self.has_open_run():
            raise ValueError("renews the budget while a run is open")
        self.budgets.append(epsilon)
        self.reasons.append(reason)


def limit(epsilon: float) -> float | None:
    """A budget as JSON, which has no infinity: None is no limit.

    Guarantee: inverse of reading it back.
    """
    return None if epsilon == math.inf else epsilon


def _limit(value: Json) -> float:
    if value is None:
        return math.inf
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ValueError("has a budget that is not a number above 0")
    return float(value)
