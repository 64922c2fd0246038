"""One line of a brand's ledger: its canonical form, its hash, its signature; and a whole chain.

A line is one JSON object in canonical form (keys sorted, no spaces, UTF-8, no NaN) with exactly the
fields of :class:`Entry`. ``prev`` is the SHA-256 of the line before, without its newline, and 64
zeros on the first line. ``signature`` is Ed25519 over the canonical line without that field, for
the purpose ``crossbrand-fl/ledger/1``. The **head** of a ledger is the hash of its last line: it
stands for everything above it, so whoever holds a head can tell a changed or shortened ledger.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from fl.errors import InputError
from fl.privacy.signing import Check, SigningKey, checker

PURPOSE = "crossbrand-fl/ledger/1"
START = "0" * 64  # what the first entry follows
_HASH = re.compile(r"[0-9a-f]{64}")
_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
)

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"


class Kind(StrEnum):
    """What an entry records."""

    OPEN = "open"  # the ledger begins: whose data, which unit, which budget, which key
    RESERVE = "reserve"  # a whole run's cost, before its first round
    COMMIT = "commit"  # one round's cost, before data is touched
    SETTLE = "settle"  # a run is over; what was not committed was never touched
    REFUSE = "refuse"  # a request was turned down
    RENEW = "renew"  # a new budget, with the reason
    CHECKPOINT = "checkpoint"  # a head was published, or an unfinished line was removed


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a ledger.

    Attributes:
        seq: position, from 0.
        prev: hash of the line before.
        time: UTC, ISO 8601; informative only, nothing is decided by it.
        kind: what is recorded.
        body: the record; its fields depend on the kind (``fl/privacy/books.py``).
        signature: 128 hex digits.
        hash: of this line; not in the line itself.
    """

    seq: int
    prev: str
    time: str
    kind: Kind
    body: Mapping[str, Json]
    signature: str
    hash: str


def canonical(value: Json) -> bytes:
    """The one way to write ``value``.

    Guarantee: equal values give equal bytes; floats survive a round trip exactly.

    Raises:
        ValueError: NaN or infinity.

    >>> canonical({"b": [1, 0.1], "a": "ü"}).decode()
    '{"a":"ü","b":[1,0.1]}'
    """
    return _ENCODER.encode(value).encode()


def digest(content: bytes) -> str:
    """SHA-256, 64 hex digits.

    Guarantee: collision resistant; not hiding for guessable content.
    """
    return hashlib.sha256(content).hexdigest()


def write(
    key: SigningKey, *, seq: int, prev: str, time: str, kind: Kind, body: Mapping[str, Json]
) -> tuple[Entry, bytes]:
    """A signed entry and its line, without the newline.

    Guarantee: the signature covers every field, so no part of a line can be changed alone.
    """
    unsigned = canonical({"seq": seq, "prev": prev, "time": time, "kind": kind, "body": body})
    signature = key.sign(unsigned, purpose=PURPOSE)
    line = _signed(unsigned, signature)
    return Entry(seq, prev, time, kind, body, signature, digest(line)), line


def chain(
    lines: Sequence[bytes], where: str, *, public_key: str, every_signature: bool = False
) -> tuple[Entry, ...]:
    """The verified entries of ``lines``.

    The last signature covers, through the hashes, every line above it; so it is the only one that
    is checked unless ``every_signature`` is asked for, or something is wrong and the line is to be
    named.

    Guarantee: the owner of ``public_key`` signed these entries in this order, with none changed or
    taken out. Entries missing at the end show only against a head.

    Args:
        lines: without newlines.
        where: the file, for messages.
        public_key: whose signatures count, 64 hex digits.

    Raises:
        InputError: names the first line that is wrong, and what is wrong with it.
    """
    try:
        check = checker(public_key, PURPOSE)
    except ValueError as error:
        raise InputError(where, "public key is not an Ed25519 key", _ELSEWHERE) from error
    if not every_signature:
        try:
            return _linked(lines, where, check, signed_from=len(lines) - 1)
        except InputError:
            return _linked(lines, where, check, signed_from=0)
    return _linked(lines, where, check, signed_from=0)


def _linked(
    lines: Sequence[bytes], where: str, check: Check, *, signed_from: int
) -> tuple[Entry, ...]:
    """The entries, each in its place; signatures are checked from line ``signed_from`` (from 0)."""
    seen: dict[str, int] = {START: 0}
    entries: list[Entry] = []
    prev = START
    for number, line in enumerate(lines):
        try:
            entry, unsigned = _parse(line)
            if number >= signed_from and not check(unsigned, entry.signature):
                raise ValueError("was changed, or is not signed by the ledger's key")
            _check_place(entry, number, prev, seen)
        except (ValueError, RecursionError) as error:
            raise wrong_line(where, number + 1, str(error)) from error
        entries.append(entry)
        prev = entry.hash
        seen[prev] = number + 1
    return tuple(entries)


def wrong_line(where: str, number: int, problem: str) -> InputError:
    """The error for line ``number`` of a ledger.

    Guarantee: carries the problem only, none of the line's content.
    """
    return InputError(f"{where} line {number}", problem, _ELSEWHERE)


_ELSEWHERE = "do not use this copy; compare it with another one and with the published heads"


def key_of(first: bytes, where: str) -> str:
    """The public key that the first line of a ledger says it is signed with.

    Guarantee: none yet; :func:`chain` checks the signatures, and only a key known beforehand proves
    whose they are.
    """
    try:
        public_key = _parse(first)[0].body.get("public_key")
    except (ValueError, RecursionError) as error:
        raise wrong_line(where, 1, str(error)) from error
    if not isinstance(public_key, str):
        raise wrong_line(where, 1, "a ledger begins with an open entry that names its public key")
    return public_key


def _check_place(entry: Entry, seq: int, prev: str, seen: Mapping[str, int]) -> None:
    """The entry is number ``seq`` and follows the line with hash ``prev``."""
    if entry.seq != seq:
        raise ValueError(f"is entry {entry.seq}, expected {seq}: lines are missing or re-ordered")
    if entry.prev != prev:
        if entry.prev in seen:
            raise ValueError(f"follows line {seen[entry.prev]}: the ledger was forked there")
        raise ValueError("does not follow the line before it: the ledger was forked")


def _parse(line: bytes) -> tuple[Entry, bytes]:
    """The entry in ``line`` and its unsigned bytes; the signature is not checked yet."""
    try:
        values = json.loads(line.decode())
    except ValueError as error:
        raise ValueError("is not JSON in UTF-8") from error
    match values:
        case {
            "seq": int(seq),
            "prev": str(prev),
            "time": str(time),
            "kind": str(kind),
            "body": dict(body),
            "signature": str(signature),
            **rest,
        } if not rest:
            del values["signature"]
        case _:
            raise ValueError("does not have the fields of an entry")
    unsigned = canonical(values)
    if _signed(unsigned, signature) != line or not _HASH.fullmatch(prev):
        raise ValueError("is not in canonical form")
    return Entry(seq, prev, time, Kind(kind), body, signature, digest(line)), unsigned


def _signed(unsigned: bytes, signature: str) -> bytes:
    """The canonical line: ``signature`` sorts just before ``time``, the last field."""
    before, comma, after = unsigned.rpartition(b',"time":')
    return before + b',"signature":"' + signature.encode() + b'"' + comma + after
