"""A brand's keys in one round: fresh keys, checked adverts, sealed shares, keys of masks.

Pure functions from one :class:`Session` to the next. Step numbers are those of the table in
``brand.py``.
"""

from __future__ import annotations

import secrets
from dataclasses import replace

from fl.errors import Code, Refused
from fl.privacy.secagg import shamir
from fl.privacy.secagg.identity import KEY, Identity, signed
from fl.privacy.secagg.profiles import (
    KEM_CIPHERTEXT,
    KEM_SEED,
    TAG,
    Profile,
    agree,
    decapsulate,
    encapsulate,
    kem_public_of,
    public_of,
)
from fl.privacy.secagg.session import Session
from fl.privacy.secagg.terms import Terms
from fl.privacy.secagg.wire import Advert, commit, pack, pack_members, unpack, view

PAIR = 2 * shamir.SHARE  # bytes: a share of the self mask's key, a share of the root
SEALED = PAIR + TAG


def fresh(
    session: Session, index: int, head: bytes, identity: Identity, profile: Profile
) -> Session:
    """Step 1: new keys for one attempt, and the signed advert of their public halves.

    Guarantee: the keys come from the system's randomness and have been used for nothing.
    """
    channel, root, self_mask = (secrets.token_bytes(32) for _ in range(3))
    channel_kem = secrets.token_bytes(KEM_SEED) if profile.hybrid else b""
    advert = Advert(
        index,
        public_of(channel),
        public_of(mask_private(root, session.sid, profile)),
        commit(session.sid, index, self_mask),
        head,
        kem_public_of(channel_kem) if profile.hybrid else b"",
        kem_public_of(mask_kem_seed(root, session.sid, profile)) if profile.hybrid else b"",
    )
    advert = replace(advert, signature=identity.sign(advert.message(session.sid)))
    return replace(
        session,
        channel=channel,
        channel_kem=channel_kem,
        root=root,
        self_mask=self_mask,
        advert=advert.record,
    )


def mask_private(root: bytes, sid: bytes, profile: Profile) -> bytes:
    """The X25519 key behind pairwise masks. Guarantee: who knows it does not know ``root``."""
    return profile.derive(root, sid, b"mask key")


def mask_kem_seed(root: bytes, sid: bytes, profile: Profile) -> bytes:
    """The ML-KEM seed behind a brand's pairwise masks. Guarantee: as :func:`mask_private`."""
    return profile.derive(root, sid, b"mask kem", KEM_SEED)


def mask_key(shared: bytes, sid: bytes, i: int, j: int, profile: Profile) -> bytes:
    """The key of the mask between two brands.

    Args:
        shared: their X25519 secret, followed by the lower one's ML-KEM secret in a hybrid profile.

    Guarantee: known to the two brands only, fresh in every round and attempt.
    """
    low, high = sorted((i, j))
    return profile.derive(shared, sid, b"mask" + _numbers(low, high))


def self_key(self_mask: bytes, sid: bytes, profile: Profile) -> bytes:
    """The key of a brand's own mask. Guarantee: as that of ``self_mask``."""
    return profile.derive(self_mask, sid, b"self mask")


def accept(session: Session, raw: bytes, index: int, terms: Terms) -> Session:
    """Step 2: check everyone's adverts and agree on secrets with the neighbours.

    Raises:
        Refused: an own entry altered, too few brands, a key twice, unsigned or of low order.
        ValueError: malformed.

    Guarantee: every neighbour's key was signed by its pinned identity for exactly this round.
    """
    hybrid, roster = terms.rules.algorithms.hybrid, terms.roster
    records = unpack(raw, Advert.size(hybrid))
    if records.get(index) != session.advert:
        raise Refused(Code.OWN_ENTRY)
    if max(records) >= len(roster.names):
        raise Refused(Code.UNKNOWN_ROSTER)
    if len(records) < terms.rules.min_brands:
        raise Refused(Code.TOO_FEW)
    public = {r[:KEY] for r in records.values()} | {r[KEY : 2 * KEY] for r in records.values()}
    if len(public) != 2 * len(records):
        raise Refused(Code.DUPLICATE_KEY)
    h1 = view("adverts", session.sid, raw)
    near = terms.neighbours(list(records), h1, [index])[index]
    adverts = [Advert.parse(j, records[j], hybrid) for j in near]
    for advert in adverts:
        message = advert.message(session.sid)
        if not signed(roster.key(advert.index), message, advert.signature):
            raise Refused(Code.BAD_SIGNATURE)
    private = mask_private(session.root, session.sid, terms.rules.algorithms)
    shares = terms.rules.recovers  # without shares nothing is sealed
    channels = _agreed(session.channel, {a.index: a.channel for a in adverts if shares})
    masks = _agreed(private, {a.index: a.mask for a in adverts})
    return replace(
        session,
        h1=h1,
        everyone=pack_members(records),
        neighbours=pack_members(near),
        threshold=terms.threshold(len(records), len(near)),
        channels=channels,
        masks=masks,
    )


def _agreed(private: bytes, public: dict[int, bytes]) -> dict[int, bytes]:
    secrets_ = agree(private, list(public.values()))
    agreed = {j: s for j, s in zip(public, secrets_, strict=True) if s is not None}
    if len(agreed) != len(public):
        raise Refused(Code.WEAK_KEY)
    return agreed


