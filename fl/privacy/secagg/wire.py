"""What travels between the coordinator and a brand, as bytes with one meaning each.

Requests carry the step in ``config["brandagg"]`` and blobs beside it. Brands are numbered by the
roster (uint16, big-endian); a list of records is sorted by number and names nobody twice, so equal
lists are equal bytes and a hash of the blob is a hash of the view.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from fl.contracts import Mark, Request, Scalar
from fl.privacy.secagg.identity import HASH, KEY, SIGNATURE, bind, canonical
from fl.privacy.secagg.profiles import KEM_PUBLIC

STEP = "brandagg"
ENTRIES = 8  # bytes of a ledger's number of entries, big-endian
MARK = HASH + ENTRIES  # bytes of a mark
OPEN, KEYS, TRAIN, SURVIVORS, UNMASK = "open", "keys", "train", "survivors", "unmask"


def blob(config: Mapping[str, Scalar], key: str, size: int | None = None) -> bytes:
    """The bytes at ``key``.

    Raises:
        ValueError: missing, no bytes, or not ``size`` of them.

    Guarantee: checks form only.
    """
    value = config.get(key)
    if not isinstance(value, bytes) or (size is not None and len(value) != size):
        raise ValueError(f"Expected {key} to be {size or 'some'} bytes.")
    return value


def whole(config: Mapping[str, Scalar], key: str) -> int:
    """The whole number >= 0 at ``key``.

    Raises:
        ValueError: missing or something else.

    Guarantee: checks form only.
    """
    value = config.get(key)
    if type(value) is not int or value < 0:
        raise ValueError(f"Expected {key} to be a whole number.")
    return value


def pack(records: Mapping[int, bytes]) -> bytes:
    """Records by brand number as one blob.

    Guarantee: equal mappings give equal bytes.
    """
    return b"".join([i.to_bytes(2, "big") + records[i] for i in sorted(records)])


def unpack(raw: bytes, size: int) -> dict[int, bytes]:
    """The records of :func:`pack`, each of ``size`` bytes.

    Raises:
        ValueError: a broken record, a brand named twice, or not sorted.

    Guarantee: nobody is in the result twice.

    >>> unpack(pack({3: b"c", 1: b"a"}), 1)
    {1: b'a', 3: b'c'}
    """
    step = 2 + size
    if len(raw) % step:
        raise ValueError("Expected whole records.")
    found = dict(struct.iter_unpack(f">H{size}s", raw))
    if len(found) * step != len(raw) or list(found) != sorted(found):
        raise ValueError("Expected sorted records, one for each brand.")
    return found


def pack_members(members: Iterable[int]) -> bytes:
    """Brand numbers as a blob. Guarantee: equal sets give equal bytes."""
    numbers = sorted(members)
    return struct.pack(f">{len(numbers)}H", *numbers)


def unpack_members(raw: bytes) -> list[int]:
    """The numbers of :func:`pack_members`, sorted.

    Raises:
        ValueError: half a number, a brand named twice, or not sorted.

    Guarantee: nobody is in the result twice.
    """
    if len(raw) % 2:
        raise ValueError("Expected whole records.")
    found = list(struct.unpack(f">{len(raw) // 2}H", raw))
    if any(a >= b for a, b in pairwise(found)):
        raise ValueError("Expected sorted records, one for each brand.")
    return found


@dataclass(frozen=True)
class Round:
    """What a round is about: everything its context binds. Public.

    Attributes:
        roster, plan: hashes.
        run: bytes that tell runs apart.
        sequence: of the sum within the run, from 1.
        attempt: from 1.
        kind, number: of the algorithm's request.
        model, layout: hashes of the broadcast arrays and of the vector's layout.
        previous: root of the transcript so far.
    """

    roster: bytes
    plan: bytes
    run: bytes
    sequence: int
    attempt: int
    kind: str
    number: int
    model: bytes
    layout: bytes
    previous: bytes

    @cached_property
    def sid(self) -> bytes:
        """The context that salts every key and is in every signature and header.

        Guarantee: of ``bind``.
        """
        numbers = (self.sequence, self.attempt, self.number)
        return bind(
            "round",
            self.roster,
            self.plan,
            self.run,
            *(n.to_bytes(8, "big") for n in numbers),
            self.kind.encode(),
            self.model,
            self.layout,
            self.previous,
        )


@dataclass(frozen=True, slots=True)
class Advert:
    """A brand's public keys for one round, signed by its identity.

    Attributes:
        index: the brand's number.
        key: X25519; the secret shared with a neighbour gives the pair's mask and sealed channel.
        root: hash of what opens the brand's mask keys if it drops out.
        commitment: hash of the self mask's key.
        mark: how far the brand's ledger has come.
        channel_kem, mask_kem: ML-KEM-768, empty unless the profile is hybrid.
        signature: Ed25519.
    """

    index: int
    key: bytes
    root: bytes
    commitment: bytes
    mark: Mark
    channel_kem: bytes = b""
    mask_kem: bytes = b""
    signature: bytes = b""

    @property
    def keys(self) -> bytes:
        """All but number and signature. Guarantee: public."""
        ledger = packed(self.mark)
        return b"".join(
            (self.key, self.root, self.commitment, ledger, self.channel_kem, self.mask_kem)
        )

    def message(self, sid: bytes) -> bytes:
        """What the identity signs. Guarantee: binds keys, brand and round."""
        return advert_message(sid, self.index, self.keys)

    @staticmethod
    def size(hybrid: bool) -> int:
        """Bytes of :attr:`record`. Guarantee: public."""
        return KEY + 2 * HASH + MARK + (2 * KEM_PUBLIC if hybrid else 0) + SIGNATURE

    @property
    def record(self) -> bytes:
        """For :func:`pack`. Guarantee: public."""
        return self.keys + self.signature

    @classmethod
    def parse(cls, index: int, record: bytes, hybrid: bool) -> Advert:
        """The advert of a record of the right size. Guarantee: checks nothing else."""
        kem = KEM_PUBLIC if hybrid else 0
        parts, at = [], 0
        for size in (KEY, HASH, HASH, MARK, kem, kem, SIGNATURE):
            parts.append(record[at : at + size])
            at += size
        key, root, commitment, mark, *rest = parts
        return cls(index, key, root, commitment, unpacked(mark), *rest)


def packed(mark: Mark) -> bytes:
    """A mark as it is in an advert: head, then number of entries. Guarantee: public."""
    return mark.head + mark.entries.to_bytes(ENTRIES, "big")


def unpacked(raw: bytes) -> Mark:
    """The inverse of :func:`packed`. Guarantee: checks nothing."""
    return Mark(int.from_bytes(raw[HASH:], "big"), raw[:HASH])


def mark_in(record: bytes) -> Mark:
    """The mark in an advert's record, of any profile. Guarantee: that of ``Advert.parse``."""
    at = KEY + 2 * HASH
    return unpacked(record[at : at + MARK])


def advert_message(sid: bytes, index: int, keys: bytes) -> bytes:
    """What an identity signs of a record without its signature. Guarantee: of ``bind``."""
    return bind("advert", sid, index.to_bytes(2, "big"), keys)


def commit(sid: bytes, index: int, key: bytes, what: str = "self mask") -> bytes:
    """What a brand publishes of a key of its own. Guarantee: hiding and binding (SHA-256)."""
    return bind(f"commit {what}", sid, index.to_bytes(2, "big"), key)


def view(purpose: str, sid: bytes, *blobs: bytes) -> bytes:
    """The hash of a list as shown to a brand. Guarantee: equal only for equal lists and rounds."""
    return bind(purpose, sid, *blobs)


def evidence(request: Request) -> bytes:
    """A request's public scalars as canonical JSON, bytes in hex; its arrays are left out.

    Guarantee: holds nothing but what the coordinator sent.
    """
    scalars = {k: v.hex() if isinstance(v, bytes) else v for k, v in request.config.items()}
    return canonical({"kind": request.kind, "number": request.number, "config": scalars})
