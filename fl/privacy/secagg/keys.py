"""A brand's keys in one round: fresh keys, checked adverts, sealed shares, keys of masks.

Pure functions from one :class:`Session` to the next. Step numbers are those of the table in
``brand.py``.

Two brands agree on one X25519 secret in a round. HKDF makes three keys of it that say nothing of
each other: of their mask, and of the sealed channel in each direction. If a brand drops out, the
coordinator needs its masks' keys and must not be able to open its channels, for in them are the
shares of its self mask, which covers a vector that comes late. So what is shared out is neither
private key nor secret but a ``root``: it opens the *escrow*, which holds the keys of the masks.
"""

from __future__ import annotations

import secrets

from fl.contracts import Mark
from fl.errors import Code, Refused
from fl.privacy.secagg import hybrid, shamir
from fl.privacy.secagg.identity import KEY, SIGNATURE, Identity
from fl.privacy.secagg.masks import MASK
from fl.privacy.secagg.profiles import (
    KEM_SEED,
    TAG,
    Profile,
    agree,
    kem_public_of,
    key_of,
    public_of,
)
from fl.privacy.secagg.session import ADMITTED, SHARED, Session
from fl.privacy.secagg.terms import Terms
from fl.privacy.secagg.wire import (
    Advert,
    advert_message,
    commit,
    pack,
    pack_members,
    packed,
    unpack,
    unpack_members,
    view,
)

PAIR = 2 * shamir.SHARE  # bytes: a share of the self mask's key, a share of the root
SEALED = PAIR + TAG


def fresh(session: Session, index: int, mark: Mark, identity: Identity, terms: Terms) -> Session:
    """Step 1: new keys for one attempt, and the signed advert of their public halves.

    Args:
        mark: how far this brand's ledger has come.

    Guarantee: the keys come from the system's randomness and have been used for nothing.
    """
    profile, sid = terms.rules.algorithms, session.sid
    private, root, self_mask = (secrets.token_bytes(32) for _ in range(3))
    key = key_of(private)
    terms.once(sid, ("private", private), lambda: key)
    kem = secrets.token_bytes(KEM_SEED) if profile.hybrid else b""
    public = [public_of(key), commit(sid, index, root, "root"), commit(sid, index, self_mask)]
    public.append(packed(mark))
    if profile.hybrid:
        public += kem_public_of(kem), kem_public_of(hybrid.mask_seed(root, sid, profile))
    keys = b"".join(public)  # of an ``Advert``
    record = keys + terms.sign(identity, sid, advert_message(sid, index, keys))
    return session._replace(private=private, kem=kem, root=root, self_mask=self_mask, advert=record)


def pair_keys(
    shared: bytes, sid: bytes, h1: bytes, low: int, high: int, profile: Profile
) -> tuple[bytes, bytes, bytes]:
    """What two brands share: the key of their mask, of what the lower one seals, of what the other.

    Args:
        shared: their X25519 secret.
        low, high: their numbers, ``low < high``.

    Guarantee: independent of each other, known to the two brands only, fresh in every round and
    attempt, and different if the two were shown different adverts.
    """
    made = profile.derive(shared, sid, b"pair" + h1 + _numbers(low, high), MASK + 2 * KEY)
    return made[:MASK], made[MASK : MASK + KEY], made[MASK + KEY :]


def self_key(self_mask: bytes, sid: bytes, profile: Profile) -> bytes:
    """The key of a brand's own mask. Guarantee: as that of ``self_mask``."""
    return profile.derive(self_mask, sid, b"self mask", MASK)


def escrow_key(root: bytes, sid: bytes, profile: Profile) -> bytes:
    """Seals the keys of a brand's masks for the case that it drops out. Guarantee: as ``root``."""
    return profile.derive(root, sid, b"escrow")


