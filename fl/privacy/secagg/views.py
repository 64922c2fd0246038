"""A brand's checks of who survived: one list for all, signed by those on it, agreed by enough."""

from __future__ import annotations

from fl.errors import Code, Refused
from fl.privacy.secagg.identity import HASH, SIGNATURE, Identity
from fl.privacy.secagg.session import CONSENTED, Session
from fl.privacy.secagg.shamir import SHARE
from fl.privacy.secagg.terms import Terms
from fl.privacy.secagg.transcript import consent_message, masked_message
from fl.privacy.secagg.wire import pack, pack_members, unpack, unpack_members, view


def survivors(
    session: Session, raw: bytes, index: int, identity: Identity, terms: Terms
) -> tuple[Session, bytes]:
    """Steps 6-7: check the list and sign it.

    Args:
        raw: for each survivor, the hash of its masked vector and its signature of it.

    Raises:
        Refused: brands are too few, oneself is not on it as one was, or a signature is wrong.
        ValueError: malformed, or a brand on it twice.

    Guarantee: every neighbour on the list sent a masked vector of exactly this round, masked for
    the same members. Without shares (mode ``retry``) all members are on it.
    """
    records, members = unpack(raw, HASH + SIGNATURE), unpack_members(session.members)
    near = [j for j in unpack_members(session.neighbours) if j in records]
    if not records.keys() <= set(members):
        raise Refused(Code.UNKNOWN_ROSTER)
    if records.get(index, b"")[:HASH] != session.y:
        raise Refused(Code.OWN_ENTRY)
    too_few = len(records) < terms.rules.min_brands or len(near) + 1 < session.threshold
    if too_few or not (terms.rules.recovers or len(records) == len(members)):
        raise Refused(Code.TOO_FEW)
    h3 = view("survivors", session.sid, raw)

    def is_signed(j: int) -> bool:
        message = masked_message(session.sid, session.h2, records[j][:HASH])
        return terms.signed(j, session.sid, message, records[j][HASH:])

    if not terms.vouched(session.sid, session.h2 + h3, near, is_signed):
        raise Refused(Code.BAD_SIGNATURE)
    seen = session._replace(stage=CONSENTED, h3=h3, survivors=pack_members(records))
    return seen, terms.sign(identity, session.sid, consent_message(session.sid, h3))


def consents(session: Session, raw: bytes, index: int, terms: Terms) -> None:
    """Step 8: enough of the neighbourhood signed the very list this brand has signed.

    Raises:
        Refused: ``SPLIT_VIEW`` for a signature on anything else, ``TOO_FEW``.
        ValueError: malformed.

    Guarantee: no other list of this round can find as many consents, unless more than
    ``2t - m - 1`` of the neighbourhood's ``m`` brands are corrupt.
    """
    given = unpack(raw, SIGNATURE)
    allowed = {index, *unpack_members(session.neighbours)} & {*unpack_members(session.survivors)}
    message = consent_message(session.sid, session.h3)

    def is_signed(j: int) -> bool:
        return terms.signed(j, session.sid, message, given[j])

    shown = view("consents", session.sid, session.h3, raw)
    if not given.keys() <= allowed or not terms.vouched(session.sid, shown, list(given), is_signed):
        raise Refused(Code.SPLIT_VIEW)
    if len(given) < session.threshold:
        raise Refused(Code.TOO_FEW)


def handed_out(session: Session) -> dict[str, bytes]:
    """Step 9: of each neighbour's two shares, the one its fate calls for.

    Guarantee: never both of a neighbour; a survivor's pairwise masks and a lost brand's self mask
    stay unknown.
    """
    alive, shares = set(unpack_members(session.survivors)), unpack(session.shares, 2 * SHARE)
    own = {j: both[:SHARE] for j, both in shares.items() if j in alive}
    root = {j: both[SHARE:] for j, both in shares.items() if j not in alive}
    return {"self": pack(own), "pair": pack(root)}
