"""Small ledgers for tests, with an honest accountant: dp_accounting's Renyi DP."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import dp_accounting as dp
from dp_accounting.rdp import RdpAccountant

from fl.contracts import Unit
from fl.events import Composed, Gaussian, PrivacyEvent, Repeated, Sampled, Unbounded
from fl.privacy.books import Neighbours, Opening
from fl.privacy.ledger import Ledger
from fl.privacy.signing import SigningKey

ROUND = Gaussian(4.0)  # one round
DELTA = 1e-6


def rdp(events: Sequence[PrivacyEvent], delta: float) -> float:
    """Epsilon of all events together."""
    accountant = RdpAccountant(orders=[1.5, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32, 64])
    for event in events:
        if (translated := _dp_event(event)) is None:
            return math.inf
        accountant.compose(translated)
    return float(accountant.get_epsilon(delta))


def _dp_event(event: PrivacyEvent) -> dp.DpEvent | None:
    match event:
        case Gaussian(noise_multiplier):
            return dp.GaussianDpEvent(noise_multiplier)
        case Sampled(rate, inner):
            return dp.PoissonSampledDpEvent(rate, _dp_event(inner))
        case Repeated(inner, times):
            inside = _dp_event(inner)
            return inside and dp.SelfComposedDpEvent(inside, times)
        case Composed(parts):
            inside = [_dp_event(part) for part in parts]
            return None if None in inside else dp.ComposedDpEvent(inside)
        case Unbounded():
            return None


BUDGET = rdp((Repeated(ROUND, 20),), DELTA)  # twenty rounds, and no more than that


def opening(epsilon: float = BUDGET) -> Opening:
    """What the ledgers of these tests are about."""
    return Opening(
        "north", "d" * 64, Unit.CUSTOMER, Neighbours.ADD_REMOVE, epsilon, DELTA, "crossbrand-fl 0.1"
    )


def new(folder: Path, key: SigningKey, epsilon: float = BUDGET) -> Ledger:
    """A fresh ledger in ``folder``."""
    return Ledger.create(folder / "ledger.jsonl", key, opening(epsilon), accountant=rdp)


def reopened(folder: Path, key: SigningKey, published: Sequence[str] = ()) -> Ledger:
    """The ledger in ``folder``, continued."""
    return Ledger.open(folder / "ledger.jsonl", key, accountant=rdp, published=published)
