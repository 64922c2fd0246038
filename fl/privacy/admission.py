"""How a run comes in: policy first, then its true cost, then the ledger; refusals are signed."""

from __future__ import annotations

import math
from collections.abc import Mapping

from fl.errors import Code, Refused
from fl.privacy.bills import Accountant
from fl.privacy.ledger import Ledger, RunLedger
from fl.privacy.policy import Policy
from fl.privacy.proposal import Approval, Proposal


def admit(
    proposal: Proposal,
    *,
    policy: Policy,
    ledger: Ledger,
    customers: int,
    figures: Mapping[str, Accountant],
    approval: Approval | None = None,
) -> RunLedger:
    """Reserve the run that ``proposal`` describes, if the brand's policy and budget allow it.

    Guarantee: the run is signed, approved, within the policy by its recomputed cost, and reserved
    on disk when this returns. Otherwise nothing is charged, the ledger holds a signed refusal with
    the proposal's hash, and only the code leaves. Asking again for an admitted run charges nothing.

    Args:
        customers: how many this brand has; private.
        figures: accountants by the name that a proposal gives; they recompute its epsilon.
        approval: a person's, where the policy asks for one.

    Raises:
        Refused: with one code per reason.
    """
    try:
        policy.check(proposal, customers=customers, approval=approval)
        _check_cost(proposal, policy, ledger, figures)
    except Refused as refusal:
        ledger.refuse(refusal.code, proposal.digest(), proposal.run)
        raise
    ledger.reserve(proposal.run, proposal.event)
    return ledger.run(proposal.run)


def _check_cost(
    proposal: Proposal, policy: Policy, ledger: Ledger, figures: Mapping[str, Accountant]
) -> None:
    """What only the brand's own accountants and ledger can tell."""
    if proposal.unit != ledger.opening.unit:
        raise Refused(Code.POLICY_UNIT)  # budgets of different units do not add
    figure = figures.get(proposal.accountant)
    if figure is None:
        raise Refused(Code.POLICY_ACCOUNTANT)
    if proposal.epsilon < math.inf and not _cost(proposal, figure) <= proposal.epsilon:
        raise Refused(Code.POLICY_UNDERSTATED)
    if not ledger.forecast(proposal.run, proposal.event) <= policy.epsilon_lifetime:
        raise Refused(Code.POLICY_LIFETIME)


def _cost(proposal: Proposal, figure: Accountant) -> float:
    """Epsilon at the proposal's delta; infinite where the accountant has no figure for it."""
    try:
        return figure((proposal.event,), proposal.delta)
    except ValueError:
        return math.inf