def accept(
    session: Session, raw: bytes, index: int, terms: Terms
) -> tuple[Session, dict[int, bytes]]:
    """Step 2: check everyone's adverts and agree on keys with the neighbours.

    Returns:
        The next session, and for each neighbour the key to seal for it.

    Raises:
        Refused: an own entry altered, too few brands, a key twice, unsigned or of low order.
        ValueError: malformed.

    Guarantee: every neighbour's key was signed by its pinned identity for exactly this round.
    """
    profile, roster, sid = terms.rules.algorithms, terms.roster, session.sid
    records = unpack(raw, Advert.size(profile.hybrid))
    if records.get(index) != session.advert:
        raise Refused(Code.OWN_ENTRY)
    if max(records) >= len(roster.names):
        raise Refused(Code.UNKNOWN_ROSTER)
    if len(records) < terms.rules.min_brands:
        raise Refused(Code.TOO_FEW)
    if len({record[:KEY] for record in records.values()}) != len(records):
        raise Refused(Code.DUPLICATE_KEY)
    h1 = view("adverts", sid, raw)
    near = terms.neighbours(list(records), h1, [index])[index]

    def is_signed(j: int) -> bool:
        keys, signature = records[j][:-SIGNATURE], records[j][-SIGNATURE:]
        return terms.signed(j, sid, advert_message(sid, j, keys), signature)

    if not terms.vouched(sid, h1, near, is_signed):
        raise Refused(Code.BAD_SIGNATURE)
    masks, seals, opens = {}, {}, {}
    known = terms.once(sid, ("pairs", h1), dict[tuple[int, int], tuple[bytes, bytes, bytes]])
    for j in near:
        pair = (index, j) if index < j else (j, index)  # whose public keys h1 binds
        if pair not in known:
            known[pair] = _agreed(session, records[j][:KEY], h1, *pair, terms)
        if index < j:
            masks[j], seals[j], opens[j] = known[pair]
        else:
            masks[j], opens[j], seals[j] = known[pair]
    masks[index] = self_key(session.self_mask, sid, profile)
    agreed = session._replace(
        stage=SHARED,
        private=b"",
        h1=h1,
        everyone=pack_members(records),
        neighbours=pack_members(near),
        threshold=terms.threshold(len(records), len(near)),
        masks=pack(masks),
        opens=pack(opens) if terms.rules.recovers else b"",  # else nothing is sealed
    )
    return agreed, seals


def _agreed(
    session: Session, public: bytes, h1: bytes, low: int, high: int, terms: Terms
) -> tuple[bytes, bytes, bytes]:
    """The keys of :func:`pair_keys` with the owner of ``public``."""
    raw, sid = session.private, session.sid
    key = terms.once(sid, ("private", raw), lambda: key_of(raw))
    shared = agree(key, public)
    if shared is None:
        raise Refused(Code.WEAK_KEY)
    return pair_keys(shared, sid, h1, low, high, terms.rules.algorithms)


def deal(
    session: Session, raw: bytes, seals: dict[int, bytes], index: int, terms: Terms
) -> tuple[Session, dict[str, bytes]]:
    """Step 3: for each neighbour, a sealed share of the self mask's key and one of the root.

    Args:
        raw: the adverts.
        seals: of :func:`accept`.

    Guarantee: fewer than ``threshold`` neighbours together learn nothing of either.
    """
    profile, sid, near = terms.rules.algorithms, session.sid, list(seals)
    points = [j + 1 for j in near]
    needed = min(session.threshold, len(near))  # a brand holds no share of its own
    own = shamir.split(session.self_mask, needed, points)
    root = shamir.split(session.root, needed, points)
    masks = unpack(session.masks, MASK)
    blobs: dict[str, bytes] = {}
    if profile.hybrid:
        masks, seals, blobs = hybrid.encapsulated(masks, seals, raw, sid, index, profile)
    sealed = {
        j: profile.seal(seals[j], own[j + 1] + root[j + 1], header(session, index, j)) for j in near
    }
    escrow = pack({j: masks[j] for j in near})
    dealt = session._replace(masks=pack(masks)) if profile.hybrid else session
    return dealt, {
        "shares": pack(sealed),
        "escrow": profile.seal(escrow_key(session.root, sid, profile), escrow, sid),
        **blobs,
    }


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
    profile, members = terms.rules.algorithms, set(unpack_members(blobs["members"]))
    present = [j for j in unpack_members(session.neighbours) if j in members]
    if index not in members:
        raise Refused(Code.OWN_ENTRY)
    if blobs["members"] != session.everyone and not members <= {*unpack_members(session.everyone)}:
        raise Refused(Code.UNKNOWN_ROSTER)
    if len(members) < terms.rules.min_brands or len(present) + 1 < session.threshold:
        raise Refused(Code.TOO_FEW)
    sealed, masks, opens = (
        unpack(blobs["shares"], SEALED),
        unpack(session.masks, MASK),
        unpack(session.opens, KEY),
    )
    if list(sealed) != present:
        raise Refused(Code.BAD_SHARE)
    same = not profile.hybrid and len(masks) == len(present) + 1
    if profile.hybrid:
        masks, opens = hybrid.decapsulated(masks, opens, blobs, present, session, index, profile)
    shares = {}
    for j in present:
        opened = profile.open(opens[j], sealed[j], header(session, j, index))
        if opened is None:
            raise Refused(Code.BAD_SHARE)
        shares[j] = opened
    return session._replace(
        stage=ADMITTED,
        members=blobs["members"],
        h2=view("members", session.sid, session.h1, blobs["members"]),
        masks=session.masks if same else pack({j: masks[j] for j in (*present, index)}),
        shares=pack(shares),
        opens=b"",
    )


def header(session: Session, giver: int, to: int) -> bytes:
    """What a sealed share is bound to. Guarantee: round, list of adverts and direction."""
    return session.sid + session.h1 + _numbers(giver, to)


def _numbers(i: int, j: int) -> bytes:
    return i.to_bytes(2, "big") + j.to_bytes(2, "big")
