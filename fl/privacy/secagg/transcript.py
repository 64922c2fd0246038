"""What a round leaves for others to check: one JSON line, signed, chained to the line before.

A line holds public keys, hashes and signatures; names, never secrets. The first line of a run
states its roster and plan. A line whose outcome is not ``ok`` records a round without a sum and
leaves the root as it was. Blobs are lists of records as in ``wire.py``, in hex.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fl.arrays import Arrays, digest
from fl.contracts import NO_LEDGER, Mark
from fl.privacy.secagg import fixedpoint
from fl.privacy.secagg.follow import Follow
from fl.privacy.secagg.identity import (
    HASH,
    SIGNATURE,
    Identity,
    Roster,
    SignedPlan,
    bind,
    canonical,
)
from fl.privacy.secagg.identity import signed as signed_by
from fl.privacy.secagg.masks import Ring, hash_of
from fl.privacy.secagg.terms import Terms
from fl.privacy.secagg.wire import (
    Advert,
    Round,
    advert_message,
    mark_in,
    pack_members,
    unpack,
    unpack_members,
    view,
)

Line = Mapping[str, object]


def consent_message(sid: bytes, h3: bytes) -> bytes:
    """What a brand signs to agree to a list of survivors. Guarantee: binds list and round."""
    return bind("consent", sid, h3)


def masked_message(sid: bytes, h2: bytes, y: bytes) -> bytes:
    """What a brand signs with its masked vector. Guarantee: binds vector, members and round."""
    return bind("masked", sid, h2, y)


def header(terms: Terms) -> str:
    """The first line of a run. Guarantee: public."""
    approvals = {name: s.hex() for name, s in terms.plan.signatures.items()}
    values = {
        "roster": terms.roster.to_json(),
        "plan": dict(terms.plan.content),
        "approvals": approvals,
    }
    return canonical(values).decode()


def line_message(values: Line) -> bytes:
    """What the coordinator signs of a line. Guarantee: binds all values."""
    return bind("line", canonical(values))


def seal(values: Line, identity: Identity) -> str:
    """A line with the coordinator's signature. Guarantee: the coordinator cannot deny it."""
    return sealed(values, identity.sign(line_message(values)))


def sealed(values: Line, signature: bytes) -> str:
    """A line with a signature. Guarantee: none, it may be wrong."""
    return canonical({**values, "signature": signature.hex()}).decode()


def next_root(previous: bytes, line: str) -> bytes:
    """The root after a line. Guarantee: binds all lines so far."""
    return bind("root", previous, line.encode())


def parse(line: str) -> dict[str, object]:
    """The values of a line.

    Raises:
        ValueError: not canonical JSON of an object.

    Guarantee: equal lines only give equal values.
    """
    values = json.loads(line)
    if not isinstance(values, dict) or canonical(values) != line.encode():
        raise ValueError("Expected canonical JSON of an object.")
    return values


def attested(terms: Terms, line: str) -> dict[str, object]:
    """The values of a line, after the coordinator's signature was verified.

    Raises:
        ValueError: the line is malformed, or the signature is wrong.

    Guarantee: the coordinator vouches for them.
    """
    values = parse(line)
    body = {k: v for k, v in values.items() if k != "signature"}
    message, signature = line_message(body), _bytes(values, "signature")
    sid = round_of(terms, values).sid
    if not terms.signed_by(terms.coordinator, sid, message, signature):
        raise ValueError("the coordinator's signature is wrong")
    return values


def check_line(terms: Terms, line: str) -> dict[str, object]:
    """The values of a line, after every signature in it was verified.

    Raises:
        ValueError: a signature, a count or a list is wrong; says which.

    Guarantee: if it has a sum, enough brands of the roster signed their part of exactly this round
    and agreed on who is in the sum. That the sum is theirs is vouched for by the coordinator alone.
    """
    values = attested(terms, line)
    if values.get("outcome") == "ok":
        _check_members(terms, values)
    return values


def _check_members(terms: Terms, values: Line) -> None:
    sid, roster = round_of(terms, values).sid, terms.roster
    raw, hybrid = _bytes(values, "adverts"), terms.rules.algorithms.hybrid
    adverts = unpack(raw, Advert.size(hybrid))
    members = unpack_members(_bytes(values, "members"))
    survivors = unpack(_bytes(values, "survivors"), HASH + SIGNATURE)
    consents = unpack(_bytes(values, "consents"), SIGNATURE)
    if not set(consents) <= set(survivors) <= set(members) <= set(adverts):
        raise ValueError("a brand takes a step without the one before")
    if max(adverts, default=0) >= len(roster.names) or len(survivors) < terms.rules.min_brands:
        raise ValueError("brands are too few, or not on the roster")
    for i, record in adverts.items():
        message = advert_message(sid, i, record[:-SIGNATURE])
        if not signed_by(roster.key(i), message, record[-SIGNATURE:]):
            raise ValueError(f"the advert of {roster.names[i]} is not signed")
    h1 = view("adverts", sid, raw)
    h2 = view("members", sid, h1, pack_members(members))
    for i, record in survivors.items():
        message = masked_message(sid, h2, record[:HASH])
        if not signed_by(roster.key(i), message, record[HASH:]):
            raise ValueError(f"the masked vector of {roster.names[i]} is not signed")
    agreed = consent_message(sid, view("survivors", sid, _bytes(values, "survivors")))
    for i, signature in consents.items():
        if not signed_by(roster.key(i), agreed, signature):
            raise ValueError(f"the consent of {roster.names[i]} is not signed")
    near = terms.neighbours(list(adverts), h1, list(consents))
    needed = [terms.threshold(len(adverts), len(js)) for js in near.values()]
    given = [1 + len(set(js) & set(consents)) for js in near.values()]
    if not consents or any(g < n for g, n in zip(given, needed, strict=True)):
        raise ValueError("consents are too few")


