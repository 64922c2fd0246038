"""How a run comes in: policy first, then its true cost, then the ledger; refusals are signed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from fl.contracts import Unit
from fl.errors import Code, Refused
from fl.events import PrivacyEvent
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
    codes = policy.refusals(proposal, customers=customers, approval=approval)
    codes = codes or cost_refusals(
        proposal, policy=policy, unit=ledger.opening.unit, forecast=ledger.forecast, figures=figures
    )
    if codes:
        raise turned_down(ledger, proposal, codes)
    ledger.reserve(proposal.run, proposal.event)
    return ledger.run(proposal.run)


def turned_down(ledger: Ledger, proposal: Proposal, codes: Sequence[Code]) -> Refused:
    """The error for a proposal that fails ``codes``, of which there is one at least.

    Guarantee: each of them is signed into the ledger, with the proposal's hash.
    """
    for code in codes:
        ledger.refuse(code, proposal.digest(), proposal.run)
    return Refused(*codes)


def cost_refusals(
    proposal: Proposal,
    *,
    policy: Policy,
    unit: Unit,
    forecast: Callable[[str, PrivacyEvent], float],
    figures: Mapping[str, Accountant],
) -> tuple[Code, ...]:
    """What only the brand's own accountants and ledger can tell of a proposal.

    Guarantee: reads only; none where the proposal states its cost and the lifetime maximum has it.

    Args:
        unit: of the ledger; budgets of different units do not add.
        forecast: epsilon of the data set's whole life with a run, see :meth:`Ledger.forecast`.
        figures: accountants by the name that a proposal gives.
    """
    if proposal.unit != unit:
        return (Code.POLICY_UNIT,)
    if (figure := figures.get(proposal.accountant)) is None:
        return (Code.POLICY_ACCOUNTANT,)
    if proposal.epsilon < math.inf and not _cost(proposal, figure) <= proposal.epsilon:
        return (Code.POLICY_UNDERSTATED,)
    if not forecast(proposal.run, proposal.event) <= policy.epsilon_lifetime:
        return (Code.POLICY_LIFETIME,)
    return ()


def _cost(proposal: Proposal, figure: Accountant) -> float:
    """Epsilon at the proposal's delta; infinite where the accountant has no figure for it."""
    try:
        return figure((proposal.event,), proposal.delta)
    except ValueError:
        return math.inf
