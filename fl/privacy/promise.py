"""What a plan promises, as the conditions of a privacy statement."""

from __future__ import annotations

from fl.privacy import CustomerPrivacy, NoPrivacy, Plan
from fl.privacy.statement import NOT_COVERED, Conditions


def conditions(
    plan: Plan, not_covered: tuple[str, ...] = (), *, central: bool = False
) -> Conditions:
    """For figures of what was booked under ``plan``.

    Args:
        plan: as it was in force.
        not_covered: sentences beside those that hold for every run.
        central: whether one party holds all rows and adds all noise.

    Guarantee: unit, delta, clip and noise source are the plan's own; nothing is looser.

    Raises:
        ValueError: the plan promises nothing.
    """
    if isinstance(plan, NoPrivacy):
        raise ValueError("Expected a plan with a guarantee.")
    customers = plan if isinstance(plan, CustomerPrivacy) else None
    return Conditions(
        unit=plan.unit,
        delta=plan.delta,
        brands=customers.person_brands if customers else 1,
        clip_norm=plan.clip_norm,
        noise_source=plan.noise_source,
        trust="Whoever holds all rows is trusted with them." if central else plan.trust,
        joint=customers is not None and (central or plan.name == "distributed"),
        clip_quantile=customers.clip_quantile if customers else 0.0,
        not_covered=(*NOT_COVERED, *not_covered),
    )
