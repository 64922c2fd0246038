"""ML-KEM-768 beside X25519: a second secret in every key of a round (profile ``pq``).

Masked vectors that are recorded today stay masked for a later quantum computer. Who sends puts a
fresh secret into what it seals for a neighbour; into the key of a pair's mask the lower one does.
"""

from __future__ import annotations

from fl.errors import Code, Refused
from fl.privacy.secagg.profiles import (
    KEM_CIPHERTEXT,
    KEM_SEED,
    Profile,
    decapsulate,
    encapsulate,
)
from fl.privacy.secagg.session import Session
from fl.privacy.secagg.wire import Advert, pack, unpack


def mask_seed(root: bytes, sid: bytes, profile: Profile) -> bytes:
    """The ML-KEM seed behind a brand's masks. Guarantee: who knows it does not know ``root``."""
    return profile.derive(root, sid, b"mask kem", KEM_SEED)


def mixed(key: bytes, extra: bytes, sid: bytes, profile: Profile) -> bytes:
    """``key`` with an ML-KEM secret in it, where there is one.

    Guarantee: as long as ``key``, and unknown to who lacks one of the two.
    """
    return profile.derive(key + extra, sid, b"hybrid", len(key)) if extra else key


def encapsulated(
    masks: dict[int, bytes],
    seals: dict[int, bytes],
    raw: bytes,
    sid: bytes,
    index: int,
    profile: Profile,
) -> tuple[dict[int, bytes], dict[int, bytes], dict[str, bytes]]:
    """The keys with ML-KEM secrets in them, and the ciphertexts for the neighbours.

    Raises:
        Refused: ``WEAK_KEY``: a neighbour's ML-KEM key is malformed.

    Guarantee: of :func:`mixed`.
    """
    records, channels, lower = unpack(raw, Advert.size(True)), {}, {}
    masks, seals = dict(masks), dict(seals)
    for j in seals:
        advert = Advert.parse(j, records[j], True)
        channel, mask = encapsulate(advert.channel_kem), encapsulate(advert.mask_kem)
        if channel is None or mask is None:
            raise Refused(Code.WEAK_KEY)
        seals[j], channels[j] = mixed(seals[j], channel[0], sid, profile), channel[1]
        if index < j:
            masks[j], lower[j] = mixed(masks[j], mask[0], sid, profile), mask[1]
    return masks, seals, {"channel_kem": pack(channels), "mask_kem": pack(lower)}


def decapsulated(
    masks: dict[int, bytes],
    opens: dict[int, bytes],
    blobs: dict[str, bytes],
    present: list[int],
    session: Session,
    index: int,
    profile: Profile,
) -> tuple[dict[int, bytes], dict[int, bytes]]:
    """The keys with the neighbours' ML-KEM secrets in them.

    Raises:
        Refused: ``BAD_SHARE``: a ciphertext is missing or malformed.

    Guarantee: of :func:`mixed`.
    """
    sid = session.sid
    channel = unpack(blobs.get("channel_kem", b""), KEM_CIPHERTEXT)
    mask = unpack(blobs.get("mask_kem", b""), KEM_CIPHERTEXT)
    if list(channel) != present or list(mask) != [j for j in present if j < index]:
        raise Refused(Code.BAD_SHARE)
    seed = mask_seed(session.root, sid, profile)
    masks, opens = dict(masks), dict(opens)
    for j in present:
        opens[j] = mixed(opens[j], _kem_secret(session.kem, channel[j]), sid, profile)
        if j < index:
            masks[j] = mixed(masks[j], _kem_secret(seed, mask[j]), sid, profile)
    return masks, opens


def _kem_secret(seed: bytes, ciphertext: bytes) -> bytes:
    secret = decapsulate(seed, ciphertext)
    if secret is None:
        raise Refused(Code.BAD_SHARE)
    return secret
