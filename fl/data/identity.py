"""One customer across channels: identifiers normalised, hashed under the brand's key, and joined.

A record is one row of one channel's customer table. Records that share an identifier (a phone
number, an e-mail address, a member id, an open id) are one customer: the connected components of
records and identifiers. The unit of privacy is that customer, and this errs on the safe side: a
person who is joined with another is still hidden, one who is torn apart is hidden only in part.

Identifiers are compared as keyed hashes (BLAKE2b with key and personalisation, RFC 7693), so that
nothing that is kept or reported holds one in the clear; without the key nobody can try numbers out.

Conflicts (one customer with two member ids) are joined and reported. An identifier that more
records share than ``Rules.shared_by_at_most`` is a placeholder or a till's number: it joins nothing
and is reported.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from fl.data.columns import cell_text
from fl.data.identifiers import Normal, email, member, open_id, phone
from fl.errors import InputError

KINDS = ("phone", "email", "member", "open_id")
UNIQUE = "member"  # a customer has at most one

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rules:
    """``[identities]`` of the mapping file.

    Attributes:
        region: ISO 3166 code of the country whose numbers are written without a country code.
        shared_by_at_most: an identifier of more records than this joins none of them, >= 2.
        ignore: identifiers that join nothing, by kind, as in the tables (``000000``).
    """

    region: str = ""
    shared_by_at_most: int = 10
    ignore: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.region and not re.fullmatch("[A-Z]{2}", self.region):
            raise ValueError(f"Expected region={self.region!r} to be two capital letters.")
        if self.shared_by_at_most < 2:
            raise ValueError(f"Expected shared_by_at_most={self.shared_by_at_most} >= 2.")
        if unknown := sorted(set(self.ignore) - set(KINDS)):
            raise ValueError(f"Expected ignore to have {', '.join(KINDS)}, got {unknown[0]!r}.")


@dataclass(frozen=True, slots=True)
class Conflict:
    """Something about a join that a person should look at.

    Attributes:
        kind: ``two members`` (one customer, several member ids) or ``shared`` (an identifier of too
            many records, which joined nothing).
        records: positions of the records, the first 20.
        count: of member ids, or of the records that share the identifier.
        joined_by: kinds of the identifiers involved.
    """

    kind: str
    records: tuple[int, ...]
    count: int
    joined_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Resolved:
    """Who is who.

    Attributes:
        customer: int64 ``[records]``, numbered from 0 in order of first record.
        pseudonym: of each customer, 32 hex digits; the same as long as the customer keeps the
            smallest of its hashed identifiers.
        identifiers: of each kind, how many cells were read.
        unreadable: of each kind, how many are no such identifier; they join nothing.
        conflicts: worst first.
    """

    customer: Ints
    pseudonym: tuple[str, ...]
    identifiers: Mapping[str, int]
    unreadable: Mapping[str, int]
    conflicts: tuple[Conflict, ...]


def resolve(
    cells: Mapping[str, Sequence[pd.Series]], names: pd.Series, key: bytes, rules: Rules
) -> Resolved:
    """Join records that share an identifier.

    Args:
        cells: by kind, columns of raw identifiers, each as long as ``names``; empty cells are none.
        names: a name of each record that is unique at this brand (channel and id), for those
            customers that have no identifier.
        key: the brand's secret, 32 bytes or more; never leaves the brand.
        rules: which identifiers join.

    Raises:
        InputError: the key is too short, or phones without a region.
    """
    if len(key) < 32:
        raise InputError(
            "identity key", f"has {len(key)} bytes", "make one of 32 random bytes (fl-node init)"
        )
    n = len(names)
    made = [
        _hashed(kind, column, key, rules) for kind in KINDS for column in cells.get(kind, ())
    ] or [_Column("phone", np.empty(0, np.int64), np.empty(0, object), 0)]
    record = np.concatenate([column.record for column in made])
    kind = np.concatenate([np.full(len(c.record), KINDS.index(c.kind)) for c in made])
    token, hashes = pd.factorize(np.concatenate([column.hashes for column in made]))
    pairs = np.unique(np.stack([record, token.astype(np.int64)], 1), axis=0)
    kind_of = np.zeros(len(hashes), np.int64)
    kind_of[token] = kind
    sharing = np.bincount(pairs[:, 1], minlength=len(hashes))
    joining = pairs[sharing[pairs[:, 1]] <= rules.shared_by_at_most]
    customer = _components(n, len(hashes), joining)
    conflicts = [
        *_shared(pairs, sharing, kind_of, rules),
        *_two_members(customer, joining, kind_of),
    ]
    counted = {k: sum(len(c.record) for c in made if c.kind == k) for k in KINDS}
    failed = {k: sum(c.unreadable for c in made if c.kind == k) for k in KINDS}
    return Resolved(
        customer,
        _pseudonyms(customer, joining, np.asarray(hashes, object), names, key),
        {k: counted[k] + failed[k] for k in KINDS},
        failed,
        tuple(sorted(conflicts, key=lambda c: (-c.count, c.records))),
    )


# --- hashing ------------------------------------------------------------------------------------


def _normal(kind: str, rules: Rules) -> Normal:
    if kind == "phone":
        return phone(rules.region)
    return {"email": email, "member": member, "open_id": open_id}[kind]


@dataclass(frozen=True, slots=True)
class _Column:
    """One column's readable cells: which record each is of, and its keyed hash."""

    kind: str
    record: Ints
    hashes: npt.NDArray[np.object_]
    unreadable: int


