"""The privacy statement of every private arm, from what its ledgers booked."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from experiments.arms import arm_keys
from experiments.journal import Piece, plan_from
from experiments.settings import Settings
from fl.contracts import Unit
from fl.events import PrivacyEvent, from_json
from fl.privacy import BrandPrivacy, CustomerPrivacy, NoPrivacy, Plan
from fl.privacy.accounting import rdp_epsilon
from fl.privacy.statement import NOT_COVERED, Conditions, statement

OFFLINE = (
    "This benchmark's own evaluation: it was computed offline with all test rows in hand, exactly "
    "and without noise, as no participant could.",
    "Repetitions: every seed is a world of its own with ledgers of its own; publishing all of them "
    "would add up.",
)


def statements(how: Settings, piece: Piece) -> dict[str, dict[str, Any]]:
    """By arm and guarantee; figures are those of one seed, the same for every seed.

    The fine-tuned arm has none of its own: its models never leave, so it costs what the federated
    arm costs.
    """
    found = {}
    for key, (arm, variant) in arm_keys(how).items():
        spent = piece.note["spent"].get(key, {})
        if variant is None or arm == "finetuned" or not spent:
            continue
        plan = plan_from(piece.note["plans"][key])
        conditions = _conditions(plan, arm)
        events = {keeper: from_json(event) for keeper, event in spent.items()}
        if conditions.joint:
            events = {"sum": max(events.values(), key=partial(_epsilon, plan))}
        made = statement(events, conditions)
        found[key] = {**made.to_json(), "lines": list(made.lines())}
    return found


def _epsilon(plan: Plan, event: PrivacyEvent) -> float:
    """A brand that was away has booked less; the sum costs what the others booked."""
    return math.inf if isinstance(plan, NoPrivacy) else rdp_epsilon(event, plan.delta)


def _conditions(plan: Plan, arm: str) -> Conditions:
    if isinstance(plan, NoPrivacy):
        raise ValueError("Expected a plan with a guarantee.")
    central = arm == "central_dp"
    trust = "Whoever holds all rows is trusted with them." if central else plan.trust
    return Conditions(
        unit=plan.unit,
        delta=plan.delta,
        brands=_person_brands(plan),
        clip_norm=plan.clip_norm,
        noise_source=plan.noise_source,
        trust=trust,
        joint=plan.unit is Unit.CUSTOMER and (central or plan.name == "distributed"),
        clip_quantile=plan.clip_quantile if isinstance(plan, CustomerPrivacy) else 0.0,
        not_covered=(*NOT_COVERED, *OFFLINE),
    )


def _person_brands(plan: CustomerPrivacy | BrandPrivacy) -> int:
    return plan.person_brands if isinstance(plan, CustomerPrivacy) else 1
