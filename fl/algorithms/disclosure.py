"""Statistics with disclosure control: a cell is released if no brand can be read off it.

Hundepool et al., "Statistical Disclosure Control", Wiley 2012, section 4.2: minimum frequency, the
(n, k) dominance rule, the p % rule, complementary suppression. They ask for the largest brands'
shares, which nobody may know here; so every brand tests its own share of the released total, and
what the sum shows is how many brands are above a limit. Three rounds:

1. all brands' ``totals``, summed
2. every brand learns those, and of each cell one number: its largest share of any of the totals,
   with all of the noise (asked ``alone``, so that its answers are made of something private). It
   says where it has customers at all, and where its share is above ``pair - single``, ``pair / 2``,
   ``single`` and ``(1 - pair) / p``
3. ``cells``, zero where a cell is suppressed

The test itself shows every brand and the coordinator the totals of all cells in round 2, also of
those it then suppresses; with privacy they are noised, which hides customers, not a brand that is
alone in a cell. Only what is kept after the test is released: a suppressed cell's totals and counts
of objections are blank in every later state, and its ``cells`` are never sent.

The two-brand rule is kept strictly: two brands with more than ``pair`` of a total together are both
above ``pair - single`` (neither is above ``single``), and the larger is above ``pair / 2``. It also
objects to some pairs below. What is left beside any two brands is then ``1 - pair``, which is what
the p % rule asks for beside the largest and its closest rival: at least ``p`` of the largest.

A brand that objected for itself alone (it dominates, or could be estimated) sends nothing of that
cell in the third round, even if it is said to be released: another brand may have sent less than
nothing in the second. Among brands that keep to the rules that never happens.

Without privacy all tests are exact. With it, a limit lies ``margin`` standard deviations of the
noise on that share lower, so that noise suppresses more often than it releases; where the noise is
so large that hardly any share could pass, the cell is suppressed for that reason. One number a
cell, and not one for each total, is what keeps the noise small: a maximum of shares moves by what
one customer adds to one total.

Subtraction: all customers less the released segments are the suppressed ones together, and no rule
was tested on those. So all customers and some of the segments are never released side by side: if a
segment is suppressed, so is every other one, unless all customers are suppressed anyway. If only
these are, the largest segment goes with them. A union of cells that pass passes too: the rules are
subadditive (Cox, "Linear sensitivity measures in statistical disclosure control", J. Statistical
Planning and Inference 5(2), 1981).
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from fl.arrays import Array, Arrays
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
    "too small: under this noise no brand can tell whether it dominates",
)
_BRANDS, _CUSTOMERS, _SINGLE, _PAIR, _CLOSE, _COMPLEMENT, _EMPTY, _UNSURE = range(1, 9)
_ROUNDS = ("totals", "above", "cells")  # what each of them adds up
_SURE = 3.0  # standard deviations: from there on a brand says that it contributes


@dataclass(frozen=True, slots=True)
class Disclosure:
    """What is asked, and when it is answered.

    Attributes:
        cells: rows of the totals; the first is the sum of the others, where there are others.
        values: columns of the totals; the first counts customers.
        widths: entries of ``cells`` for each cell, in order.
        weights: what one customer adds to each of the totals, at most, in order.
        own_weight: what one customer adds to a brand's own, at most.
        spread: standard deviation of the noise on a brand's own.
        margin: by how many standard deviations of a share's noise its limits are lowered, >= 0.
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
    weights: tuple[float, ...] = ()
    own_weight: float = 1.0
    spread: float = 0.0
    margin: float = 1.0
    min_brands: int = 5
    min_customers: float = 50.0
    single: float = 0.5
    pair: float = 0.85
    p_percent: float = 10.0
    share_totals: float = 0.1
    share_own: float = 0.15
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
        if not self.margin >= 0:
            raise ValueError(f"Expected margin={self.margin} >= 0.")
        if self.share_totals <= 0 or self.share_own <= 0 or self.share_totals + self.share_own >= 1:
            raise ValueError(
                f"Expected share_totals={self.share_totals} and share_own={self.share_own} > 0, "
                "and something left for the cells."
            )

    @property
    def rounds(self) -> int:
        """Three."""
        return 3

    @property
    def limits(self) -> Limits:
        """A customer moves each sum by at most 1."""
        return {"totals": 1.0, "cells": 1.0}

    def init(self, params: Arrays) -> Arrays:
        """Nothing is known."""
        cells = np.zeros(self.cells)
        return {
            "stage": np.zeros(()),
            "totals": np.zeros((self.cells, self.values)),
            "above": np.zeros((len(self._limits), self.cells)),
            "reasons": cells,
            "cells": np.zeros(sum(self.widths)),
        }

    def broadcast(self, state: Arrays) -> Arrays:
        """What the round's tests are about."""
        names = (("stage",), ("stage", "totals"), ("stage", "reasons"))
        return {name: state[name] for name in names[self._stage(state)]}

    def local(self, received: Arrays, memory: Arrays) -> Local:
        """The brand's half of the round that ``received`` is about."""
        match self._stage(received):
            case 0:
                asked = Statistic("all", Of.RECORDS, parts=("totals",), share=self.share_totals)
                return Update(dict((yield from _counted(asked))), 0.0), memory
            case 1:
                total = self.own_total(received["totals"])
                asked = Statistic(
                    *("all", Of.LARGEST, {"own": total}, ("own",), self.share_own), alone=True
                )
                answer = yield from _counted(asked)
                share = np.asarray(answer.get("own", np.zeros(self.cells)), np.float64)
                above = self.above(share, total)
                alone = above[3:].max(0)  # objections that suppress a cell whatever others say
                return Update({"above": above}, 0.0), {**memory, "objected": alone}
            case _:
                left = 1.0 - self.share_totals - self.share_own
                asked = Statistic("all", Of.RECORDS, parts=("cells",), share=left)
                sums = yield from _counted(asked)
                objected = memory.get("objected", np.zeros(self.cells))  # none: it is being priced
                shown = (received["reasons"] == 0) & (np.asarray(objected) == 0)
                kept = np.repeat(shown, self.widths)
                return Update({"cells": np.where(kept, sums["cells"], 0.0)}, 0.0), memory

    def zero(self, state: Arrays) -> Arrays:
        """What the round of ``state`` adds up."""
        return {n: np.zeros_like(state[n]) for n in (_ROUNDS[self._stage(state)],)}

    def apply(self, state: Arrays, mean: Arrays) -> Arrays:
        """The sums; after the second round, which cells are suppressed and why, no more.

        Guarantee: from then on ``totals`` and ``above`` are zero where ``reasons`` is not.
        """
        stage = self._stage(state)
        known = {**state, **mean, "stage": np.array(stage + 1.0)}
        if stage != 1:
            return known
        reasons = self._reasons(known)
        totals, above = (np.asarray(known[name], np.float64) for name in ("totals", "above"))
        return {
            **known,
            "reasons": reasons,
            "totals": np.where(reasons[:, None] == 0, totals, 0.0),
            "above": np.where(reasons == 0, above, 0.0),
        }

    def params(self, state: Arrays) -> Arrays:
        """The answer."""
        return state

    def _stage(self, arrays_: Arrays) -> int:
        return min(int(np.asarray(arrays_["stage"])), self.rounds - 1)

    @property
    def _limits(self) -> tuple[float, ...]:
        """Shares above which a brand says so: it contributes, of a pair, of one, of p %."""
        close = (1 - self.pair) / (self.p_percent / 100)
        return (0.0, min(self.pair - self.single, self.pair / 2), self.pair / 2, self.single, close)

    @property
    def _weights(self) -> tuple[float, ...]:
        return self.weights or (1.0,) * self.values

    def own_total(self, totals: Array) -> Floats:
        """Totals in the unit of a brand's own; of one customer at least, where there is noise."""
        weights, least = np.asarray(self._weights), 1.0 if self.spread else 1e-9
        found: Floats = (
            np.maximum(np.asarray(totals, np.float64) / weights, least) * self.own_weight
        )
        return found

    def noise(self, total: Floats) -> Floats:
        """Standard deviation of the noise on a share, float64 ``[cells]``."""
        noise: Floats = self.spread / total.min(1)
        return noise

    def above(self, share: Floats, total: Floats) -> Floats:
        """Which limits a brand's largest shares are above; 0 or 1, float64 ``[limits, cells]``."""
        noise = self.noise(total)
        contributes, *tests = self._limits
        above = [share - _SURE * noise > contributes]
        above += [share + self.margin * noise > limit for limit in tests]
        above[0][0] = True  # of all customers, being enrolled says it, and that is public
        return np.stack(above).astype(np.float64)

    def _reasons(self, state: Arrays) -> Floats:
        """The first rule that a cell fails, as a place in ``REASONS``; float64 ``[cells]``."""
        customers = np.asarray(state["totals"], np.float64)[:, 0] / self._weights[0]
        brands, large, larger, one, close = np.asarray(state["above"], np.float64)
        unsure = (_SURE + self.margin) * self.noise(self.own_total(state["totals"])) > self.single
        reasons = np.select(
            [
                customers < self.min_customers,
                unsure,
                brands < self.min_brands - 0.5,
                *(one > 0.5, (larger > 0.5) & (large > 1.5), close > 0.5),
            ],
            [_CUSTOMERS, _UNSURE, _BRANDS, _SINGLE, _PAIR, _CLOSE],
            0,
        ).astype(np.float64)
        reasons[(brands < 0.5) & (reasons == _CUSTOMERS)] = _EMPTY
        return self._without_remainder(reasons, customers)

    def _without_remainder(self, reasons: Floats, customers: Floats) -> Floats:
        """Also closes the cells from which a closed one could be found by subtraction."""
        closed = (reasons > 0) & (reasons != _EMPTY)
        segments = np.flatnonzero(reasons[1:] == 0) + 1  # that are released
        if closed[0] and not closed[1:].any() and len(segments):
            reasons[segments[np.argmax(customers[segments])]] = _COMPLEMENT
        elif closed[1:].any() and not closed[0]:
            reasons[segments] = _COMPLEMENT
        return reasons


def _counted(asked: Statistic) -> Generator[Ask, Answer, Arrays]:
    counted = yield Query(asked)
    if not isinstance(counted, Counted):
        raise TypeError("Expected a Query to be answered by Counted.")
    return counted.sums
