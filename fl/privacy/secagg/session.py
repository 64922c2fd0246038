"""What a brand must remember between the messages of one round, as bytes for its memory.

The process may be new for every message. A session holds keys: it prints as ``<redacted>`` and is
stripped of them as soon as they are of no more use.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace

from fl.contracts import Memory
from fl.privacy.secagg.identity import canonical

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
        channel, channel_kem, root, self_mask: secrets; ``root`` is what the mask keys come from.
        h1, h2, h3: hashes of the views: adverts, members, survivors.
        everyone, members, survivors: packed numbers of U1, U2, U3.
        neighbours: packed numbers of those of ``everyone`` this brand shares keys with.
        threshold: shares that reconstruct, and consents that are needed.
        channels, masks: secrets shared with each neighbour.
        shares: what neighbours entrusted: share of the self mask, share of the root.
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
    channel: bytes = b""
    channel_kem: bytes = b""
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
    channels: dict[int, bytes] = field(default_factory=dict)
    masks: dict[int, bytes] = field(default_factory=dict)
    shares: dict[int, bytes] = field(default_factory=dict)
    y: bytes = b""

    def __repr__(self) -> str:
        return "Session(<redacted>)"

    def without_secrets(self) -> Session:
        """What is still needed once the shares are handed out.

        Guarantee: no key of the round is left; who takes the file later learns nothing of it.
        """
        return replace(
            self,
            channel=b"",
            channel_kem=b"",
            root=b"",
            self_mask=b"",
            channels={},
            masks={},
            shares={},
        )


def save(session: Session, memory: Memory) -> None:
    """Put ``session`` into ``memory``.

    Guarantee: nothing is sent; the caller's memory is stored before the reply goes.
    """
    plain: dict[str, object] = {}
    for name in (f.name for f in fields(session)):
        value = getattr(session, name)
        if isinstance(value, bytes):
            plain[name] = value.hex()
        elif isinstance(value, dict):
            plain[name] = {str(k): v.hex() for k, v in value.items()}
        else:
            plain[name] = value
    memory.protocol["session"] = canonical(plain)


def load(memory: Memory) -> Session:
    """The session in ``memory``, or an empty one.

    Guarantee: the inverse of :func:`save`.
    """
    if "session" not in memory.protocol:
        return Session()
    stored = json.loads(memory.protocol["session"])
    empty, values = Session(), {}
    for f in fields(Session):
        value, like = stored[f.name], getattr(empty, f.name)
        if isinstance(like, bytes):
            value = bytes.fromhex(value)
        elif isinstance(like, dict):
            value = {int(k): bytes.fromhex(v) for k, v in value.items()}
        values[f.name] = value
    return Session(**values)
