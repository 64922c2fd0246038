"""A small federation under BrandAgg, and a coordinator worked by hand so that it can cheat.

Every message meets a new :class:`Memory` made from stored bytes, as a new process would.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np

from fl import arrays
from fl.algorithms.fedavg import FedAvg
from fl.arrays import Arrays
from fl.contracts import Collected, Memory, Reply, Request, Update, Witness
from fl.errors import Code, Refused
from fl.federation.inprocess import InProcessFederation
from fl.privacy.none import NoPrivacy
from fl.privacy.secagg import BrandAgg, fixedpoint, keys, session, wire
from fl.privacy.secagg.enrol import simulate
from fl.privacy.secagg.identity import HASH, SIGNATURE
from fl.privacy.secagg.wire import Advert, Round, pack, pack_members, unpack

SHAPES: Arrays = {"b": np.zeros(()), "w": np.zeros((3, 4))}
STEPS = (wire.OPEN, wire.KEYS, wire.TRAIN, wire.SURVIVORS, wire.UNMASK)
Meddle = Callable[[str, str, Request], Request]


class World:
    """Brands ``b0``, ``b1``, ...; brand ``i`` sends entries of about ``i``, weight 1."""

    def __init__(self, brands: int = 5, first: Arrays = SHAPES, **rules: object) -> None:
        self.names = [f"b{i:03d}" for i in range(brands)]
        self.algorithm = FedAvg()
        self.state: Arrays = self.algorithm.init(first)
        self.lines: list[str] = []
        self.rules = BrandAgg(**{"min_brands": 3, **rules})  # type: ignore[arg-type]
        self.coordinator, self.halves = simulate(
            self.rules,
            self.names,
            algorithms={"train": self.algorithm},
            plan=NoPrivacy("none", "equal"),
            first=self.state,
            record=self.lines.append,
        )
        self.stored: dict[str, dict[str, bytes]] = {name: {} for name in self.names}
        self.refusals: list[tuple[str, bytes, Code]] = []
        self.touched: Counter[str] = Counter()
        self.sent: list[tuple[str, str, Request, Reply]] = []
        self.updates = {
            name: Update({n: np.full(a.shape, i + 0.25) for n, a in first.items()}, 1.0)
            for i, name in enumerate(self.names)
        }
        for name in self.names:
            self.watch(name)

    def watch(self, name: str) -> None:
        """Record refusals of one brand."""
        from dataclasses import replace

        half = self.halves[name]
        self.halves[name] = replace(
            half,
            witness=Witness(refuse=lambda what, code: self.refusals.append((name, what, code))),
        )

    # ------------------------------------------------------------------ one brand

    def handle(self, name: str, request: Request) -> Reply:
        """What a node does: answer, or touch the data and protect; a refusal is a code."""
        memory = Memory(protocol=dict(self.stored[name]))
        half = self.halves[name]
        try:
            reply = half.answer(request, memory)
            if reply is None:
                self.stored[name] = dict(memory.protocol)
                memory = Memory(protocol=dict(self.stored[name]))
                self.touched[name] += 1
                reply = half.protect(request, self.updates[name], memory)
        except Refused as refusal:
            reply = Reply(refusal.code)
        self.stored[name] = dict(memory.protocol)
        self.sent.append((name, str(request.config.get(wire.STEP)), request, reply))
        return reply

    def session(self, name: str) -> session.Session:
        """What a brand remembers of the round."""
        return session.load(Memory(protocol=self.stored[name]))

    def masked(self, name: str) -> bool:
        """Whether a brand has ever let a masked vector out."""
        return any(who == name and "y" in reply.arrays for who, _, _, reply in self.sent)

    # ------------------------------------------------- the real coordinator

    def collect(
        self,
        lost: dict[str, str] | None = None,
        meddle: Meddle | None = None,
        number: int | None = None,
    ) -> Collected:
        """One round of the real coordinator; ``lost`` says at which step a brand falls silent.

        It stays silent for the rest of the round (all attempts).
        """
        gone, silent = lost or {}, set[str]()

        def handler(name: str) -> Callable[[Request], Reply]:
            def handle(request: Request) -> Reply:
                step = str(request.config[wire.STEP])
                if name in gone and STEPS.index(step) >= STEPS.index(gone[name]):
                    silent.add(name)
                if name in silent:
                    raise ConnectionError("lost")
                return self.handle(name, meddle(name, step, request) if meddle else request)

            return handle

        federation = InProcessFederation({name: handler(name) for name in self.names})
        broadcast = self.algorithm.broadcast(self.state)
        at = number or self.coordinator.log.sequence + 1
        requests = {name: Request("train", at, broadcast) for name in self.names}
        done = self.coordinator.collect(federation, requests, self.algorithm.zero(self.state))
        if done.survivors:
            mean = arrays.scale(done.total.sums, 1 / done.total.weight)
            self.state = self.algorithm.apply(self.state, mean)
        return done

    def expected(self, survivors: Iterable[str]) -> tuple[Arrays, float]:
        """The sum of encodings, added as integers."""
        most = self.coordinator.terms.most
        vectors = [
            fixedpoint.encode(self.updates[n], self.rules.scale_bits, most) for n in survivors
        ]
        total = np.sum([v.view(np.int32).astype(np.int64) for v in vectors], axis=0)
        assert abs(total).max() < 2**31
        update = fixedpoint.decode(total.astype(np.uint32), self.state, self.rules.scale_bits)
        return update.sums, update.weight


class Cheat:
    """A coordinator worked by hand, honest unless a test changes what it shows to whom."""

    def __init__(self, world: World) -> None:
        self.world, self.terms = world, world.coordinator.terms
        self.index = self.terms.roster.index
        self.model = world.algorithm.broadcast(world.state)
        self.hybrid = self.terms.rules.algorithms.hybrid
        self.adverts: dict[int, bytes] = {}
        self.sealed: dict[int, dict[int, bytes]] = {}
        self.vectors: dict[int, np.ndarray] = {}
        self.ys: dict[int, bytes] = {}
        self.consents: dict[int, bytes] = {}

    def send(
        self, name: str, step: str, content: Arrays | None = None, number: int = 1, **config: object
    ) -> Reply:
        scalars = {wire.STEP: step, **config}
        return self.world.handle(name, Request("train", number, content or {}, scalars))  # type: ignore[arg-type]

    def opening(self, **changes: object) -> dict[str, object]:
        return {
            "roster": self.terms.roster.hash,
            "plan": self.terms.plan.hash,
            "sequence": 1,
            "attempt": 1,
            "model": bytes.fromhex(arrays.digest(self.model)),
            "layout": fixedpoint.layout(self.world.state),
            "previous": self.terms.first_root,
            "mark": bytes(wire.MARK),
            **changes,
        }

    def open(self, **changes: object) -> dict[str, Reply]:
        replies = {n: self.send(n, wire.OPEN, **self.opening(**changes)) for n in self.world.names}
        for name, reply in replies.items():
            if reply.code is Code.OK:
                self.adverts[self.index[name]] = reply.config["advert"]  # type: ignore[assignment]
        return replies

    def keys(self, raw: bytes | None = None) -> dict[str, Reply]:
        blob = pack(self.adverts) if raw is None else raw
        replies = {n: self.send(n, wire.KEYS, adverts=blob) for n in self.world.names}
        for name, reply in replies.items():
            if reply.code is Code.OK:
                self.sealed[self.index[name]] = unpack(reply.config["shares"], keys.SEALED)  # type: ignore[arg-type]
        return replies

    def shares_for(self, name: str) -> bytes:
        me = self.index[name]
        return pack({i: sealed[me] for i, sealed in self.sealed.items() if i != me})

    def train(self, name: str, model: Arrays | None = None, shares: bytes | None = None) -> Reply:
        if self.terms.rules.recovers:
            config = {
                "members": pack_members(self.sealed),
                "shares": self.shares_for(name) if shares is None else shares,
            }
        else:
            config = {"adverts": pack(self.adverts)}
        reply = self.send(name, wire.TRAIN, self.model if model is None else model, **config)
        if reply.code is Code.OK:
            i = self.index[name]
            self.vectors[i] = np.asarray(reply.arrays["y"])
            y = self.world.session(name).y
            self.ys[i] = y + reply.config["signature"]  # type: ignore[operator]
        return reply

    def train_all(self) -> None:
        for name in self.world.names:
            assert self.train(name).code is Code.OK

    def show(self, name: str, survivors: Iterable[int] | None = None) -> Reply:
        shown = self.ys if survivors is None else {i: self.ys[i] for i in survivors}
        reply = self.send(name, wire.SURVIVORS, survivors=pack(shown))
        if reply.code is Code.OK:
            self.consents[self.index[name]] = reply.config["consent"]  # type: ignore[assignment]
        return reply

    def unmask(self, name: str) -> Reply:
        return self.send(name, wire.UNMASK, consents=pack(self.consents))

    def until_masked(self) -> Cheat:
        self.open()
        self.keys()
        self.train_all()
        return self

    def round(self) -> Round:
        o = self.opening()
        return Round(
            self.terms.roster.hash,
            self.terms.plan.hash,
            self.terms.run,
            1,
            1,
            "train",
            1,
            o["model"],  # type: ignore[arg-type]
            o["layout"],  # type: ignore[arg-type]
            self.terms.first_root,
        )

    def parsed(self) -> dict[int, Advert]:
        return {i: Advert.parse(i, r, self.hybrid) for i, r in self.adverts.items()}


RECORD = 2 + HASH + SIGNATURE


def flip(raw: bytes, at: int) -> bytes:
    """One bit changed."""
    changed = bytearray(raw)
    changed[at] ^= 1
    return bytes(changed)
