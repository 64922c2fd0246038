"""A brand's ledger: what was spent on one data set, written down before it is spent.

Layers: ``signing`` (keys), ``entries`` (one signed line), ``bills`` and ``books`` (what entries add
up to), ``journal`` (durable lines, one writer), and here the rules. A run is reserved as a whole
before its first round, and refused if the budget does not cover it; each round is committed, and on
disk, before data is touched. The decision uses the accountant that is given: it must be sound for
composition chosen in the light of earlier results, which Renyi DP filters are (Feldman and Zrnic
2021; Lecuyer 2021, arXiv 2103.01379) and PLD composition is not known to be.

Not thread-safe: one ledger, one process, one thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from fl.contracts import NO_LEDGER, Mark
from fl.errors import Code, InputError, Refused
from fl.events import Composed, PrivacyEvent, to_json
from fl.privacy.bills import Accountant, bill, events
from fl.privacy.books import Books, Opening, limit
from fl.privacy.budget import covers, forecast
from fl.privacy.entries import START, Json, Kind, canonical, digest, write
from fl.privacy.journal import Journal
from fl.privacy.reading import Reading, not_set_back, reaches, replay
from fl.privacy.signing import SigningKey


class Ledger:
    """The writer of one ledger; made by :meth:`create` or :meth:`open`, closed by ``with``.

    Guarantee: at the unit and relation of its opening, the runs of one budget period together cost
    at most that period's epsilon at the opening's delta, according to the accountant; whatever
    process crashes when, and whatever a coordinator asks.
    """

    def __init__(
        self,
        journal: Journal,
        key: SigningKey,
        books: Books,
        accountant: Accountant,
        heads: Iterable[str],
    ) -> None:
        self._journal, self._key, self._books = journal, key, books
        self._accountant, self._heads = accountant, list(heads)

    @classmethod
    def create(
        cls, path: Path, key: SigningKey, opening: Opening, *, accountant: Accountant
    ) -> Self:
        """Begin a ledger in a new file.

        Guarantee: nothing is spent; an existing ledger is never replaced.

        Raises:
            InputError: there is a ledger of this name, or the folder cannot be written.
        """
        body = opening.body(key.public)
        entry, line = write(key, seq=0, prev=START, time=_now(), kind=Kind.OPEN, body=body)
        journal = Journal(path)
        try:
            journal.create(line)
            journal.publish(0, entry.hash)
        except BaseException:
            journal.close()
            raise
        return cls(journal, key, Books.begin(entry), accountant, [entry.hash])

    @classmethod
    def open(
        cls,
        path: Path,
        key: SigningKey,
        *,
        accountant: Accountant,
        published: Iterable[str] = (),
        signed: Mark = NO_LEDGER,
    ) -> Self:
        """Continue a ledger, after checking all of it.

        Guarantee: it holds every entry up to its own last noted head, up to ``signed`` (how far its
        brand has told others that it is) and up to each of ``published`` (heads that the
        coordinator or peers hold, for who has lost the noted one). An unfinished last line, which
        was never acted on, is removed, and a signed checkpoint says so.

        Raises:
            InputError: another writer, a broken chain, another key, or a ledger that was set back.
        """
        journal = Journal(path)
        try:
            journal.start()
            reading, torn = _whole_lines(journal, key)
            not_set_back(journal, reading, tuple(published), signed)
            heads = (entry.hash for entry in reading.entries)
            ledger = cls(journal, key, reading.books, accountant, heads)
            if torn:
                journal.cut(reading.size)
                body = {"reason": "unfinished line removed", "sha256": digest(torn)}
                ledger._append(Kind.CHECKPOINT, body)
            journal.publish(ledger._books.entries - 1, ledger.head)
        except BaseException:
            journal.close()
            raise
        return ledger

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the next writer in. Guarantee: nothing is lost, entries are on disk already."""
        self._journal.close()

    @property
    def head(self) -> str:
        """SHA-256 of the last line. Guarantee: stands for the whole ledger; publish it."""
        return self._books.head

    @property
    def mark(self) -> Mark:
        """How far it has come. Guarantee: never falls, and stands for all entries so far."""
        return Mark(self._books.entries, bytes.fromhex(self._books.head))

    def reaches(self, mark: Mark) -> bool:
        """Whether it was at ``mark`` once, or is now. Guarantee: of ``Reading.reaches``."""
        return reaches(self._heads, mark)

    @property
    def opening(self) -> Opening:
        """What the ledger is about. Guarantee: signed in its first entry."""
        return self._books.opening

    def open_runs(self) -> tuple[str, ...]:
        """Runs that are not settled. Guarantee: their reservations count as spent."""
        return tuple(name for name, run in self._books.runs.items() if not run.settled)

    def spent(self) -> tuple[PrivacyEvent, ...]:
        """What counts against the present budget. Guarantee: see ``books.Books.spent``."""
        return events(self._books.spent())

    def lifetime(self) -> tuple[PrivacyEvent, ...]:
        """What counts over all budgets. Guarantee: see ``books.Books.lifetime``."""
        return events(self._books.lifetime())

    def forecast(self, run: str, event: PrivacyEvent) -> float:
        """Epsilon of the data set's whole life once ``run`` has reserved ``event``.

        Guarantee: over every budget, at the opening's delta; a known run is not counted twice.
        """
        return forecast(self._books, run, event, self._accountant)

    def reserve(self, run: str, event: PrivacyEvent) -> None:
        """Book a whole run before its first round; again for the same open run does nothing.

        Guarantee: with it the budget still holds, whatever is committed of all open runs.

        Raises:
            Refused: BUDGET, or LEDGER_RUN when the id stands for another or a settled run.
        """
        cost = bill(event)
        if known := self._books.runs.get(run):
            if known.settled or known.reserved != cost:
                self._turn_down(Code.LEDGER_RUN, run, event)
            return
        if not covers(self._books, event, self._accountant):
            self._turn_down(Code.BUDGET, run, event)
        self._append(Kind.RESERVE, {"run": run, "event": to_json(event)})

    def commit(self, run: str, occasion: str, event: PrivacyEvent) -> None:
        """Book one round; data may be touched when this has returned, once for each ``occasion``.

        Guarantee: on disk before it returns. A round of which it is not known whether it was
        booked (a crash) is refused the second time; its run goes on under another occasion.

        Raises:
            Refused: LEDGER_RUN, LEDGER_REPLAY or LEDGER_UNRESERVED.
        """
        known = self._books.runs.get(run)
        if known is None or known.settled:
            self._turn_down(Code.LEDGER_RUN, run, event)
        elif occasion in known.occasions:
            self._turn_down(Code.LEDGER_REPLAY, run, event)
        elif not known.covers(bill(event)):
            self._turn_down(Code.LEDGER_UNRESERVED, run, event)
        self._append(Kind.COMMIT, {"run": run, "occasion": occasion, "event": to_json(event)})

    def settle(self, run: str) -> None:
        """Close a run; its reservation falls to what was committed.

        Guarantee: gives back only rounds that never touched data; nothing can be committed after.

        Raises:
            Refused: LEDGER_RUN when the run is not open.
        """
        known = self._books.runs.get(run)
        if known is None or known.settled:
            self._turn_down(Code.LEDGER_RUN, run, Composed())
        self._append(Kind.SETTLE, {"run": run})

    def refuse(self, code: Code, evidence: str, run: str = "") -> None:
        """Record that a request was turned down.

        Guarantee: holds the code and a hash, nothing of the request or the data.

        Args:
            evidence: SHA-256 of what was refused, 64 hex digits.
        """
        self._append(Kind.REFUSE, {"run": run, "code": code, "evidence": evidence})

    def renew(self, epsilon: float, reason: str) -> None:
        """Begin a new budget for the same data set.

        Guarantee: none beyond the sum of both budgets; :meth:`lifetime` still counts everything.

        Raises:
            InputError: a run is open, the reason is empty, or epsilon is not above 0.
        """
        if self._books.has_open_run():
            raise InputError("renew", "a run is still open", "settle it first")
        if not epsilon > 0 or not reason.strip():
            raise InputError("renew", "needs epsilon > 0 and a reason", "give both")
        self._append(Kind.RENEW, {"epsilon": limit(epsilon), "reason": reason})

    def checkpoint(self, where: str) -> str:
        """Record that the head was published at ``where``, and return that head.

        Guarantee: whoever kept the head can tell every change to the entries up to it.
        """
        head = self.head
        self._append(Kind.CHECKPOINT, {"reason": "published", "head": head, "where": where})
        return head

    def run(self, run: str) -> RunLedger:
        """The ledger as the doors of one run see it. Guarantee: can only commit to that run."""
        return RunLedger(self, run)

    def _turn_down(self, code: Code, run: str, event: PrivacyEvent) -> None:
        self.refuse(code, digest(canonical(to_json(event))), run)
        raise Refused(code)

    def _append(self, kind: Kind, body: Mapping[str, Json]) -> None:
        seq, prev = self._books.entries, self._books.head
        entry, line = write(self._key, seq=seq, prev=prev, time=_now(), kind=kind, body=body)
        try:
            self._journal.append(line)
            self._books.book(entry)
            self._heads.append(entry.hash)
            self._journal.publish(seq, entry.hash)
        except BaseException:  # what is on disk is known only to a fresh reading
            self._journal.close()
            raise


@dataclass(frozen=True, slots=True)
class RunLedger:
    """One run's side of a ledger, for a brand's doors.

    Guarantee: what is committed here is on disk before data is touched.
    """

    ledger: Ledger
    name: str

    def commit(self, event: PrivacyEvent, occasion: str) -> None:
        """Book one round. Guarantee: see :meth:`Ledger.commit`."""
        self.ledger.commit(self.name, occasion, event)


def _whole_lines(journal: Journal, key: SigningKey) -> tuple[Reading, bytes]:
    """What the finished lines say, and the unfinished rest."""
    content = journal.read()
    size = content.rfind(b"\n") + 1
    reading = replay(content[:size], str(journal.path), public_key=None)
    if reading.books.public_key != key.public:
        raise InputError(
            f"ledger {journal.path}", "is signed with another key", "use the key that opened it"
        )
    return reading, content[size:]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
