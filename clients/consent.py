"""What this brand agrees to, for its own people: policy, budget, and what each offer would be told.

Part of ``fl-node check`` and ``fl-node approve``; reads only, and nothing of it leaves.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Iterator

from clients.home import Home
from clients.offer import Offer, RunFiles
from clients.standing import books_of, load_policy, refusals
from fl.errors import Code, InputError, Refused
from fl.privacy.books import Books
from fl.privacy.budget import budgets
from fl.privacy.policy import Policy
from fl.privacy.policy_file import explained
from fl.welcome import load_welcome

Line = tuple[str, str]
"""``PASS``, ``WARN``, ``SKIP`` or ``FAIL``, and what about."""

SHOWN = 5  # columns that are named


def policy_lines(home: Home, columns: Collection[str], customers: int | None) -> Iterator[Line]:
    """The policy: whether any run at all can pass it, and what it allows.

    Args:
        columns: those that the brand's data has.
        customers: how many it has.

    Raises:
        InputError: it cannot be read.
    """
    policy = load_policy(home, columns)
    if unset := policy.unset():
        yield "FAIL", f"allows no run, empty: {', '.join(unset)}. To fix it: edit {home.policy}"
    else:
        yield (
            "PASS",
            f"tasks {_listed(policy.tasks)}; plans {_listed(policy.plans)}; epsilon "
            f"{policy.epsilon_per_run:g} a run, {policy.epsilon_lifetime:g} in all, at delta "
            f"{policy.delta:g}; approval by {policy.approval}",
        )
    if not policy.columns:
        yield "WARN", f"the data's columns, for [columns] allowed: {', '.join(sorted(columns))}"
    for name, role in sorted(policy.roles.items()):
        may, lacks = policy.columns & role.use, policy.columns - role.use
        said = f"{name} may use {len(may)} of {len(policy.columns)} allowed columns"
        names = f", not {_listed(lacks)}" if lacks else ""
        yield "WARN" if lacks and name == "operator" else "PASS", said + names
    yield from _limit_lines(policy, customers)
    if home.welcome.exists():
        yield from _welcomed_lines(home, policy)


def _limit_lines(policy: Policy, customers: int | None) -> Iterator[Line]:
    """Limits that no run can meet here, whatever is proposed."""
    if customers is None:
        return
    if customers < policy.min_customers:
        yield (
            "FAIL",
            f"{customers} customers, fewer than [limits] min_customers = {policy.min_customers}: "
            "every run is refused",
        )
    if policy.delta * customers >= 1:
        yield (
            "FAIL",
            f"[limits] delta = {policy.delta:g} is not below 1 / {customers} customers: every run "
            "is refused",
        )


def _welcomed_lines(home: Home, policy: Policy) -> Iterator[Line]:
    welcome = load_welcome(home.welcome)
    if welcome.signing not in policy.coordinators.values():
        yield (
            "FAIL",
            "does not name the coordinator of welcome.json, if you agree to its proposals: under "
            f'[coordinators] coordinator = "{welcome.signing}"',
        )
    if (brands := len(welcome.brands.names)) < policy.min_brands:
        yield (
            "FAIL",
            f"{brands} brands are on the roster, fewer than [limits] min_brands = "
            f"{policy.min_brands}: every run is refused",
        )


def budget_lines(home: Home) -> Iterator[Line]:
    """The ledger's budget beside the policy's: of two limits the smaller one counts."""
    policy, books = load_policy(home), books_of(home)
    if books is None:
        yield (
            "PASS",
            f"no ledger yet; the first offer opens it with epsilon {policy.epsilon_lifetime:g} at "
            f"delta {policy.delta:g}, which stay",
        )
        return
    yield "PASS", str(budgets(books)[-1])
    yield from _differences(policy, books)
    for name, run in books.runs.items():
        if not run.settled:
            yield "PASS", f"{name} is open; if it was given up: fl-node ledger --settle {name}"


def _differences(policy: Policy, books: Books) -> Iterator[Line]:
    renew = "fl-node ledger --renew EPSILON --reason TEXT"
    if policy.delta < books.opening.delta:
        yield (
            "FAIL",
            f"the ledger keeps delta {books.opening.delta:g}, more than policy.toml's "
            f"{policy.delta:g}; it stays as opened. To fix it: set [limits] delta to the ledger's",
        )
    elif policy.delta > books.opening.delta:
        yield (
            "WARN",
            f"policy.toml has delta {policy.delta:g}, the ledger was opened at "
            f"{books.opening.delta:g} and decides at that: runs cost more of it",
        )
    kept = budgets(books)
    total = sum(b.epsilon for b in kept if b.booked or b is kept[-1])
    if policy.epsilon_lifetime > total:
        yield (
            "WARN",
            f"policy.toml has epsilon_lifetime = {policy.epsilon_lifetime:g}, the ledger {total:g} "
            f"in all: the ledger's counts. To raise it too: {renew}",
        )
    elif policy.epsilon_lifetime < total < math.inf:
        yield (
            "WARN",
            f"policy.toml has epsilon_lifetime = {policy.epsilon_lifetime:g}, the ledger {total:g} "
            "in all: the policy's counts",
        )


def stored_offers(home: Home) -> Iterator[tuple[str, Offer | Code]]:
    """Runs that were offered, oldest first; a code for what is no offer any more."""
    welcome = load_welcome(home.welcome)
    paths = sorted(home.runs.glob("*/offer.json"), key=lambda path: path.stat().st_mtime_ns)
    for path in paths:
        run = str(json.loads(path.read_bytes())["proposal"]["run"])
        try:
            yield run, RunFiles(home, run).offer(welcome)
        except Refused as refusal:  # such as one for an older roster: it cannot be run any more
            yield run, refusal.code


def one_offer(home: Home, named: str) -> Offer:
    """The stored run that a person names; see :func:`one_of`."""
    return one_of((o for _, o in stored_offers(home) if isinstance(o, Offer)), named)


def one_of(offers: Iterable[Offer], named: str) -> Offer:
    """The run that a person names by its id, or the start of it.

    Raises:
        InputError: none, or several.
    """
    known = [offer for offer in offers if offer.run.startswith(named)]
    if len(known) != 1:
        raise InputError("RUN", f"{named!r} fits {len(known)} runs", "see fl-node approve")
    return known[0]


def said_of(home: Home, offer: Offer, *, customers: int | None = None) -> tuple[Code, ...]:
    """All that this brand would answer to an offer now; see ``standing.refusals``."""
    approval = RunFiles(home, offer.run).given_approval()
    return refusals(
        offer.proposal,
        load_policy(home),
        books_of(home),
        customers=customers,
        approval=approval,
    )


def offer_lines(home: Home, customers: int | None) -> Iterator[Line]:
    """Each offer: what it would read and cost, and everything it is refused for.

    A refused offer is a FAIL until a newer one of the same name came.
    """
    offers = list(stored_offers(home))
    newest = {run.rpartition("/")[0]: run for run, _ in offers}
    for run, offer in offers:
        short = run[:40]
        if RunFiles(home, run).model.exists():
            yield "PASS", f"{short}: is over"
            continue
        if isinstance(offer, Code):
            yield "SKIP", f"{short}: no offer any more ({offer})"
            continue
        of = offer.proposal
        text = (
            f"{short}: {of.task} on {len(of.columns)} columns, {of.plan}, epsilon "
            f"{of.epsilon:.3f} at delta {of.delta:g}; leaves here: {offer.agreed.leaves}"
        )
        codes = said_of(home, offer, customers=customers)
        if not codes:
            yield "PASS", text
        elif codes == (Code.POLICY_APPROVAL,):
            yield "SKIP", f"{text}; waits for a person's fl-node approve"
        elif newest[run.rpartition("/")[0]] == run:
            yield "FAIL", f"{text}; refused for {explained(codes)}"
        else:
            yield "SKIP", f"{text}; refused, and a newer one came"


def _listed(names: Collection[str]) -> str:
    first = sorted(names)
    more = f" and {len(first) - SHOWN} more" if len(first) > SHOWN else ""
    return ", ".join(first[:SHOWN]) + more if first else "none"
