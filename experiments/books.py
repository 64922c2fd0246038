"""A ledger for every simulated brand of one training: real files, real keys, no limit.

A benchmark plays many worlds: every seed and every arm is a data set that is used once, so each has
ledgers of its own, in ``DIR/ledgers/SEED/ARM``. Nothing is refused here, only booked: budgets are
for brands and their policies. Where the unit of privacy is a brand, the coordinator keeps the book.

A ledger has one writer at a time. Where brands are in other processes, nobody keeps it open: it is
opened for each entry (``at_rest.py``).
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path

from experiments.at_rest import AtRest, Kept
from fl.contracts import Ledger as RunsLedger
from fl.contracts import Mark, Unit, Witness
from fl.errors import Code
from fl.events import Composed, PrivacyEvent
from fl.privacy import Plan
from fl.privacy.books import Neighbours, Opening
from fl.privacy.filter import filter_epsilon
from fl.privacy.ledger import Ledger
from fl.privacy.signing import SigningKey

COORDINATOR = "coordinator"


@dataclass(frozen=True, slots=True)
class Books:
    """Ledgers by their keeper: brands, or the coordinator.

    Attributes:
        attempt: tells a part that is done again from the one that was interrupted, which is settled
            and takes no more commits.
    """

    ledgers: Mapping[str, Kept]
    attempt: str = field(default_factory=lambda: secrets.token_hex(4))

    def reserve(self, part: str, event: PrivacyEvent) -> Mapping[str, RunsLedger]:
        """Book a part of the training at every keeper before it starts."""
        for ledger in self.ledgers.values():
            ledger.reserve(self._run(part), event)
        return {keeper: ledger.run(self._run(part)) for keeper, ledger in self.ledgers.items()}

    def settle(self, part: str) -> None:
        """Close that part."""
        for ledger in self.ledgers.values():
            ledger.settle(self._run(part))

    def _run(self, part: str) -> str:
        return f"{part}.{self.attempt}"

    def witnesses(self) -> dict[str, Witness]:
        """The brands' ledgers as the secure sum uses them."""
        return {k: Witness(partial(_mark, x), partial(_refuse, x)) for k, x in self.ledgers.items()}

    def spent(self) -> dict[str, PrivacyEvent]:
        """What each keeper has booked, over all attempts."""
        return {k: Composed(ledger.lifetime()) for k, ledger in self.ledgers.items()}


@contextmanager
def opened(
    folder: Path,
    keys: Path,
    brands: Sequence[str],
    plan: Plan,
    lent: Callable[[AtRest], Kept] | None = None,
) -> Iterator[Books]:
    """The ledgers of one training, made or continued; none for a plan without a guarantee.

    A training that is taken up again settles what its interrupted part had open: rounds that were
    committed stay spent.

    Args:
        folder: where the ledgers of this training lie.
        keys: where the keepers' keys lie while the run lasts.
        lent: where brands are in other processes: how they reach a ledger, which is then left at
            rest.
    """
    keepers = {Unit.NONE: (), Unit.CUSTOMER: tuple(brands), Unit.BRAND: (COORDINATOR,)}[plan.unit]
    with ExitStack() as stack:
        kept: dict[str, Kept] = {}
        for keeper in keepers:
            at_rest = _at_rest(folder, keys, keeper)
            ledger = stack.enter_context(_ledger(at_rest, keeper, plan))
            if lent is None:
                kept[keeper] = ledger
            else:
                ledger.close()
                kept[keeper] = lent(at_rest)
        yield Books(kept)


def _at_rest(folder: Path, keys: Path, keeper: str) -> AtRest:
    name = file_name(keeper)
    key = keys / folder.parent.name / folder.name / f"{name}.pem"  # seeds run side by side
    return AtRest((folder / f"{name}.jsonl").absolute(), key.absolute())


def _ledger(at_rest: AtRest, keeper: str, plan: Plan) -> Ledger:
    path, key_path, folder = at_rest.path, at_rest.key, at_rest.path.parent
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        key_path.parent.mkdir(parents=True, exist_ok=True)
        key_path.unlink(missing_ok=True)  # of a ledger that was never begun
        key = SigningKey.generate()
        key.save(key_path)
        opening = Opening(
            brand=keeper,
            dataset=f"simulated: {folder.parent.name}/{folder.name}/{keeper}",
            unit=plan.unit,
            relation=Neighbours.ADD_REMOVE,
            epsilon=float("inf"),
            delta=_delta(plan),
            software=f"crossbrand-fl {metadata.version('crossbrand-fl')}",
        )
        return Ledger.create(path, key, opening, accountant=filter_epsilon)
    ledger = Ledger.open(path, SigningKey.load(key_path), accountant=filter_epsilon)
    for run in ledger.open_runs():
        ledger.settle(run)
    return ledger


def _mark(ledger: Kept) -> Mark:
    return ledger.mark


def _refuse(ledger: Kept, evidence: bytes, code: Code) -> None:
    ledger.refuse(code, hashlib.sha256(evidence).hexdigest())


def file_name(keeper: str) -> str:
    """A name for people and a digest for the machine: brand ids may hold any character.

    >>> file_name("shop 4")[:7]
    'shop.4.'
    """
    shown = re.sub(r"[^A-Za-z0-9_-]+", ".", keeper)[:40]
    return f"{shown}.{hashlib.sha256(keeper.encode()).hexdigest()[:8]}"


def _delta(plan: Plan) -> float:
    return float(getattr(plan, "delta", 1e-5))
