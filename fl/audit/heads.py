"""How far ledgers were, as brands signed in each round, held against the ledgers.

A head stands for everything a ledger said at that moment. One that the ledger no longer has, or not
at the place that was signed with it, means that the ledger was set back or written anew after the
round.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fl.audit.folder import Check
from fl.contracts import NO_LEDGER, Mark
from fl.errors import InputError
from fl.privacy.entries import Kind
from fl.privacy.reading import Reading, verify
from fl.privacy.secagg.identity import HASH, SIGNATURE
from fl.privacy.secagg.terms import Terms
from fl.privacy.secagg.wire import Advert, mark_in, unpack


@dataclass(slots=True)
class Heads:
    """For each brand and each sum it advertised for: how far its ledger was, and whether it is in.

    ``booked`` is whether the signed plan promises customers something, so that brands keep ledgers.
    """

    seen: dict[str, list[tuple[Mark, bool]]] = field(default_factory=dict)
    booked: bool = False

    def add(self, terms: Terms, lines: Sequence[Mapping[str, object]], booked: bool) -> None:
        """Take those of verified lines, in order; rounds without a sum prove nothing."""
        self.booked |= booked
        hybrid, names = terms.rules.algorithms.hybrid, terms.roster.names
        for values in (v for v in lines if v["outcome"] == "ok"):
            survivors = unpack(bytes.fromhex(str(values["survivors"])), HASH + SIGNATURE)
            adverts = unpack(bytes.fromhex(str(values["adverts"])), Advert.size(hybrid))
            for i, record in adverts.items():
                self.seen.setdefault(names[i], []).append((mark_in(record), i in survivors))


def check_heads(heads: Heads, ledgers: Iterable[Path], *, complete: bool) -> Iterator[Check]:
    """Whether each brand's ledger has its heads in their order, and booked every sum it is in.

    Args:
        ledgers: of the run's brands.
        complete: whether a brand whose ledger is not among them has lost it.
    """
    readings: dict[str, Reading] = {}
    for path in sorted(ledgers):
        try:
            reading = verify(path, every_signature=True)
        except InputError as error:
            yield Check(False, "heads", str(error))
            continue
        readings[reading.books.opening.brand] = reading
    signed = any(mark != NO_LEDGER for seen in heads.seen.values() for mark, _ in seen)
    if not (readings or signed or heads.booked):
        yield Check(None, "heads", "no brand keeps a ledger here: nothing is promised")
        return
    for brand, seen in sorted(heads.seen.items()):
        if not complete and brand not in readings:
            yield Check(None, "heads", f"{brand}: its ledger was not given")
            continue
        problem = _wrong(seen, readings.get(brand))
        detail = (
            f"{len(seen)} heads are in its ledger, each at its place; each sum was booked before"
        )
        yield Check(not problem, "heads", f"{brand}: {problem or detail}")


def _wrong(seen: Sequence[tuple[Mark, bool]], reading: Reading | None) -> str:
    """What is wrong with a brand's heads, or empty."""
    if reading is None:
        return "no ledger of it is there and in order"
    place = {entry.hash: entry.seq for entry in reading.entries}
    commits = [entry.seq for entry in reading.entries if entry.kind is Kind.COMMIT]
    last = sums = 0
    for number, (mark, is_in) in enumerate(seen, 1):
        head = mark.head.hex()
        where = f"the head of its sum {number}, {head[:16]}..., "
        at = place.get(head)
        if mark == NO_LEDGER:
            return f"it signed no head for its sum {number}, although it keeps a ledger"
        if at is None:
            return where + "is not in its ledger: set back, or written anew"
        if at + 1 != mark.entries:
            return where + f"is of entry {at + 1}, not {mark.entries} as was signed"
        if at < last:
            return where + "is before that of the sum before"
        if sum(seq <= at for seq in commits) < sums:
            return where + f"has not booked the {sums} sums before"
        last, sums = at, sums + is_in
    return "" if len(commits) >= sums else f"it booked {len(commits)} times for {sums} sums"
