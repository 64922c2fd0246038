"""A node's whole behaviour towards its coordinator: one request in, one reply out, codes only.

``offer``   is this a run that the brand's policy allows? Then the brand's signature under it.
``begin``   all brands have signed: reserve the budget, read the data.
``finish``  the run is over: settle the budget, keep the model.
all others  a step of a round: ``clients/steps.py`` and ``clients/node.py``.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from clients import brand_data
from clients.brand_data import DataFolder
from clients.home import Home, NodeConfig, read_config
from clients.keys import load_identity, read_secret
from clients.memory import MemoryFile
from clients.node import BrandNode
from clients.offer import Offer, RunFiles, offer_of, signed_plan
from clients.refresh import accept_sizes, load_state
from clients.standing import FIGURES, load_policy, open_ledger
from clients.steps import step
from clients.waiting import Waiting
from fl.agreement import ending, replying
from fl.arrays import same_shape, to_bytes
from fl.audit.archive import course_of
from fl.contracts import NO_LEDGER, BrandSum, Mark, Reply, Request, Unit, Witness
from fl.data.examples import Made
from fl.data.intake import Asked
from fl.errors import Code, InputError, Refused
from fl.marks import MarksFile
from fl.privacy import PlainSum
from fl.privacy.admission import admit, turned_down
from fl.privacy.ledger import Ledger
from fl.privacy.secagg.enrol import join
from fl.privacy.secagg.identity import SignedPlan, signed
from fl.privacy.secagg.peers import Marks, Peers
from fl.privacy.secagg.wire import MARK, packed, unpacked
from fl.report.files import atomic_write
from fl.welcome import Welcome, load_welcome

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Open:
    """A run that this process has begun to serve; ``protected`` by a secure sum, or plain."""

    node: BrandNode[Any]
    memory: MemoryFile
    protected: bool


@dataclass(slots=True)
class Service:
    """One brand's node.

    Attributes:
        home, config, welcome: from its disk.
        runs: those that are open in this process; all of them can be opened again from disk.
        counted: replies by code, for the metrics.
        waiting: what was asked before, and is likely to be asked again.
    """

    home: Home
    config: NodeConfig
    welcome: Welcome
    runs: dict[str, Open] = field(default_factory=dict)
    counted: dict[str, int] = field(default_factory=dict)
    waiting: Waiting = field(default_factory=Waiting)
    _ledger: Ledger | None = None
    _told: Mark = NO_LEDGER

    def answer(self, run: str, request: Request) -> Reply:
        """One request of a run. The text of an exception stays here."""
        try:
            reply = self._answer(run, request)
            self._remember()
        except Refused as refusal:
            reply = _refusal(refusal)
        except (Exception, SystemExit) as error:
            _log.exception("failed in step %s %d", request.kind, request.number)
            known = error.code if isinstance(error, InputError) else None
            reply = Reply(known or Code.FAILED)
        if reply.code in (Code.FAILED, Code.LEDGER_SET_BACK):
            self.close()  # whatever is in memory may be ahead of the disk
        self.counted[str(reply.code)] = self.counted.get(str(reply.code), 0) + 1
        _log.info("%s %d: %s", request.kind, request.number, reply.code)
        return reply

    def close(self) -> None:
        """Let go of the ledger and of all runs; they are opened again when they are needed."""
        self.runs.clear()
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None

    def _remember(self) -> None:
        """Note how far the ledger is, before others are told: from then on it must not be less."""
        if self._ledger is not None and self._ledger.mark != self._told:
            mark = self._ledger.mark
            _note(self.home, {load_identity(self.home).public: mark})
            self._told = mark

    def _answer(self, run: str, request: Request) -> Reply:
        files = RunFiles(self.home, run)
        match request.kind:
            case "offer":
                return self._offer(files, _blob(request, "offer"))
            case "begin":
                return self._begin(files, _blob(request, "signatures"))
            case "finish":
                return self._finish(files, request)
        opened = self.runs.get(run) or self._open(files)
        if not opened.protected:
            return self._plain(opened, run, request)
        return step(opened.node, opened.memory.save, run, request)

    def _plain(self, opened: Open, run: str, request: Request) -> Reply:
        """A step under the plain sum, with what a secure sum has by itself: the brand's signature,
        and its ledger's length, which is that of the ledger that the coordinator has seen.
        """
        seen, books = _blob(request, "mark"), self._books()
        if len(seen) != MARK:
            raise Refused(Code.BAD_REQUEST)
        if not books.reaches(unpacked(seen)):
            raise Refused(Code.LEDGER_SET_BACK)
        reply = step(opened.node, opened.memory.save, run, request)
        reply = replace(reply, config={**reply.config, "mark": packed(books.mark)})
        signature = load_identity(self.home).sign(replying(run, request, reply))
        return replace(reply, config={**reply.config, "signature": signature})

    def _offer(self, files: RunFiles, raw: bytes) -> Reply:
        known = self.waiting.offered(files.run, raw, partial(self._taken, files))
        offer, policy, sizes = known.offer, load_policy(self.home), self.waiting.sizes
        allowed = partial(policy.refusals, offer.proposal, approval=files.given_approval())
        codes = allowed(customers=None)
        if not codes:  # only now touch the data
            if files.run not in sizes:
                sizes[files.run] = len(set(self._read(offer).customer.tolist()))
            codes = allowed(customers=sizes[files.run])
        if codes == (Code.POLICY_APPROVAL,) or (codes and codes == known.refused):
            raise Refused(*codes)  # a person may still be thinking; or it was signed before
        if codes:
            known.refused = codes
            raise turned_down(self._books(), offer.proposal, codes)
        files.keep_known()
        plan = offer.agreed.signed.sign(self.config.name, load_identity(self.home))
        return Reply(Code.OK, {}, {"signature": plan.signatures[self.config.name]})

    def _taken(self, files: RunFiles, raw: bytes) -> Offer:
        offer = offer_of(raw, self.welcome, files.run)
        files.keep_offer(raw)
        return offer

    def _begin(self, files: RunFiles, raw: bytes) -> Reply:
        offer = self._stored(files)
        if signed_plan(offer.agreed, raw).unsigned(self.welcome.brands):
            raise Refused(Code.UNKNOWN_PLAN)
        files.keep_signatures(raw)
        if files.run not in self.runs and not files.model.exists():  # else it is over here
            self._open(files)
        return Reply(Code.OK)

    def _finish(self, files: RunFiles, request: Request) -> Reply:
        offer = self._stored(files)
        if files.signed(offer.agreed).unsigned(self.welcome.brands):
            raise Refused(Code.UNKNOWN_PLAN)  # never begun
        said, key = _blob(request, "signature"), bytes.fromhex(self.welcome.identity)
        if not signed(key, ending(files.run, request.arrays), said):
            raise Refused(Code.BAD_SIGNATURE)
        model = offer.agreed.algorithms["train"].params(offer.agreed.first)
        if not same_shape(request.arrays, model):
            raise Refused(Code.MALFORMED)
        raw = to_bytes(request.arrays)
        if files.model.exists() and files.model.read_bytes() != raw:
            raise Refused(Code.OUT_OF_ORDER)  # a run has one model
        if files.run in self._books().open_runs():
            self._books().settle(files.run)
        self.runs.pop(files.run, None)
        self.waiting.over(files.run)
        atomic_write(files.model, raw, private=True)
        _log.info("run %s is over", offer.run)
        return Reply(Code.OK)

    def _open(self, files: RunFiles) -> Open:
        """A run from its files: signed by all, allowed by the policy, its budget reserved."""
        offer = self._stored(files)
        agreed, plan = offer.agreed, files.signed(offer.agreed)
        if plan.unsigned(self.welcome.brands):
            raise Refused(Code.UNKNOWN_PLAN)
        made = self._read(offer)
        rows = agreed.task.examples(made.rows, made.customer, "data")  # fails before it is booked
        booked = None
        customers = len(set(made.customer.tolist()))
        admitted = admit(
            offer.proposal,
            policy=load_policy(self.home),
            ledger=self._books(),
            customers=customers,
            figures=FIGURES,
            approval=files.given_approval(),
        )
        if agreed.plan.unit is Unit.CUSTOMER:
            booked = admitted
        node = BrandNode(
            self.config.name,
            {"train": rows},
            agreed.task,
            agreed.plan,
            self._summing(files, offer, plan),
            agreed.training,
            agreed.algorithms,
            agreed.seed,
            agreed.occasion,
            booked,
            MemoryFile(files.memory).load(),
        )
        self.runs[files.run] = Open(node, MemoryFile(files.memory), offer.agreed.protected)
        return self.runs[files.run]

    def _summing(self, files: RunFiles, offer: Offer, plan: SignedPlan) -> BrandSum:
        if not offer.agreed.protected:
            return PlainSum()
        books = self._books()
        return join(
            self.config.name,
            load_identity(self.home),
            roster=self.welcome.brands,
            pinned=self.welcome.brands.hash.hex(),
            plan=plan,
            follow=course_of(offer.agreed.content["course"]),
            first=offer.agreed.first,
            federation_key=read_secret(self.home.key("federation.key")),
            witness=Witness(lambda: books.mark, partial(_refuse, books), books.reaches),
            peers=Peers(files.known(), partial(_note, self.home)),
        )

    def _stored(self, files: RunFiles) -> Offer:
        return self.waiting.stored(files.run) or files.offer(self.welcome)

    def _read(self, offer: Offer) -> Made:
        """The rows for a run."""
        return self.waiting.read(offer.run, partial(_rows, self.home, offer))

    def _books(self) -> Ledger:
        if self._ledger is None:
            self._ledger = open_ledger(self.home, self.config, load_policy(self.home))
        return self._ledger


def opened(home: Home) -> Service:
    """The node of a folder.

    Raises:
        InputError: a file of it is missing or wrong.
    """
    return Service(home, read_config(home), load_welcome(home.welcome))


def _rows(home: Home, offer: Offer) -> Made:
    folder, asked = DataFolder(home.folder), Asked(offer.agreed.task.schema)
    state = load_state(folder)
    before = {} if state is None else state.rows
    reading = brand_data.read(folder, asked, brand_data.now(), before)
    made = reading.examples()
    if made.rows.empty:
        raise InputError("data", "no row is left after the checks", "see fl-node check")
    if state is None:
        accept_sizes(folder, reading)
    return made


def _refusal(refusal: Refused) -> Reply:
    """As it travels (``wire.codes_of``): the first code, and all where there are several."""
    codes = refusal.codes
    return Reply(codes[0], {}, {"codes": " ".join(codes)} if len(codes) > 1 else {})


def _note(home: Home, found: Marks) -> None:
    MarksFile(home.marks).merge(found)


def _refuse(ledger: Ledger, evidence: bytes, code: Code) -> None:
    ledger.refuse(code, hashlib.sha256(evidence).hexdigest())


def _blob(request: Request, key: str) -> bytes:
    value = request.config.get(key)
    if not isinstance(value, bytes):
        raise Refused(Code.BAD_REQUEST)
    return value
