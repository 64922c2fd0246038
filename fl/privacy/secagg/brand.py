"""A brand's half of BrandAgg, message by message. It remembers nothing; ``memory`` does.

====  =============================  ================================  =========================
step  the coordinator sends          the brand checks                  the brand replies
====  =============================  ================================  =========================
0-1   ``open``: what the round is    plan, roster, never opened        fresh public keys, signed
      about; sums of past rounds;    before; follows the past sums;
      how far its ledger was seen    its ledger was there
2-3   ``keys``: all adverts          signatures, own entry, no key     sealed shares
                                     twice; enough brands and entries
4-5   ``train``: shares, the model   all shares open; the model is     the masked update, its
                                     the one that follows              hash signed
6-7   ``survivors``: who sent        signed hashes, enough, the first  consent, signed
                                     such list of the round
8-9   ``unmask``: consents           enough, all on this list          shares of survivors' self
                                                                       masks, of others' roots
====  =============================  ================================  =========================

In mode ``retry`` there are no shares: ``train`` carries the adverts, and ``unmask`` the survivors,
who must be all that advertised; the brand then hands out its own mask's key. It does so in one
attempt of a round only, so a coordinator who pretends that a brand dropped out cannot subtract two
attempts from each other (all attempts of a round carry the same encoding, noise included).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from fl import arrays
from fl.arrays import Arrays
from fl.contracts import Memory, NodeId, Reply, Request, Update, Witness
from fl.errors import Code, Refused
from fl.privacy.secagg import chain, fixedpoint, keys, peers, tag, views, wire
from fl.privacy.secagg.follow import Follow
from fl.privacy.secagg.identity import HASH, Identity
from fl.privacy.secagg.masks import MASK, THREADS, Ring
from fl.privacy.secagg.peers import Peers
from fl.privacy.secagg.seal import seal
from fl.privacy.secagg.session import (
    ADMITTED,
    ADVERTISED,
    ANSWERED,
    CONSENTED,
    MASKED,
    SHARED,
    Session,
    load,
    save,
)
from fl.privacy.secagg.terms import Terms
from fl.privacy.secagg.transcript import masked_message
from fl.privacy.secagg.wire import Round, blob, unpack, view, whole


@dataclass(frozen=True, slots=True)
class BrandHalf:
    """One brand in one run.

    Attributes:
        name: the brand's id, on the roster.
        identity: its signing key.
        terms: roster and plan this brand's operator has approved.
        follow: how the coordinator's steps are recomputed.
        first: the coordinator's state before the first round, as pinned by the plan.
        federation_key: 32 bytes that the brands share and the coordinator does not know.
        witness: the brand's ledger: its mark travels, refusals are written into it.
        peers: how far the other brands' ledgers had come before this run.
        threads: for large vectors.

    Guarantee: what leaves is uniformly random to a coordinator, until it has shown the same list of
    survivors to enough brands; then it learns the sum over that list and no more. See
    ``fl/privacy/secagg/__init__.py`` for how many brands may collude with it.
    """

    name: NodeId
    identity: Identity = field(repr=False)
    terms: Terms
    follow: Follow
    first: Arrays = field(repr=False)
    federation_key: bytes = field(repr=False)
    witness: Witness = field(default_factory=Witness)
    peers: Peers = field(default_factory=Peers)
    threads: int = THREADS

    @property
    def index(self) -> int:
        """This brand's number. Guarantee: public."""
        return self.terms.roster.index[self.name]

    def answer(self, request: Request, memory: Memory) -> Reply | None:
        """One step; None once all checks of step 4 have passed and the data may be touched.

        Raises:
            Refused: with the code; ``witness`` has been given the request.

        Guarantee: the request's every part was checked before ``memory`` or the data was used.
        """
        try:
            return self._step(request, memory)
        except Refused as refusal:
            self.witness.refuse(wire.evidence(request), refusal.code)
            raise
        except ValueError as error:
            self.witness.refuse(wire.evidence(request), Code.BAD_REQUEST)
            raise Refused(Code.BAD_REQUEST) from error

    def protect(self, request: Request, update: Update, memory: Memory) -> Reply:
        """Step 5: the update under masks.

        Raises:
            Refused: nothing was admitted, or the update is not finite, too large, or of other
                shapes than the round's.

        Guarantee: the reply is uniform to who lacks this brand's keys (of ``masks.add_masks``).
        """
        session = load(memory)
        try:
            if session.stage != ADMITTED:
                raise Refused(Code.OUT_OF_ORDER)
            if fixedpoint.layout(update.sums) != session.layout:
                raise Refused(Code.MALFORMED)
            bits, most = self.terms.rules.scale_bits, self.terms.most
            vector = fixedpoint.encode(update, bits, most, self.threads)
        except Refused as refusal:
            self.witness.refuse(wire.evidence(request), refusal.code)
            raise
        if not self.terms.rules.recovers:
            memory.protocol["encoding"] = session.occasion + vector.tobytes()
        return self._mask(session, vector, memory)

    def _step(self, request: Request, memory: Memory) -> Reply | None:
        session, shares = load(memory), self.terms.rules.recovers
        match request.config.get(wire.STEP):
            case wire.OPEN:
                return self._open(request, session, memory)
            case wire.KEYS if shares:
                return self._keys(request, session, memory)
            case wire.TRAIN:
                return self._admit(request, session, memory)
            case wire.SURVIVORS if shares:
                return self._consent(request, session, memory)
            case wire.UNMASK:
                return self._unmask(request, session, memory)
        raise Refused(Code.UNPROTECTED)

    def _open(self, request: Request, session: Session, memory: Memory) -> Reply:
        """Step 0: only what was approved, and never twice."""
        terms, config = self.terms, request.config
        if blob(config, "roster") != terms.roster.hash:
            raise Refused(Code.UNKNOWN_ROSTER)
        if blob(config, "plan") != terms.plan.hash:
            raise Refused(Code.UNKNOWN_PLAN)
        if not self.witness.reaches(wire.unpacked(blob(config, "mark", wire.MARK))):
            raise Refused(Code.LEDGER_SET_BACK)
        place = chain.catch_up(
            request,
            memory,
            session,
            chain.Guide(terms, self.follow, self.first, self.federation_key, self.threads),
        )
        now = (whole(config, "sequence"), whole(config, "attempt"))
        most = 1 if terms.rules.recovers else terms.rules.max_attempts
        opened_before = now <= (place.opened, place.attempt) or now[0] <= place.sequence
        if opened_before or not 1 <= now[1] <= most:
            raise Refused(Code.REPLAYED)
        if session.stage == ANSWERED and session.sequence == now[0]:
            raise Refused(Code.ANSWERED)
        if blob(config, "previous") != place.root:
            raise Refused(Code.MODEL_MISMATCH)
        opened = self._session(request, now, place.root)
        opened = keys.fresh(opened, self.index, self.witness.mark(), self.identity, terms)
        if session.sequence != now[0]:
            memory.protocol.pop("encoding", None)
        chain.save(replace(place, opened=now[0], attempt=now[1]), memory)
        save(opened, memory)
        return Reply(Code.OK, {}, {"advert": opened.advert})

    def _session(self, request: Request, now: tuple[int, int], root: bytes) -> Session:
        terms, config = self.terms, request.config
        about = Round(
            terms.roster.hash,
            terms.plan.hash,
            terms.run,
            *now,
            request.kind,
            request.number,
            blob(config, "model", HASH),
            blob(config, "layout", HASH),
            root,
        )
        found = Session(*now, about.number, kind=about.kind, stage=ADVERTISED)
        return found._replace(sid=about.sid, model=about.model, layout=about.layout)

    def _keys(self, request: Request, session: Session, memory: Memory) -> Reply:
        """Steps 2-3."""
        self._expect(request, session, ADVERTISED)
        raw = blob(request.config, "adverts")
        agreed, seals = keys.accept(session, raw, self.index, self.terms)
        peers.check(agreed, raw, memory, self.peers, self.terms)
        dealt, blobs = keys.deal(agreed, raw, seals, self.index, self.terms)
        save(dealt, memory)
        return Reply(Code.OK, {}, blobs)

    def _admit(self, request: Request, session: Session, memory: Memory) -> Reply | None:
        """Step 4: the last checks before the data is touched."""
        if self.terms.rules.recovers:
            self._expect(request, session, SHARED)
            hybrid = ("channel_kem", "mask_kem") if self.terms.rules.algorithms.hybrid else ()
            blobs = {k: blob(request.config, k) for k in ("members", "shares", *hybrid)}
            ready = keys.receive(session, blobs, self.index, self.terms)
        else:
            self._expect(request, session, ADVERTISED)
            raw = blob(request.config, "adverts")
            ready, _ = keys.accept(session, raw, self.index, self.terms)
            peers.check(ready, raw, memory, self.peers, self.terms)
            h2 = view("members", ready.sid, ready.h1, ready.everyone)
            ready = ready._replace(stage=ADMITTED, members=ready.everyone, h2=h2)
        self._check_model(request, session, memory)
        cached = memory.protocol.get("encoding", b"")
        if cached and cached.startswith(ready.occasion):
            return self._mask(ready, np.frombuffer(cached[HASH:], "<u4").copy(), memory)
        save(ready, memory)
        return None

    def _check_model(self, request: Request, session: Session, memory: Memory) -> None:
        """The arrays are those that follow from the sums that the round's keys are bound to."""

        def follows() -> tuple[Arrays, bytes]:
            state = chain.state(memory, self.first)
            zero = self.follow.zero(session.kind, state)
            return self.follow.broadcast(session.kind, state), fixedpoint.layout(zero)

        try:  # the context binds the transcript's root, and the root all sums behind the state
            expected, layout = self.terms.once(session.sid, "what follows", follows)
        except KeyError as error:
            raise Refused(Code.UNKNOWN_REQUEST) from error
        same = arrays.same_shape(request.arrays, expected) and all(
            bool((request.arrays[n] == expected[n]).all()) for n in expected
        )
        if not same or layout != session.layout:
            raise Refused(Code.MODEL_MISMATCH)

    def _mask(self, session: Session, vector: Ring, memory: Memory) -> Reply:
        """Step 5: ``y_i = x_i + PRG(b_i) + sum_j (+ if i < j else -) PRG(s_ij)``."""
        profile, me, sid = self.terms.rules.algorithms, self.index, session.sid
        masks = unpack(session.masks, MASK)
        plus = [key for j, key in masks.items() if j >= me]
        minus = [key for j, key in masks.items() if j < me]
        own, y = seal(vector, plus, minus, self._weights(sid, len(vector)), profile, self.threads)
        sealed = tag.add(own, tag.mask(plus, minus)).to_bytes(tag.SIZE, "little")
        done = session._replace(stage=MASKED, y=y, masks=b"", root=b"", kem=b"")
        save(done, memory)
        signature = self.terms.sign(self.identity, sid, masked_message(sid, session.h2, y))
        vector.flags.writeable = False
        self.terms.once(sid, ("y", me), lambda: (vector, y))
        return Reply(Code.OK, {"y": vector}, {"signature": signature, "tag": sealed})

    def _weights(self, sid: bytes, size: int) -> tag.Weights:
        key, profile = self.federation_key, self.terms.rules.algorithms
        return self.terms.once(
            sid, ("weights", key, size), lambda: tag.weights(key, sid, profile, size)
        )

    def _consent(self, request: Request, session: Session, memory: Memory) -> Reply:
        """Steps 6-7: one list of survivors in a round, whatever is asked later."""
        raw = blob(request.config, "survivors")
        if session.stage in (CONSENTED, ANSWERED):
            same = view("survivors", session.sid, raw) == session.h3
            raise Refused(Code.OUT_OF_ORDER if same else Code.BOTH_SHARES)
        self._expect(request, session, MASKED)
        seen, signature = views.survivors(session, raw, self.index, self.identity, self.terms)
        save(seen, memory)
        return Reply(Code.OK, {}, {"consent": signature})

    def _unmask(self, request: Request, session: Session, memory: Memory) -> Reply:
        """Steps 8-9: for each neighbour one kind of share, once."""
        if session.stage == ANSWERED:
            raise Refused(Code.ANSWERED)
        handed: dict[str, bytes] = {"own": session.self_mask}
        if self.terms.rules.recovers:
            self._expect(request, session, CONSENTED)
            views.consents(session, blob(request.config, "consents"), self.index, self.terms)
            handed |= views.handed_out(session)
        else:
            self._expect(request, session, MASKED)
            raw = blob(request.config, "survivors")
            session, signature = views.survivors(
                session, raw, self.index, self.identity, self.terms
            )
            handed["consent"] = signature
            memory.protocol.pop("encoding", None)
        save(session.answered(), memory)
        return Reply(Code.OK, {}, handed)

    def _expect(self, request: Request, session: Session, stage: str) -> None:
        same = (request.kind, request.number) == (session.kind, session.number)
        if session.stage != stage or not same:
            raise Refused(Code.OUT_OF_ORDER)
