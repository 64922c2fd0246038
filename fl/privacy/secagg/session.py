"""What a brand must remember between the messages of one round, as bytes for its memory.

The process may be new for every message. A session holds keys: it prints as ``<redacted>`` and is
stripped of them as soon as they are of no more use.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, fields, replace
from operator import attrgetter

from fl.contracts import Memory

ADVERTISED, SHARED, ADMITTED, MASKED, CONSENTED, ANSWERED = (
    "advertised",
    "shared",
    "admitted",
    "masked",
    "consented",
    "answered",
)


@dataclass(frozen=True, slots=True, repr=False)
class Session:
    """One attempt of one round at one brand.

    Attributes:
        sid, sequence, attempt, kind, number, model, layout: what the round is about.
        stage: the last step taken.
        advert: the own record.
        private, kem, root, self_mask: secrets; ``root`` opens the escrow.
        h1, h2, h3: hashes of the views: adverts, members, survivors.
        everyone, members, survivors: packed numbers of U1, U2, U3.
        neighbours: packed numbers of those of ``everyone`` this brand shares keys with.
        threshold: shares that reconstruct, and consents that are needed.
        masks, opens: packed keys by neighbour: of the pair's mask, and of what it sealed for us.
        shares: packed, what neighbours entrusted: share of the self mask, share of the root.
        y: hash of the masked vector.
    """

    sid: bytes = b""
    sequence: int = 0
    attempt: int = 0
    kind: str = ""
    number: int = 0
    model: bytes = b""
    layout: bytes = b""
    stage: str = ""
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
    threshold: int = 0
    masks: bytes = b""
    opens: bytes = b""
    shares: bytes = b""
    y: bytes = b""

    def __repr__(self) -> str:
        return "Session(<redacted>)"

    def without_secrets(self, stage: str) -> Session:
        """What is still needed once the shares are handed out, at ``stage``.

        Guarantee: no key of the round is left; who takes the file later learns nothing of it.
        """
        return replace(
            self,
            stage=stage,
            private=b"",
            kem=b"",
            root=b"",
            self_mask=b"",
            masks=b"",
            opens=b"",
            shares=b"",
        )


_EMPTY = Session()
_NUMBERS, _TEXTS, _BLOBS = (
    [f.name for f in fields(Session) if type(getattr(_EMPTY, f.name)) is kind]
    for kind in (int, str, bytes)
)
_numbers, _texts, _blobs = attrgetter(*_NUMBERS), attrgetter(*_TEXTS), attrgetter(*_BLOBS)
_HEAD = struct.Struct(f">{len(_NUMBERS)}Q{len(_TEXTS) + len(_BLOBS)}I")


def save(session: Session, memory: Memory) -> None:
    """Put ``session`` into ``memory``: numbers and lengths, then texts and bytes, end to end.

    Guarantee: nothing is sent; the caller's memory is stored before the reply goes.
    """
    parts = (*(text.encode() for text in _texts(session)), *_blobs(session))
    head = _HEAD.pack(*_numbers(session), *map(len, parts))
    memory.protocol["session"] = b"".join((head, *parts))


def load(memory: Memory) -> Session:
    """The session in ``memory``, or an empty one.

    Raises:
        ValueError: what is stored is no session of this version.

    Guarantee: the inverse of :func:`save`.
    """
    stored = memory.protocol.get("session")
    if stored is None:
        return _EMPTY
    if len(stored) < _HEAD.size:
        raise ValueError("Expected a stored session of this version.")
    head, at, parts = _HEAD.unpack_from(stored), _HEAD.size, []
    for size in head[len(_NUMBERS) :]:
        parts.append(stored[at : at + size])
        at += size
    if at != len(stored):
        raise ValueError("Expected a stored session of this version.")
    texts = [part.decode() for part in parts[: len(_TEXTS)]]
    values: dict[str, object] = dict(zip(_NUMBERS, head, strict=False))
    values |= zip(_TEXTS, texts, strict=True)
    values |= zip(_BLOBS, parts[len(_TEXTS) :], strict=True)
    return Session(**values)  # type: ignore[arg-type]