def deal(
    session: Session, raw: bytes, index: int, terms: Terms
) -> tuple[Session, dict[str, bytes]]:
    """Step 3: for each neighbour, a sealed share of the self mask's key and one of the root.

    Guarantee: fewer than ``threshold`` neighbours together learn nothing of either.
    """
    profile, sid, near = terms.rules.algorithms, session.sid, list(session.channels)
    points = [j + 1 for j in near]
    needed = min(session.threshold, len(near))  # a brand holds no share of its own
    own = shamir.split(session.self_mask, needed, points)
    root = shamir.split(session.root, needed, points)
    extra, channel_ciphertexts, mask_ciphertexts, escrow = {}, {}, {}, {}
    masks = dict(session.masks)
    adverts = unpack(raw, Advert.size(profile.hybrid)) if profile.hybrid else {}
    for j, record in ((j, adverts[j]) for j in near if profile.hybrid):
        advert = Advert.parse(j, record, True)
        channel, mask = encapsulate(advert.channel_kem), encapsulate(advert.mask_kem)
        if channel is None or mask is None:
            raise Refused(Code.WEAK_KEY)
        extra[j], channel_ciphertexts[j] = channel
        if index < j:  # the lower one's secret joins the pair's mask
            masks[j] += mask[0]
            escrow[j], mask_ciphertexts[j] = mask
    sealed = {
        j: _seal(session, index, j, own[j + 1] + root[j + 1], extra.get(j, b""), profile)
        for j in near
    }
    blobs = {"shares": pack(sealed)}
    if profile.hybrid:
        blobs["channel_kem"] = pack(channel_ciphertexts)
        blobs["mask_kem"] = pack(mask_ciphertexts)
        blobs["escrow"] = profile.seal(escrow_key(session.root, sid, profile), pack(escrow), sid)
    return replace(session, masks=masks), blobs


def escrow_key(root: bytes, sid: bytes, profile: Profile) -> bytes:
    """Seals a brand's ML-KEM secrets for the case that it drops out. Guarantee: as ``root``."""
    return profile.derive(root, sid, b"escrow")


def receive(session: Session, blobs: dict[str, bytes], index: int, terms: Terms) -> Session:
    """Step 4: open the shares of the neighbours among the members.

    Args:
        blobs: ``members`` (U2), ``shares`` and, in a hybrid profile, the two kinds of ciphertexts.

    Raises:
        Refused: brands are too few, oneself is missing, or a share does not open.
        ValueError: malformed.

    Guarantee: every share was sealed by its neighbour for this brand, in exactly this round, after
    it had seen the same list of adverts.
    """
    profile, members = terms.rules.algorithms, unpack(blobs["members"], 0)
    everyone, near = unpack(session.everyone, 0), unpack(session.neighbours, 0)
    present = [j for j in near if j in members]
    if index not in members or not set(members) <= set(everyone):
        raise Refused(Code.OWN_ENTRY if index not in members else Code.UNKNOWN_ROSTER)
    if len(members) < terms.rules.min_brands or len(present) + 1 < session.threshold:
        raise Refused(Code.TOO_FEW)
    sealed = unpack(blobs["shares"], SEALED)
    channel = unpack(blobs.get("channel_kem", b""), KEM_CIPHERTEXT)
    mask = unpack(blobs.get("mask_kem", b""), KEM_CIPHERTEXT)
    if list(sealed) != present or (profile.hybrid and list(channel) != present):
        raise Refused(Code.BAD_SHARE)
    masks, shares = {j: session.masks[j] for j in present}, {}
    seed = mask_kem_seed(session.root, session.sid, profile) if profile.hybrid else b""
    for j in present:
        extra = b""
        if profile.hybrid:
            extra = decapsulate(session.channel_kem, channel[j]) or b""
        if profile.hybrid and j < index:
            masks[j] += decapsulate(seed, mask.get(j, b"")) or b""
        shares[j] = _open(session, j, index, sealed[j], extra, profile)
    h2 = view("members", session.sid, session.h1, pack_members(members))
    return replace(
        session, members=pack_members(members), h2=h2, masks=masks, shares=shares, channels={}
    )


def _seal(
    session: Session, i: int, j: int, message: bytes, extra: bytes, profile: Profile
) -> bytes:
    key = _channel_key(session, i, j, session.channels[j] + extra, profile)
    return profile.seal(key, message, _header(session, i, j))


def _open(session: Session, i: int, j: int, sealed: bytes, extra: bytes, profile: Profile) -> bytes:
    key = _channel_key(session, i, j, session.channels[i] + extra, profile)
    opened = profile.open(key, sealed, _header(session, i, j))
    if opened is None or len(opened) != PAIR:
        raise Refused(Code.BAD_SHARE)
    return opened


def _channel_key(session: Session, i: int, j: int, shared: bytes, profile: Profile) -> bytes:
    return profile.derive(shared, session.sid, b"share" + session.h1 + _numbers(i, j))


def _header(session: Session, i: int, j: int) -> bytes:
    return session.sid + session.h1 + _numbers(i, j)


def _numbers(i: int, j: int) -> bytes:
    return i.to_bytes(2, "big") + j.to_bytes(2, "big")
