"""Statistics with disclosure control: a cell is released if no brand can be read off it.

Hundepool et al., "Statistical Disclosure Control", Wiley 2012, section 4.2: minimum frequency, the
(n, k) dominance rule, the p % rule, complementary suppression. They ask for the largest brands'
shares, which nobody may know here; so every brand tests its own share of the released total, and
what the sum shows is how many brands object. Four rounds:

1. all brands' ``totals``, summed
2. every brand learns those, and its own totals with all of the noise (asked ``alone``, so that its
   answers are made of something private); it says where it is large: above ``pair - single``
3. it asks for its own totals once more, takes the mean of both, and objects where its share is
   above ``single``; where two brands are large and its own is above ``pair / 2``; or above
   ``(1 - pair) / p``. It also says in which segments it has customers at all
4. ``cells``, zero where a cell is suppressed

The two-brand rule is kept exactly, and strictly: two brands with more than ``pair`` together are
both large (neither is above ``single``), and the larger is above ``pair / 2``. It also objects to
some pairs below. What is left beside any two brands is then ``1 - pair``, which is what the p %
rule asks for beside the largest and its closest rival: at least ``p`` of the largest.

Noise makes every test a little uncertain, to the suppressing and to the releasing side; without
privacy all of them are exact.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from fl import arrays
from fl.arrays import Arrays
from fl.contracts import Floats, Limits, Local, Update
from fl.doors import Answer, Ask, Counted, Of, Query, Statistic

REASONS = (
    "released",
    "too few brands contribute",
    "too few customers",
    "one brand dominates",
    "two brands dominate",
    "a brand could be estimated too closely",
    "suppressed so that another cell cannot be found by subtraction",
    "empty: no brand says that it has customers here",
)
_BRANDS, _CUSTOMERS, _SINGLE, _PAIR, _CLOSE, _COMPLEMENT, _EMPTY = range(1, 8)


@dataclass(frozen=True, slots=True)
class Disclosure:
    """What is asked, and when it is answered.

    Attributes:
        cells: rows of the totals; the first is the sum of the others, where there are others.
        values: columns of the totals; the first counts customers.
        widths: entries of ``cells`` for each cell, in order.
        count_weight: what one customer adds to a count.
        spread: standard deviation of the noise on a brand's own totals; a brand says that it
            contributes from three times that on.
        min_brands: contributing brands, >= 3.
        min_customers: customers, >= 1.
        single: largest share of one brand, in (0, 1).
        pair: largest share of two brands together, in (single, 1).
        p_percent: how closely a brand's rival may not estimate it, in (0, 100].
        share_totals, share_own: of what the run may spend; the rest is for the cells.
    """

    cells: int
    values: int
    widths: tuple[int, ...]
    count_weight: float = 1.0
    spread: float = 0.0
    min_brands: int = 5
    min_customers: float = 50.0
    single: float = 0.5
    pair: float = 0.85
    p_percent: float = 10.0
    share_totals: float = 0.1
    share_own: float = 0.1
    name: str = "disclosure"

    def __post_init__(self) -> None:
        if self.min_brands < 3 or self.min_customers < 1:
            raise ValueError(
                f"Expected min_brands={self.min_brands} >= 3 (of two, each knows the other) and "
                f"min_customers={self.min_customers} >= 1."
            )
        if not 0 < self.single < self.pair < 1 or not 0 < self.p_percent <= 100:
            raise ValueError(
                f"Expected 0 < single={self.single} < pair={self.pair} < 1 and "
                f"p_percent={self.p_percent} in (0, 100]."
            )
        if self.share_totals <= 0 or self.share_own <= 0 or self.share_totals + self.share_own >= 1:
            raise ValueError(
                f"Expected share_totals={self.share_totals} and share_own={self.share_own} > 0, "
                "and something left for the cells."
            )

    @property
    def rounds(self) -> int:
        """Four."""
        return 4

    @property
    def limits(self) -> Limits:
        """A customer moves each sum by at most 1."""
        return {"totals": 1.0, "cells": 1.0}

    def init(self, params: Arrays) -> Arrays:
        """Nothing is known."""
        table, cells = np.zeros((self.cells, self.values)), np.zeros(self.cells)
        return {
            "stage": np.zeros(()),
            "totals": table,
            "contributors": cells,
            "large": table,
            "reasons": cells,
            "cells": np.zeros(sum(self.widths)),
        }

    def broadcast(self, state: Arrays) -> Arrays:
        """What the round's tests are about."""
        names = (
            ("stage",),
            ("stage", "totals"),
            ("stage", "totals", "large"),
            ("stage", "reasons"),
        )
        return {name: state[name] for name in names[self._stage(state)]}

    def local(self, received: Arrays, memory: Arrays) -> Local:
        """The brand's half of the round that ``received`` is about."""
        match self._stage(received):
            case 0:
                sums = yield from _counted("totals", self.share_totals, alone=False)
                return Update(sums, 0.0), memory
            case 1:
                own = yield from self._own(received)
                return Update({"large": self._large(own, received["totals"])}, 0.0), {"own": own}
            case 2:
                again = yield from self._own(received)
                mean = (again + np.asarray(memory.get("own", again), np.float64)) / 2
                return Update(self._tested(mean, received["totals"], received["large"]), 0.0), {}
            case _:
                left = 1.0 - self.share_totals - self.share_own
                sums = yield from _counted("cells", left, alone=False)
                kept = np.repeat(received["reasons"] == 0, self.widths)
                return Update({"cells": np.where(kept, sums["cells"], 0.0)}, 0.0), memory

    def zero(self, state: Arrays) -> Arrays:
        """What the round of ``state`` adds up."""
        table = np.zeros((self.cells, self.values))
        shapes: tuple[Arrays, ...] = (
            {"totals": table},
            {"large": table},
            {
                "contributors": np.zeros(self.cells),
                "objections": np.zeros((3, self.cells, self.values)),
            },
            {"cells": np.zeros(sum(self.widths))},
        )
        return arrays.zeros_like(shapes[self._stage(state)])

    def apply(self, state: Arrays, mean: Arrays) -> Arrays:
        """The sums; after the third round, which cells are suppressed and why."""
        stage = self._stage(state)
        known = {**state, "stage": np.array(stage + 1.0)}
        if stage != 2:
            return {**known, **mean}
        contributors = np.asarray(mean["contributors"], np.float64)
        reasons = self._reasons(state, contributors, np.asarray(mean["objections"], np.float64))
        return {**known, "contributors": contributors, "reasons": reasons}

    def params(self, state: Arrays) -> Arrays:
        """The answer."""
        return state

    def _stage(self, arrays_: Arrays) -> int:
        return min(int(np.asarray(arrays_["stage"])), self.rounds - 1)

    def _own(self, received: Arrays) -> Generator[Ask, Answer, Floats]:
        """A brand's totals with all of the noise; a rehearsal answers without them."""
        answer = yield from _counted("totals", self.share_own / 2, alone=True)
        return np.asarray(answer.get("totals", received["totals"]), np.float64)

    def _large(self, own: Floats, total: arrays.Array) -> Floats:
        t = np.maximum(np.asarray(total, np.float64), 0)
        return (own > (self.pair - self.single) * t).astype(np.float64)

    def _tested(self, own: Floats, total: arrays.Array, large: arrays.Array) -> Arrays:
        """Where a brand has customers; objections by the share of one, of two, and by p %."""
        t = np.maximum(np.asarray(total, np.float64), 0)
        both = (np.asarray(large, np.float64) > 1.5) & (self._large(own, t) > 0)
        close = own > (1 - self.pair) / (self.p_percent / 100) * t
        found = (own > self.single * t, both & (own > self.pair / 2 * t), close)
        least = max(3 * self.spread, self.count_weight / 2)
        contributes = (own[:, 0] >= least).astype(np.float64)
        contributes[0] = 1.0  # of all customers, being enrolled says it, and that is public
        return {"contributors": contributes, "objections": np.stack(found).astype(np.float64)}

    def _reasons(self, state: Arrays, contributors: Floats, objections: Floats) -> Floats:
        """The first rule that a cell fails, as a place in ``REASONS``; float64 ``[cells]``."""
        customers = np.asarray(state["totals"], np.float64)[:, 0] / self.count_weight
        one, two, close = objections.max(2, initial=0.0) > 0.5
        reasons = np.select(
            [
                contributors < 0.5,
                contributors < self.min_brands - 0.5,
                customers < self.min_customers,
                *(one, two, close),
            ],
            [_EMPTY, _BRANDS, _CUSTOMERS, _SINGLE, _PAIR, _CLOSE],
            0,
        ).astype(np.float64)
        closed = np.flatnonzero((reasons > 0) & (reasons != _EMPTY))
        if self.cells > 1 and len(closed) == 1:  # it is what is left of the others
            reasons[self._partner(int(closed[0]), customers)] = _COMPLEMENT
        return reasons

    def _partner(self, closed: int, customers: Floats) -> int:
        """The smallest segment that is as large as the suppressed cell, or the largest there is."""
        others = [c for c in range(1, self.cells) if c != closed]
        others.sort(key=lambda c: customers[c])
        return next((c for c in others if customers[c] >= customers[closed]), others[-1])


def _counted(part: str, share: float, *, alone: bool) -> Generator[Ask, Answer, Arrays]:
    counted = yield Query(Statistic("all", Of.RECORDS, parts=(part,), share=share, alone=alone))
    if not isinstance(counted, Counted):
        raise TypeError("Expected a Query to be answered by Counted.")
    return counted.sums