def _hashed(kind: str, cells: pd.Series, key: bytes, rules: Rules) -> _Column:
    codes, values = pd.factorize(cells.to_numpy(object))  # -1 is an empty cell
    normal, person = _normal(kind, rules), f"crossbrand/{kind}".encode()[:16]
    ignored = {normal(text) for text in rules.ignore.get(kind, ())}
    blake, short = hashlib.blake2b, key[:64]
    hashes: list[bytes | None] = []
    blank = set()
    for number, value in enumerate(values):
        text = cell_text(value).strip()
        form = normal(text) if text else None
        if not text or (form is not None and form in ignored):
            blank.add(number)
        hashes.append(
            None
            if form is None or form in ignored
            else blake(form.encode(), key=short, person=person, digest_size=16).digest()
        )
    record = np.flatnonzero(codes >= 0)
    table = np.array([*hashes, None], object)[:-1]
    found = table[codes[record]]
    readable = np.array([h is not None for h in hashes], bool)[codes[record]]
    empty = np.isin(codes[record], list(blank))
    return _Column(
        kind, record[readable].astype(np.int64), found[readable], int((~readable & ~empty).sum())
    )


# --- joining ------------------------------------------------------------------------------------


def _components(records: int, tokens: int, pairs: npt.NDArray[np.int64]) -> Ints:
    """The component of each record, numbered in order of first record."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    size = records + tokens
    ones = np.ones(len(pairs), np.int8)
    graph = coo_array((ones, (pairs[:, 0], records + pairs[:, 1])), shape=(size, size))
    _, labels = connected_components(graph.tocsr(), directed=False)
    found: Ints = pd.factorize(labels[:records])[0].astype(np.int64)
    return found


def _pseudonyms(
    customer: Ints,
    pairs: npt.NDArray[np.int64],
    hashes: npt.NDArray[np.object_],
    names: pd.Series,
    key: bytes,
) -> tuple[str, ...]:
    """The smallest hash of each customer; of its first record's name where it has none."""
    order = np.argsort(hashes, kind="stable")
    rank = np.empty(len(hashes), np.int64)
    rank[order] = np.arange(len(hashes))
    best = np.full(customer.max(initial=-1) + 1, len(hashes), np.int64)
    np.minimum.at(best, customer[pairs[:, 0]], rank[pairs[:, 1]])
    first = np.unique(customer, return_index=True)[1]
    made = []
    for who, smallest in enumerate(best.tolist()):
        if smallest < len(hashes):
            made.append(bytes(hashes[order[smallest]]).hex())
            continue
        name = str(names.iloc[first[who]]).encode()
        made.append(
            hashlib.blake2b(name, key=key[:64], person=b"crossbrand/name", digest_size=16)
            .digest()
            .hex()
        )
    return tuple(made)


def _shared(
    pairs: npt.NDArray[np.int64], sharing: Ints, kind_of: Ints, rules: Rules
) -> list[Conflict]:
    rows = pairs[sharing[pairs[:, 1]] > rules.shared_by_at_most]
    table = pd.DataFrame({"token": rows[:, 1], "record": rows[:, 0]})
    return [
        Conflict(
            "shared",
            tuple(part["record"].head(20).tolist()),
            len(part),
            (KINDS[kind_of[int(str(token))]],),
        )
        for token, part in table.groupby("token")
    ]


def _two_members(customer: Ints, pairs: npt.NDArray[np.int64], kind_of: Ints) -> list[Conflict]:
    ids = pairs[kind_of[pairs[:, 1]] == KINDS.index(UNIQUE)]
    of = np.unique(np.stack([customer[ids[:, 0]], ids[:, 1]], 1), axis=0)
    who, count = np.unique(of[:, 0], return_counts=True)
    several = dict(zip(who[count > 1].tolist(), count[count > 1].tolist(), strict=True))
    if not several:
        return []
    rows = pairs[np.isin(customer[pairs[:, 0]], list(several))]
    table = pd.DataFrame({"customer": customer[rows[:, 0]], "record": rows[:, 0]})
    table["kind"] = kind_of[rows[:, 1]]
    found = []
    for owner, part in table.groupby("customer"):
        kinds = tuple(KINDS[k] for k in sorted(part["kind"].unique()) if KINDS[k] != UNIQUE)
        records = tuple(sorted(part["record"].unique().tolist()))[:20]
        found.append(Conflict("two members", records, several[int(str(owner))], kinds))
    return found
