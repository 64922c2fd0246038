"""Where a brand stands: its policy, and its ledger under that policy's budget."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from importlib import metadata

from clients.home import Home, NodeConfig
from clients.keys import load_identity
from fl.contracts import NO_LEDGER, Mark, Unit
from fl.errors import Code, InputError
from fl.events import Composed, PrivacyEvent
from fl.marks import MarksFile
from fl.privacy.accounting import ACCOUNTANTS
from fl.privacy.accounting import epsilon as accounted
from fl.privacy.admission import cost_refusals
from fl.privacy.bills import Accountant
from fl.privacy.books import Books, Neighbours, Opening
from fl.privacy.budget import covers, forecast
from fl.privacy.filter import filter_epsilon
from fl.privacy.ledger import Ledger
from fl.privacy.policy import Policy
from fl.privacy.proposal import Approval, Proposal
from fl.privacy.reading import behind, replay
from fl.privacy.signing import SigningKey


def load_policy(home: Home, fields: Collection[str] | None = None) -> Policy:
    """The policy as it is on disk now.

    Args:
        fields: the columns that the brand's data has, to find misspelt names (``fl-node check``);
            None where the data is not looked at.

    Raises:
        InputError: missing, writable by others, or with a mistake in it.
    """
    known = fields if fields is not None else _named(home)
    return Policy.load(home.policy, known_fields=known)


def open_ledger(home: Home, config: NodeConfig, policy: Policy) -> Ledger:
    """The brand's ledger, made with the policy's budget the first time.

    Raises:
        InputError: another process writes to it, or it was changed, set back or deleted.
    """
    key, signed = SigningKey.load(home.key("ledger.pem")), last_signed(home)
    if home.ledger.exists():
        return Ledger.open(home.ledger, key, accountant=filter_epsilon, signed=signed)
    if signed.entries:
        raise _lost(home, signed)
    epsilon, delta = _budget(policy)
    opening = Opening(
        brand=config.name,
        dataset=config.dataset,
        unit=Unit.CUSTOMER,
        relation=Neighbours.ADD_REMOVE,
        epsilon=epsilon,
        delta=delta,
        software=f"crossbrand-fl {metadata.version('crossbrand-fl')}",
    )
    return Ledger.create(home.ledger, key, opening, accountant=filter_epsilon)


def books_of(home: Home) -> Books | None:
    """What the brand's ledger says, without opening it: a node may be writing; None without one.

    Raises:
        InputError: it was changed, set back or deleted.
    """
    signed = last_signed(home)  # before the ledger, which may grow meanwhile
    if not home.ledger.exists():
        if signed.entries:
            raise _lost(home, signed)
        return None
    content = home.ledger.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]  # the rest is being written
    reading = replay(whole, str(home.ledger), public_key=None)
    if not reading.reaches(signed):
        raise behind(str(home.ledger), signed.head.hex())
    return reading.books


def last_signed(home: Home) -> Mark:
    """The furthest that this brand has said its ledger to be, under its present identity.

    Raises:
        InputError: the note, or the identity, cannot be read.
    """
    marks = MarksFile(home.marks).load()
    return marks.get(load_identity(home).public, NO_LEDGER) if marks else NO_LEDGER


def _lost(home: Home, signed: Mark) -> InputError:
    return InputError(
        f"ledger {home.ledger}",
        f"is missing, and this brand has told others of its {signed.entries} entries",
        "restore it; if it is lost, this data set's budget counts as spent, and the brand enrols "
        "again with new keys (fl-node init), which every partner sees",
        code=Code.LEDGER_SET_BACK,
    )


def refusals(
    proposal: Proposal,
    policy: Policy,
    books: Books | None,
    *,
    customers: int | None = None,
    approval: Approval | None = None,
) -> tuple[Code, ...]:
    """All that this brand would answer to a proposal now; nothing is booked or noted.

    Args:
        books: of its ledger; None where it has none yet.
        customers: how many it has; None where the data is not looked at.
        approval: a person's, if there is one.
    """
    found = policy.refusals(proposal, customers=customers, approval=approval)

    def ahead(run: str, event: PrivacyEvent) -> float:
        if books is None:
            return filter_epsilon((event,), _budget(policy)[1])
        return forecast(books, run, event, filter_epsilon)

    unit = Unit.CUSTOMER if books is None else books.opening.unit
    more = cost_refusals(proposal, policy=policy, unit=unit, forecast=ahead, figures=FIGURES)
    known = None if books is None else books.runs.get(proposal.run)
    if known is not None and known.settled:
        more = (*more, Code.LEDGER_RUN)
    elif books is not None and not known and not covers(books, proposal.event, filter_epsilon):
        more = (*more, Code.BUDGET)
    return (*found, *(code for code in more if code not in found))


def _budget(policy: Policy) -> tuple[float, float]:
    """Epsilon and delta that a ledger is opened with.

    Raises:
        InputError: one of them promises nothing, or more than a filter can keep.
    """
    if not policy.epsilon_lifetime < float("inf"):
        raise InputError("policy.toml", "has no finite budget", "set limits.epsilon_lifetime")
    if not policy.delta >= 1e-9:
        raise InputError("policy.toml", f"has delta {policy.delta:g}", "set limits.delta >= 1e-9")
    return policy.epsilon_lifetime, policy.delta


def _figure(name: str, events: Sequence[PrivacyEvent], delta: float) -> float:
    return accounted(name, Composed(tuple(events)), delta)


FIGURES: Mapping[str, Accountant] = {name: partial(_figure, name) for name in ACCOUNTANTS}


def _named(home: Home) -> set[str]:
    """All names in the policy's own lists; whether the data has them is not asked here."""
    try:
        values = tomllib.loads(home.policy.read_text("utf-8"))
    except (OSError, ValueError):
        return set()  # reading it properly says what is wrong
    lists = [values.get("columns", {}), *values.get("roles", {}).values()]
    return {str(n) for one in lists for names in one.values() for n in names}
