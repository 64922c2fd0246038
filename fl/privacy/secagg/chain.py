"""A brand's place in the run: the rounds it has followed, and the model that follows from them."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass, replace

import numpy as np

from fl import arrays
from fl.arrays import Arrays
from fl.contracts import Memory, Request
from fl.errors import Code, Refused
from fl.privacy.secagg import fixedpoint, tag, transcript
from fl.privacy.secagg.follow import Follow
from fl.privacy.secagg.identity import HASH, SIGNATURE, canonical
from fl.privacy.secagg.masks import Ring, hash_of
from fl.privacy.secagg.session import ANSWERED, Session
from fl.privacy.secagg.terms import Terms
from fl.privacy.secagg.transcript import Line
from fl.privacy.secagg.wire import Round, view

LINE, SUM = "line/", "sum/"  # prefixes, before the sequence number of a past round
_PLACE = struct.Struct(f">3Q{HASH}s")


@dataclass(frozen=True, slots=True)
class Place:
    """How far a brand has come. Public.

    Attributes:
        sequence: of the last sum it has followed; 0 before the first.
        root: of the transcript after it.
        opened, attempt: the last round and attempt it has taken part in.
    """

    sequence: int
    root: bytes
    opened: int = 0
    attempt: int = 0


def load(memory: Memory, terms: Terms) -> Place:
    """The place in ``memory``, or the beginning of the run.

    Raises:
        ValueError: what is stored is no place of this version.

    Guarantee: the inverse of :func:`save`.
    """
    stored = memory.protocol.get("place")
    if stored is None:
        return Place(0, terms.first_root)
    if len(stored) != _PLACE.size:
        raise ValueError("Expected a stored place of this version.")
    sequence, opened, attempt, root = _PLACE.unpack(stored)
    return Place(sequence, root, opened, attempt)


def save(place: Place, memory: Memory) -> None:
    """Put ``place`` into ``memory``. Guarantee: nothing is sent."""
    memory.protocol["place"] = _PLACE.pack(place.sequence, place.opened, place.attempt, place.root)


def state(memory: Memory, first: Arrays) -> Arrays:
    """The coordinator's state at this brand's place. Guarantee: recomputed, never received."""
    stored = memory.protocol.get("state")
    if stored is None:
        return first
    size = int.from_bytes(stored[:8], "big")
    kept, at = {}, 8 + size
    for name, dtype, shape in json.loads(stored[8:at]):
        flat = np.frombuffer(stored, dtype, math.prod(shape), at)
        kept[name], at = flat.reshape(shape), at + flat.nbytes
    return kept


def _packed(now: Arrays) -> bytes:
    """The arrays' bytes behind a list of names, dtypes and shapes: no copy when they are read."""
    parts = {name: np.ascontiguousarray(now[name]) for name in sorted(now)}
    about = [[name, a.dtype.str, now[name].shape] for name, a in parts.items()]
    head = canonical(about)
    return b"".join(
        (len(head).to_bytes(8, "big"), head, *(a.reshape(-1).data for a in parts.values()))
    )


@dataclass(frozen=True, slots=True, repr=False)
class Guide:
    """What a brand follows a run by; see ``BrandHalf``."""

    terms: Terms
    follow: Follow
    first: Arrays
    federation_key: bytes
    threads: int = 1

    def __repr__(self) -> str:
        return "Guide(<redacted>)"


def catch_up(request: Request, memory: Memory, session: Session, guide: Guide) -> Place:
    """Follow the sums of the past rounds in ``request`` that this brand has not followed yet.

    Raises:
        Refused: ``BAD_RESULT`` or ``MODEL_MISMATCH``; the rounds before stay followed.

    Guarantee: the model moves only by sums of rounds that enough brands signed, one after another.
    That a sum is theirs holds by its tag, unless a brand has given the federation's key away.
    """
    place = load(memory, guide.terms)
    known = {int(key.removeprefix(LINE)) for key in request.config if key.startswith(LINE)}
    for sequence in sorted(known):
        if sequence <= place.sequence:
            continue
        line, total = request.config[f"{LINE}{sequence}"], request.arrays.get(f"{SUM}{sequence}")
        if not isinstance(line, str) or total is None or total.dtype != np.uint32:
            raise Refused(Code.BAD_RESULT)
        ring: Ring = np.ascontiguousarray(total, "<u4")
        place = _follow(place, line, ring, memory, session, guide)
        save(place, memory)
    return place


def _follow(
    place: Place,
    line: str,
    total: Ring,
    memory: Memory,
    session: Session,
    guide: Guide,
) -> Place:
    terms, follow = guide.terms, guide.follow
    try:
        values, about = terms.once(session.sid, line, lambda: _attested(line, terms))
        took_part = _took_part(values, about.sid, session)
        if not took_part:
            transcript.check_line(terms, line)
        if about.previous != place.root or about.sequence <= place.sequence:
            raise ValueError("does not follow")

        def step() -> tuple[Ring, bytes, bytes]:
            after = _step(values, about, total, memory, guide)
            return total, after, transcript.next_root(place.root, line)

        # what a root binds: all sums before it, and so the state that they led to
        known = (place.root, line, guide.federation_key, id(follow))
        checked, after, root = terms.once(session.sid, known, step)
        if checked is not total and not np.array_equal(checked, total):
            raise ValueError("another sum")
    except (ValueError, KeyError) as error:
        raise Refused(Code.BAD_RESULT) from error
    if not took_part:
        model = arrays.digest(follow.broadcast(about.kind, state(memory, guide.first)))
        if bytes.fromhex(model) != about.model:
            raise Refused(Code.MODEL_MISMATCH)
    if after:
        memory.protocol["state"] = after
    return replace(place, sequence=about.sequence, root=root)


def _step(values: Line, about: Round, total: Ring, memory: Memory, guide: Guide) -> bytes:
    """The packed state after a sum that was checked; empty if it stays what it was.

    Raises:
        ValueError: the sum is not the line's, not one of this plan, or not the brands' own.
    """
    terms, follow, kind = guide.terms, guide.follow, about.kind
    if values["outcome"] != "ok" or hash_of(total, guide.threads).hex() != values["sum"]:
        raise ValueError("another sum")
    now = state(memory, guide.first)
    zero = follow.zero(kind, now)
    if total.shape != (fixedpoint.length(zero),):
        raise ValueError("another length")
    brands = len(bytes.fromhex(str(values["survivors"]))) // (2 + HASH + SIGNATURE)
    if not fixedpoint.within(total, brands * terms.most):
        raise ValueError("beyond the plan's bound")
    own = tag.tag(total, guide.federation_key, about.sid, terms.rules.algorithms, guide.threads)
    if own.to_bytes(tag.SIZE, "little").hex() != values["tag"]:
        raise ValueError("not the brands' sum")
    after = follow.advance(kind, now, fixedpoint.decode(total, zero, terms.rules.scale_bits))
    return b"" if after is now else _packed(after)


def _attested(line: str, terms: Terms) -> tuple[Line, Round]:
    """What a line says, and the round it is about. Guarantee: of ``transcript.attested``."""
    values = transcript.attested(terms, line)
    return values, transcript.round_of(terms, values)


def _took_part(values: Line, sid: bytes, session: Session) -> bool:
    """Whether this brand handed out shares for the line's survivors: then it has checked them."""
    if session.stage != ANSWERED or session.sid != sid:
        return False
    return session.h3 == view("survivors", sid, bytes.fromhex(str(values.get("survivors"))))
