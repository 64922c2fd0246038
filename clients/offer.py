"""What a coordinator offers, and what this brand says to it.

An offer is a signed proposal and the content that it stands for. Everything in the proposal is
computed again from the content by the package installed here; a proposal that says anything else is
refused, so what a policy allows is what will run.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from clients.home import Home
from fl.agreement import Agreed, read
from fl.audit.shares import fitted
from fl.config import group
from fl.contracts import Mark
from fl.errors import Code, Refused
from fl.marks import MarksFile
from fl.privacy import BrandAgg, CustomerPrivacy
from fl.privacy.proposal import Approval, Proposal
from fl.privacy.secagg.identity import Json, SignedPlan
from fl.report.files import atomic_write
from fl.welcome import Welcome

MOST = 4 * 2**20  # bytes of an offer


@dataclass(frozen=True, slots=True)
class Offer:
    """One run, as offered; public."""

    proposal: Proposal
    agreed: Agreed

    @property
    def run(self) -> str:
        """The run's id: a name and the hash of the content."""
        return self.proposal.run


def offer_of(raw: bytes, welcome: Welcome, run: str) -> Offer:
    """The offer of a coordinator.

    Raises:
        Refused: it is no offer, of another run, for another roster, of another coordinator, or its
            proposal is not what follows from its content.
    """
    if len(raw) > MOST:
        raise Refused(Code.BAD_REQUEST)
    try:
        values = json.loads(raw)
        proposal = Proposal.from_json(values["proposal"])
        content = dict(values["content"])
        _known(proposal, content, str(values["roster"]), welcome)
        if proposal.run != run or run.rpartition("/")[2] != SignedPlan(content).hash.hex():
            raise Refused(Code.UNKNOWN_PLAN)
        agreed = read(content)
        expected = agreed.proposal(agreed.occasion, proposal.requested_by)
        good = _same(proposal, expected) and counts_on(agreed, len(welcome.brands.names))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Refused(Code.BAD_REQUEST) from error
    if not good:
        raise Refused(Code.UNKNOWN_PLAN)
    return Offer(proposal, agreed)


def _known(proposal: Proposal, content: Json, brands: str, welcome: Welcome) -> None:
    """Whose offer it is, before anything is built from it.

    Raises:
        Refused: another roster's, or not of the coordinator that this brand was welcomed by.
    """
    if brands != welcome.brands.hash.hex():
        raise Refused(Code.UNKNOWN_ROSTER)
    if welcome.signing != proposal.coordinator or welcome.identity != content["coordinator"]:
        raise Refused(Code.POLICY_COORDINATOR)
    if not proposal.is_signed():
        raise Refused(Code.POLICY_SIGNATURE)


def counts_on(agreed: Agreed, brands: int) -> bool:
    """Whether noise and sum count on the brands of the roster, and on no others; and whether no
    bound would make a brand say when its values are large.

    Args:
        agreed: as drafted by a coordinator.
        brands: on the pinned roster.

    Raises:
        ValueError: the rules of the sum are none.
    """
    plan = agreed.plan
    if isinstance(plan, CustomerPrivacy) and plan != plan.enrolled(brands):
        return False
    if not agreed.protected:
        return True
    rules = BrandAgg(**group(agreed.content["rules"], "rules"))
    return rules == fitted(rules, plan, agreed.algorithms, agreed.first) and rules.bound == 0


def _same(proposal: Proposal, expected: Proposal) -> bool:
    """Whether all but the signature is as computed here; epsilon within a rounding of it."""
    said, mine = proposal.to_json(), expected.to_json()
    for key in ("coordinator", "signature"):
        del said[key], mine[key]
    figures = [values.pop("epsilon") for values in (said, mine)]
    close = all(isinstance(f, float) for f in figures) and abs(figures[0] - figures[1]) < 1e-6  # type: ignore[operator]
    return said == mine and (close or figures[0] == figures[1])


@dataclass(frozen=True, slots=True)
class RunFiles:
    """What this node keeps of one run."""

    home: Home
    run: str

    @property
    def folder(self) -> Path:
        """Of this run."""
        return self.home.run(self.run)

    @property
    def memory(self) -> Path:
        """Between two messages."""
        return self.folder / "memory.npz"

    @property
    def approval(self) -> Path:
        """A person's signature."""
        return self.folder / "approval.json"

    @property
    def model(self) -> Path:
        """What the run learned."""
        return self.folder / "model.npz"

    def keep_offer(self, raw: bytes) -> None:
        """Store an offer that was read."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        atomic_write(self.folder / "offer.json", raw, private=True)

    def offer(self, welcome: Welcome) -> Offer:
        """The stored offer.

        Raises:
            Refused: there is none, or it is none any more.
        """
        path = self.folder / "offer.json"
        if not path.exists():
            raise Refused(Code.UNKNOWN_PLAN)
        return offer_of(path.read_bytes(), welcome, self.run)

    def keep_known(self) -> None:
        """Store how far all ledgers are known to have come, before this run is signed first.

        Later knowledge is not added: an advert of this run may be older.
        """
        kept = MarksFile(self._known)
        if not self._known.exists():
            kept.merge(MarksFile(self.home.marks).load())

    def known(self) -> dict[bytes, Mark]:
        """What :meth:`keep_known` stored."""
        return MarksFile(self._known).load()

    @property
    def _known(self) -> Path:
        return self.folder / "ledgers.json"

    def keep_signatures(self, raw: bytes) -> None:
        """Store what all brands have signed."""
        atomic_write(self.folder / "signatures.json", raw, private=True)

    def signed(self, agreed: Agreed) -> SignedPlan:
        """The content with the stored signatures.

        Raises:
            Refused: there are none.
        """
        path = self.folder / "signatures.json"
        if not path.exists():
            raise Refused(Code.UNKNOWN_PLAN)
        return signed_plan(agreed, path.read_bytes())

    def given_approval(self) -> Approval | None:
        """A person's, if there is one."""
        return Approval.load(self.approval) if self.approval.exists() else None


def signed_plan(agreed: Agreed, raw: bytes) -> SignedPlan:
    """The content with the signatures in ``raw``: JSON, hex by brand.

    Raises:
        Refused: they are no such values.
    """
    try:
        values = json.loads(raw)
        signatures = {str(n): bytes.fromhex(str(s)) for n, s in dict(values).items()}
    except (ValueError, TypeError) as error:
        raise Refused(Code.BAD_REQUEST) from error
    return SignedPlan(agreed.content, signatures)
