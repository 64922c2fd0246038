"""A ledger that nobody keeps open: it is opened, and locked, for each entry.

So its brand may be in another process for every message, as in ``runtime=ray``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fl.contracts import Ledger as RunsLedger
from fl.contracts import Mark
from fl.errors import Code
from fl.events import PrivacyEvent
from fl.privacy.filter import filter_epsilon
from fl.privacy.ledger import Ledger
from fl.privacy.signing import SigningKey


class Kept(Protocol):
    """A ledger, open or at rest; see ``fl/privacy/ledger.py``."""

    @property
    def mark(self) -> Mark: ...

    def reserve(self, run: str, event: PrivacyEvent) -> None: ...

    def commit(self, run: str, occasion: str, event: PrivacyEvent) -> None: ...

    def settle(self, run: str) -> None: ...

    def refuse(self, code: Code, evidence: str, run: str = "") -> None: ...

    def lifetime(self) -> tuple[PrivacyEvent, ...]: ...

    def run(self, run: str) -> RunsLedger: ...


@dataclass(frozen=True, slots=True)
class Booking:
    """One run's side of a ledger at rest."""

    ledger: Kept
    name: str

    def commit(self, event: PrivacyEvent, occasion: str) -> None:
        """Book one round; on disk before this returns."""
        self.ledger.commit(self.name, occasion, event)


@dataclass(frozen=True, slots=True)
class AtRest:
    """A ledger that is open, and locked, only while it is read or written. It can be pickled."""

    path: Path
    key: Path

    @property
    def mark(self) -> Mark:
        """How far it has come."""
        with self._open() as ledger:
            return ledger.mark

    def reserve(self, run: str, event: PrivacyEvent) -> None:
        """Book a run before it starts."""
        with self._open() as ledger:
            ledger.reserve(run, event)

    def commit(self, run: str, occasion: str, event: PrivacyEvent) -> None:
        """Book one round."""
        with self._open() as ledger:
            ledger.commit(run, occasion, event)

    def settle(self, run: str) -> None:
        """Close a run."""
        with self._open() as ledger:
            ledger.settle(run)

    def refuse(self, code: Code, evidence: str, run: str = "") -> None:
        """Record that a request was turned down."""
        with self._open() as ledger:
            ledger.refuse(code, evidence, run)

    def lifetime(self) -> tuple[PrivacyEvent, ...]:
        """All that was booked."""
        with self._open() as ledger:
            return ledger.lifetime()

    def run(self, run: str) -> Booking:
        """As a brand's doors see it."""
        return Booking(self, run)

    def _open(self) -> Ledger:
        return Ledger.open(self.path, SigningKey.load(self.key), accountant=filter_epsilon)
