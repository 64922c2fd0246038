"""Whether noise and sum count on the brands that there are.

Shared noise is divided by the brands that a plan is for. It is enough only in a sum of nearly all
of them, and only if sums are added as exactly as the noise was rounded. Whoever names more brands
than there are is sent less noise than the epsilon that is booked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from fl.arrays import Arrays
from fl.audit.folder import Check
from fl.config import group
from fl.contracts import Algorithm, PrivacyPlan, Unit
from fl.errors import InputError
from fl.privacy import BrandAgg, CustomerPrivacy, Summing, lattice
from fl.privacy.secagg.follow import Course
from fl.privacy.secagg.identity import Roster
from fl.round import states


def fitted(
    summing: Summing,
    plan: PrivacyPlan,
    algorithms: Mapping[str, Algorithm],
    first: Arrays,
    rounds: int = 1,
) -> Summing:
    """What shared noise needs of the sum: enough shares in it, and a lattice added up exactly."""
    if not isinstance(summing, BrandAgg) or not isinstance(plan, CustomerPrivacy):
        return summing
    if plan.name != "distributed":
        return summing
    needed = [
        lattice.bits(plan.clip_norm if a.limits is None else 1.0, _entries(a.zero(state)))
        for a in algorithms.values()
        for state in states(a, first, rounds)
    ]
    fewest = max(summing.min_brands, plan.brands - plan.dropouts)
    return replace(summing, scale_bits=max(needed), min_brands=fewest)


def miscounted(rules: object, course: Course, first: Arrays, brands: int) -> str:
    """Why less noise than is booked may be in a sum; nothing if it cannot.

    Args:
        rules: of the secure sum, as JSON values that all brands have signed.
        course: signed as well.
        first: the state before the first round.
        brands: on the roster.

    Raises:
        ValueError: ``rules`` are something else.
        InputError: likewise.
    """
    plan = course.plan
    if not isinstance(plan, CustomerPrivacy):
        return ""
    if plan != plan.enrolled(brands):
        return f"shares of the noise are for {plan.brands} brands, the roster has {brands}"
    try:
        stated = BrandAgg(**group(rules, "rules"))
    except TypeError as error:
        raise ValueError("Expected the rules of a secure sum.") from error
    needed = fitted(stated, plan, course.algorithms, first)
    if not isinstance(needed, BrandAgg):
        return ""
    if stated.min_brands < needed.min_brands:
        fewest = f"{stated.min_brands} brands make a sum"
        return f"{fewest}, its noise counts on {needed.min_brands} of {brands}"
    if stated.scale_bits < needed.scale_bits:
        return f"sums keep {stated.scale_bits} bits, noise is rounded to {needed.scale_bits}"
    return ""


def counted(
    content: Mapping[str, object], course: Course, first: Arrays | None, roster: Roster
) -> Iterator[Check]:
    """The same as a line of an audit; ``first`` is None where it is missing."""
    if course.plan.unit is not Unit.CUSTOMER:
        return
    if first is None:
        yield Check(None, "shares", "not compared with the roster: the first state is missing")
        return
    brands = len(roster.names)
    try:
        wrong = miscounted(content["rules"], course, first, brands)
    except (ValueError, LookupError, InputError) as error:
        wrong = f"the rules of the sum are none: {error}"
    yield Check(not wrong, "shares", wrong or f"noise and sum count on the roster's {brands}")


def _entries(zero: Arrays) -> int:
    return sum(int(array.size) for array in zero.values())
