"""How far the others' ledgers had come: a brand whose number of entries falls is refused.

A ledger that was set back, or deleted, would give its brand a budget again that is spent. Its brand
signs the number of its entries and its head into every advert (``wire.Advert``), so the others know
better: the coordinator leaves such a brand out (``attempt.py``), and brands refuse a round in which
it is not left out. And it tells every brand, when it opens a round, how far it has seen its ledger;
a node that was set back as a whole learns so that it was, before its number has grown again.

What is known from before a run was signed before this brand approved the run, and every advert of
the run is made after that. Within the run, adverts come in the order of its rounds. So a ledger
that only grows is never refused, however many runs go on beside each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fl.contracts import NO_LEDGER, Mark, Memory
from fl.errors import Code, Refused
from fl.privacy.secagg.session import Session
from fl.privacy.secagg.terms import Terms
from fl.privacy.secagg.wire import (
    MARK,
    Advert,
    mark_in,
    pack,
    packed,
    unpack,
    unpack_members,
    unpacked,
)

Marks = Mapping[bytes, Mark]
"""By the brands' identity keys: who enrols again with a new key begins anew, and is seen to."""

_SEEN = "marks"  # in a memory: of this run, by brand number


def unnoted(found: Marks) -> None:
    """Keep nothing for later runs. Guarantee: none needed."""


@dataclass(frozen=True, slots=True)
class Peers:
    """The other brands' ledgers, as one brand knows them. Public.

    Attributes:
        known: from before it approved the run.
        note: given what a round shows, before the reply leaves, for later runs.
    """

    known: Marks = field(default_factory=dict)
    note: Callable[[Marks], None] = unnoted


def told(marks: Marks, key: bytes) -> bytes:
    """What the coordinator tells a brand of its own ledger (``wire.packed``). Guarantee: public."""
    return packed(marks.get(key, NO_LEDGER))


def take(marks: dict[bytes, Mark], key: bytes, now: Mark) -> None:
    """Step 1 at the coordinator: take up how far a ledger is.

    Raises:
        Refused: ``LEDGER_SET_BACK``: it has been further, or was another one.

    Guarantee: of ``Mark.extends``.
    """
    if not now.extends(marks.get(key, NO_LEDGER)):
        raise Refused(Code.LEDGER_SET_BACK)
    marks[key] = now


def check(session: Session, raw: bytes, memory: Memory, peers: Peers, terms: Terms) -> None:
    """Step 2: no neighbour's ledger is shorter than it was, or another one of the same length.

    Args:
        session: after ``keys.accept``, which verified the neighbours' signatures.
        raw: the adverts.

    Raises:
        Refused: ``PEER_SET_BACK``; what the others' adverts say is remembered all the same.

    Guarantee: every mark of a neighbour that this brand has seen in this run, or has known before
    it, is in that neighbour's ledger still, or the ledger has grown past it.
    """
    shown = terms.once(session.sid, ("marks", session.h1), lambda: _shown(raw, terms))
    seen = unpack(memory.protocol.get(_SEEN, b""), MARK)
    if not (shown or seen or peers.known):
        return  # nobody keeps a ledger
    fallen, found = False, {}
    for j in unpack_members(session.neighbours):
        now, key = shown.get(j, NO_LEDGER), terms.roster.key(j)
        before = [peers.known.get(key, NO_LEDGER)]
        if j in seen:
            before.append(unpacked(seen[j]))
        if not all(now.extends(b) for b in before):
            fallen = True
        elif now.entries:
            seen[j], found[key] = packed(now), now
    memory.protocol[_SEEN] = pack(seen)
    peers.note(found)
    if fallen:
        raise Refused(Code.PEER_SET_BACK)


def _shown(raw: bytes, terms: Terms) -> dict[int, Mark]:
    records = unpack(raw, Advert.size(terms.rules.algorithms.hybrid))
    marks = {j: mark_in(record) for j, record in records.items()}
    return {j: mark for j, mark in marks.items() if mark != NO_LEDGER}