def round_of(terms: Terms, values: Line) -> Round:
    """What the round of a line was about.

    Raises:
        ValueError: something is missing.

    Guarantee: gives the context that brands signed.
    """
    numbers = [values.get(k) for k in ("sequence", "attempt", "number")]
    if any(type(n) is not int or n < 0 for n in numbers):
        raise ValueError("sequence, attempt and number are not whole numbers")
    sequence, attempt, number = (int(str(n)) for n in numbers)
    return Round(
        terms.roster.hash,
        terms.plan.hash,
        terms.run,
        sequence,
        attempt,
        str(values.get("kind")),
        number,
        _bytes(values, "model"),
        _bytes(values, "layout"),
        _bytes(values, "previous"),
    )


def _bytes(values: Line, key: str) -> bytes:
    value = values.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{key} is missing")
    return bytes.fromhex(value)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What checking a transcript found.

    Attributes:
        rounds: lines with a sum that passed.
        failed: lines without a sum.
        root: hex, after the last line that passed; equals that of every brand that followed.
        problem: what is wrong and in which line, or empty.
        terms: roster and plan of the header, if it was in order.
    """

    rounds: int
    failed: int
    root: str
    problem: str = ""
    terms: Terms | None = None


def verify_transcript(
    lines: Iterable[str],
    roster: Roster,
    *,
    follow: Follow | None = None,
    first: Arrays | None = None,
    sums: Mapping[str, Ring] | None = None,
) -> Verdict:
    """Recompute one run's transcript: approvals, signatures, survivors, ledgers that only grow, the
    chain of roots.

    Args:
        lines: the header and one line a round, as recorded.
        roster: the auditor's own copy; the transcript's must be the same.
        follow, first, sums: the run's course, its first state, and the published sums by hex hash;
            with all three, the chain of models is recomputed too.

    Guarantee: no problem means that all of it holds for every line. Lines without a sum are
    vouched for by the coordinator alone, and could have been left out.
    """
    rounds = failed = read = sequence = 0
    root, state = b"", first
    marks: dict[int, Mark] = {}
    terms: Terms | None = None
    try:
        for line in lines:
            read += 1
            if terms is None:
                terms = _terms(line, roster, first)
                root = terms.first_root
                continue
            values = check_line(terms, line)
            about = round_of(terms, values)
            if about.previous != root or about.sequence < sequence + (values["outcome"] == "ok"):
                raise ValueError("it does not follow from the line before")
            if values["outcome"] != "ok":
                failed += 1
                continue
            _only_grow(terms, values, marks)
            if follow is not None and state is not None and sums is not None:
                state = _advance(terms, values, follow, state, sums)
            root, sequence, rounds = next_root(root, line), about.sequence, rounds + 1
    except (ValueError, KeyError) as error:
        return Verdict(rounds, failed, root.hex(), f"line {read}: {error}", terms)
    return Verdict(rounds, failed, root.hex(), "" if terms else "it is empty", terms)


def _only_grow(terms: Terms, values: Line, marks: dict[int, Mark]) -> None:
    """Take up how far the brands' ledgers are in a line, after those of the lines before."""
    size = Advert.size(terms.rules.algorithms.hybrid)
    for i, record in unpack(_bytes(values, "adverts"), size).items():
        now, before = mark_in(record), marks.get(i, NO_LEDGER)
        if not now.extends(before):
            name = terms.roster.names[i]
            numbers = f"{now.entries} entries after {before.entries}"
            raise ValueError(f"the ledger of {name} was set back: {numbers}")
        marks[i] = now


def _terms(line: str, roster: Roster, first: Arrays | None) -> Terms:
    values = parse(line)
    stated, content, approvals = (values.get(k) for k in ("roster", "plan", "approvals"))
    if not (isinstance(stated, dict) and isinstance(content, dict) and isinstance(approvals, dict)):
        raise ValueError("roster, plan or approvals are missing")
    if Roster.from_json(stated).hash != roster.hash:
        raise ValueError("it has another roster")
    plan = SignedPlan(content, {str(n): bytes.fromhex(str(s)) for n, s in approvals.items()})
    if missing := plan.unsigned(roster):
        raise ValueError(f"{', '.join(missing)} did not approve the plan")
    if first is not None and digest(first) != content.get("first"):
        raise ValueError("the plan starts from another state")
    return Terms(roster, plan)


def _advance(
    terms: Terms, values: Line, follow: Follow, state: Arrays, sums: Mapping[str, Ring]
) -> Arrays:
    kind, total = str(values["kind"]), sums[str(values["sum"])]
    if digest(follow.broadcast(kind, state)) != values["model"]:
        raise ValueError("its model does not follow from the sums before")
    if hash_of(total).hex() != values["sum"]:
        raise ValueError("its sum is another one")
    zero = follow.zero(kind, state)
    return follow.advance(kind, state, fixedpoint.decode(total, zero, terms.rules.scale_bits))
