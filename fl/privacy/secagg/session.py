"""What a brand must remember between the messages of one round, as bytes for its memory.

The process may be new for every message. A session holds keys: it prints as ``<redacted>`` and is
stripped of them as soon as they are of no more use.
"""

from __future__ import annotations

import struct
from typing import NamedTuple, cast

from fl.contracts import Memory
from fl.privacy.secagg.identity import bind

ADVERTISED, SHARED, ADMITTED, MASKED, CONSENTED, ANSWERED = (
    "advertised",
    "shared",
    "admitted",
    "masked",
    "consented",
    "answered",
)


class Session(NamedTuple):
    """One attempt of one round at one brand. A tuple, as it is made anew at every message.

    Attributes:
        sid, sequence, attempt, kind, number, model, layout: what the round is about.
        stage: the last step taken.
        advert: the own record.
        private, kem, root, self_mask: secrets; ``root`` opens the escrow.
        h1, h2, h3: hashes of the views: adverts, members, survivors.
        everyone, members, survivors: packed numbers of U1, U2, U3.
        neighbours: packed numbers of those of ``everyone`` this brand shares keys with.
        threshold: shares that reconstruct, and consents that are needed.
        masks: packed keys by neighbour, of the pair's mask; by its own number, of the self mask.
        opens: packed keys by neighbour, of what it sealed for this brand.
        shares: packed, what neighbours entrusted: share of the self mask, share of the root.
        y: hash of the masked vector.
    """

    sequence: int = 0
    attempt: int = 0
    number: int = 0
    threshold: int = 0
    kind: str = ""
    stage: str = ""
    sid: bytes = b""
    model: bytes = b""
    layout: bytes = b""
    advert: bytes = b""
    private: bytes = b""
    kem: bytes = b""
    root: bytes = b""
    self_mask: bytes = b""
    h1: bytes = b""
    h2: bytes = b""
    h3: bytes = b""
    everyone: bytes = b""
    members: bytes = b""
    survivors: bytes = b""
    neighbours: bytes = b""
    masks: bytes = b""
    opens: bytes = b""
    shares: bytes = b""
    y: bytes = b""

    def __repr__(self) -> str:
        return "Session(<redacted>)"

    @property
    def occasion(self) -> bytes:
        """What a cached encoding is for. Guarantee: all attempts of one round, nothing else."""
        numbers = f"{self.sequence}/{self.kind}/{self.number}".encode()
        return bind("encoding", numbers, self.model, self.layout)

    def answered(self) -> Session:
        """What is still needed once the shares are handed out.

        Guarantee: no key of the round is left; who takes the file later learns nothing of it.
        """
        return self._replace(
            stage=ANSWERED,
            private=b"",
            kem=b"",
            root=b"",
            self_mask=b"",
            masks=b"",
            opens=b"",
            shares=b"",
        )


_NUMBERS, _TEXTS = 4, 2  # the first fields; the others are bytes
_HEAD = struct.Struct(f">{_NUMBERS}Q{len(Session._fields) - _NUMBERS}I")


def save(session: Session, memory: Memory) -> None:
    """Put ``session`` into ``memory``: numbers and lengths, then texts and bytes, end to end.

    Guarantee: nothing is sent; the caller's memory is stored before the reply goes.
    """
    blobs = cast(tuple[bytes, ...], session[_NUMBERS + _TEXTS :])
    parts = (session.kind.encode(), session.stage.encode(), *blobs)
    head = _HEAD.pack(*session[:_NUMBERS], *map(len, parts))
    memory.protocol["session"] = b"".join((head, *parts))


def load(memory: Memory) -> Session:
    """The session in ``memory``, or an empty one.

    Raises:
        ValueError: what is stored is no session of this version.

    Guarantee: the inverse of :func:`save`.
    """
    stored = memory.protocol.get("session")
    if stored is None:
        return Session()
    if len(stored) < _HEAD.size:
        raise ValueError("Expected a stored session of this version.")
    head, at, parts = _HEAD.unpack_from(stored), _HEAD.size, []
    for size in head[_NUMBERS:]:
        parts.append(stored[at : at + size])
        at += size
    if at != len(stored):
        raise ValueError("Expected a stored session of this version.")
    texts, blobs = map(bytes.decode, parts[:_TEXTS]), parts[_TEXTS:]
    return Session(*head[:_NUMBERS], *texts, *blobs)
