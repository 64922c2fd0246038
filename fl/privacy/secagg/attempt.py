"""One attempt of one round at the coordinator: the trips of ``brand.py``, top to bottom.

A brand that does not answer, refuses or answers nonsense is absent from there on, with a code; the
attempt goes on while enough are left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from fl.arrays import Arrays
from fl.contracts import Federation, Mark, NodeId, Reply, Request, Scalar
from fl.errors import Code, Refused
from fl.privacy.secagg import fixedpoint, keys, peers, received, tag, transcript, wire
from fl.privacy.secagg.identity import SIGNATURE
from fl.privacy.secagg.masks import MASK, Ring, hash_of
from fl.privacy.secagg.profiles import KEM_CIPHERTEXT, TAG
from fl.privacy.secagg.shamir import SECRET, SHARE
from fl.privacy.secagg.terms import Terms
from fl.privacy.secagg.unmask import Entrusted, Gathered, Handed, unmask
from fl.privacy.secagg.wire import Advert, Round, blob, pack, pack_members, unpack, view

Results = Callable[[NodeId], tuple[Mapping[str, Ring], Mapping[str, str]]]


@dataclass(slots=True)
class Attempt:
    """What the coordinator learns step by step.

    Attributes:
        terms, about, request, federation: what is asked, of whom.
        length, threads: of vectors: how many entries; for large ones.
        marks: how far the brands' ledgers had come, by identity key; kept up to date.
        absent: why a brand is out.
        followed: who has taken up the past results.
        adverts: U1, by number; ``raw`` the same packed, ``h1`` its hash.
        near: the neighbours in it.
        shares: what U2 sent for its neighbours.
        survivors: U3: hash of the masked vector and signature.
        consents: signatures on the list of survivors.
        liars: who gave a wrong share.
        tag: of the sum, masked until the masks are off.
    """

    terms: Terms
    about: Round
    request: Request
    federation: Federation
    length: int
    threads: int
    marks: dict[bytes, Mark]
    absent: dict[NodeId, Code] = field(default_factory=dict)
    followed: list[NodeId] = field(default_factory=list)
    adverts: dict[int, Advert] = field(default_factory=dict)
    raw: bytes = b""
    h1: bytes = b""
    near: dict[int, list[int]] = field(default_factory=dict)
    shares: dict[int, Entrusted] = field(default_factory=dict)
    members: list[int] = field(default_factory=list)
    survivors: dict[int, bytes] = field(default_factory=dict)
    consents: dict[int, bytes] = field(default_factory=dict)
    liars: set[int] = field(default_factory=set)
    tag: int = 0

    def run(self, nodes: list[NodeId], results: Results) -> Ring | Code:
        """The sum of the survivors' vectors, or why there is none.

        Guarantee: of ``CoordinatorHalf.collect``.
        """
        try:
            self._open(nodes, results)  # 0-1
            if self.terms.rules.recovers:
                self._exchange()  # 2-3
            total = self._train()  # 4-5
            if self.terms.rules.recovers:
                self._agree()  # 6-7
            gathered = self._gather()  # 8-9
            self.tag = tag.add(self.tag, unmask(total, gathered, self.terms, self.threads))
        except Refused as failure:
            return failure.code
        bound = len(self.survivors) * self.terms.most
        return total if fixedpoint.within(total, bound) else Code.OUT_OF_RANGE

    def line(self, outcome: Ring | Code) -> dict[str, object]:
        """The transcript's line, not yet signed. Guarantee: public; no key, no vector."""
        about, names = self.about, self.terms.roster.names
        failed = isinstance(outcome, Code)
        return {
            **{k: getattr(about, k) for k in ("sequence", "attempt", "kind", "number")},
            **{k: getattr(about, k).hex() for k in ("model", "layout", "previous")},
            "adverts": self.raw.hex(),
            "members": pack_members(self.members).hex(),
            "survivors": pack(self.survivors).hex(),
            "consents": pack(self.consents).hex(),
            "brands": [] if failed else [names[i] for i in self.survivors],
            "absent": {node: str(code) for node, code in self.absent.items()},
            "wrong_shares": [names[i] for i in sorted(self.liars)],
            "outcome": str(outcome) if failed else "ok",
            "sum": "" if isinstance(outcome, Code) else hash_of(outcome, self.threads).hex(),
            "tag": "" if failed else self.tag.to_bytes(tag.SIZE, "little").hex(),
        }

    def _open(self, nodes: list[NodeId], results: Results) -> None:
        about, terms, index = self.about, self.terms, self.terms.roster.index
        told = ("roster", "plan", "sequence", "attempt", "model", "layout", "previous")
        config: dict[str, Scalar] = {k: getattr(about, k) for k in told}
        self.absent |= {n: Code.UNKNOWN_ROSTER for n in nodes if n not in index}
        brands = [index[n] for n in nodes if n in index]
        past = {i: results(terms.roster.names[i]) for i in brands}
        replies = self._ask(
            wire.OPEN,
            brands,
            lambda i: {**config, "mark": peers.told(self.marks, terms.roster.key(i)), **past[i][1]},
            lambda i: past[i][0],
        )
        hybrid, seen, records = terms.rules.algorithms.hybrid, set[bytes](), dict[int, bytes]()

        def advert(i: int, reply: Reply) -> None:
            self.followed.append(terms.roster.names[i])
            record = blob(reply.config, "advert", Advert.size(hybrid))
            made = Advert.parse(i, record, hybrid)
            if not terms.signed(i, about.sid, made.message(about.sid), made.signature):
                raise Refused(Code.BAD_SIGNATURE)
            if made.key in seen:
                raise Refused(Code.DUPLICATE_KEY)
            peers.take(self.marks, terms.roster.key(i), made.mark)
            seen.add(made.key)
            records[i], self.adverts[i] = record, made

        self._take(replies, advert)
        self.raw = pack(records)
        self.h1 = view("adverts", about.sid, self.raw)
        self._enough(self.adverts)
        self.near = terms.neighbours(list(records), self.h1)

    def _exchange(self) -> None:
        hybrid = self.terms.rules.algorithms.hybrid
        replies = self._ask(wire.KEYS, self.adverts, lambda i: {"adverts": self.raw})

        def entrust(i: int, reply: Reply) -> None:
            sealed = unpack(blob(reply.config, "shares"), keys.SEALED)
            if list(sealed) != self.near[i]:
                raise ValueError("Expected a share for each neighbour.")
            escrow = blob(reply.config, "escrow", TAG + (2 + MASK) * len(sealed))
            if not hybrid:
                self.shares[i] = Entrusted(sealed, escrow)
                return
            channel = unpack(blob(reply.config, "channel_kem"), KEM_CIPHERTEXT)
            mask = unpack(blob(reply.config, "mask_kem"), KEM_CIPHERTEXT)
            if list(channel) != self.near[i] or list(mask) != [j for j in self.near[i] if j > i]:
                raise ValueError("Expected a ciphertext for each neighbour.")
            self.shares[i] = Entrusted(sealed, escrow, channel, mask)

        self._take(replies, entrust)
        self._enough(self.shares)

    def _train(self) -> Ring:
        recovers = self.terms.rules.recovers
        self.members = sorted(self.shares) if recovers else list(self.adverts)
        replies = self._ask(
            wire.TRAIN,
            self.members,
            self._forwarded() if recovers else lambda i: {"adverts": self.raw},
            lambda i: self.request.arrays,
        )
        sid = self.about.sid
        h2 = view("members", sid, self.h1, pack_members(self.members))
        sent = received.vectors(replies, self.length, self.terms, sid, self.threads)
        total: Ring = np.zeros(self.length, "<u4")

        def add(i: int, reply: Reply) -> None:
            vector, y = sent[i]
            signature = blob(reply.config, "signature", SIGNATURE)
            sealed = blob(reply.config, "tag", tag.SIZE)
            if vector is None:
                raise ValueError("Expected a vector of the ring.")
            message = transcript.masked_message(sid, h2, y)
            if not self.terms.signed(i, sid, message, signature):
                raise Refused(Code.BAD_SIGNATURE)
            np.add(total, vector, out=total)
            self.tag = tag.add(self.tag, int.from_bytes(sealed, "little"))
            self.survivors[i] = y + signature

        self._take(replies, add)
        self._enough(self.survivors)
        if not recovers and len(self.survivors) < len(self.members):
            raise Refused(Code.TOO_FEW)
        return total

    def _forwarded(self) -> Callable[[int], dict[str, Scalar]]:
        members, hybrid = pack_members(self.members), self.terms.rules.algorithms.hybrid

        def blobs(to: int) -> dict[str, Scalar]:
            givers = [i for i in self.near[to] if i in self.shares]
            found: dict[str, Scalar] = {
                "members": members,
                "shares": pack({i: self.shares[i].sealed[to] for i in givers}),
            }
            if hybrid:
                lower = [i for i in givers if i < to]
                found["channel_kem"] = pack({i: self.shares[i].channel[to] for i in givers})
                found["mask_kem"] = pack({i: self.shares[i].mask[to] for i in lower})
            return found

        return blobs

    def _agree(self) -> None:
        raw = pack(self.survivors)
        replies = self._ask(wire.SURVIVORS, self.survivors, lambda i: {"survivors": raw})
        agreed = self._agreed(raw)
        self._take(replies, lambda i, reply: self._consented(i, reply, agreed))
        self._enough(self.consents)

    def _agreed(self, raw: bytes) -> bytes:
        h3 = view("survivors", self.about.sid, raw)
        return transcript.consent_message(self.about.sid, h3)

    def _consented(self, i: int, reply: Reply, message: bytes) -> None:
        signature = blob(reply.config, "consent", SIGNATURE)
        if not self.terms.signed(i, self.about.sid, message, signature):
            raise Refused(Code.BAD_SIGNATURE)
        self.consents[i] = signature

    def _gather(self) -> Gathered:
        """Ask everyone left for what takes the masks off."""
        raw, recovers = pack(self.survivors), self.terms.rules.recovers
        asked = self.consents if recovers else self.survivors
        replies = self._ask(
            wire.UNMASK, asked, self._enough_consents if recovers else lambda i: {"survivors": raw}
        )
        handed: dict[int, Handed] = {}
        agreed = self._agreed(raw)

        def take(i: int, reply: Reply) -> None:
            own = blob(reply.config, "own", SECRET)
            if not recovers:
                self._consented(i, reply, agreed)
                handed[i] = Handed(own)
                return
            alive = unpack(blob(reply.config, "self"), SHARE)
            lost = unpack(blob(reply.config, "pair"), SHARE)
            handed[i] = Handed(own, alive, lost)

        self._take(replies, take)
        members, survivors = set(self.members), set(self.survivors)
        return Gathered(
            self.about.sid,
            self.adverts,
            self.near,
            self.shares,
            survivors,
            members - survivors,
            handed,
            self.liars,
        )

    def _enough_consents(self, to: int) -> dict[str, Scalar]:
        near = [i for i in sorted({to, *self.near[to]}) if i in self.consents]
        needed = self.terms.threshold(len(self.adverts), len(self.near[to]))
        return {"consents": pack({i: self.consents[i] for i in near[:needed]})}

    def _ask(
        self,
        step: str,
        brands: Iterable[int],
        config: Callable[[int], Mapping[str, Scalar]],
        content: Callable[[int], Arrays] = lambda i: {},
    ) -> dict[int, Reply]:
        """One trip; who does not reply ``OK`` is absent from now on."""
        names, of = self.terms.roster.names, self.request
        requests = {
            names[i]: Request(
                of.kind, of.number, content(i), {**of.config, wire.STEP: step, **config(i)}
            )
            for i in brands
        }
        replies = self.federation.ask(requests)
        for node in requests:
            reply = replies.get(node)
            if reply is None or reply.code is not Code.OK:
                self.absent[node] = Code.SILENT if reply is None else reply.code
        index = self.terms.roster.index
        return {index[n]: replies[n] for n in sorted(requests) if n not in self.absent}

    def _take(self, replies: Mapping[int, Reply], use: Callable[[int, Reply], None]) -> None:
        """Use each reply; who sent nonsense is absent from now on."""
        for i, reply in replies.items():
            try:
                use(i, reply)
            except Refused as refusal:
                self.absent[self.terms.roster.names[i]] = refusal.code
            except ValueError:
                self.absent[self.terms.roster.names[i]] = Code.MALFORMED

    def _enough(self, left: Mapping[int, object]) -> None:
        if len(left) < self.terms.rules.min_brands:
            raise Refused(Code.TOO_FEW)
