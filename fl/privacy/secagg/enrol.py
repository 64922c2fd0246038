"""Both halves of BrandAgg: in one process for a simulation, or one by one in deployment."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

from fl.arrays import Arrays, digest
from fl.contracts import Algorithm, NodeId, PrivacyPlan, Witness
from fl.privacy.secagg import transcript
from fl.privacy.secagg.brand import BrandHalf
from fl.privacy.secagg.coordinator import CoordinatorHalf, Keep, Log, Record, unkept, unrecorded
from fl.privacy.secagg.follow import Course, Follow
from fl.privacy.secagg.identity import Identity, Json, Roster, SignedPlan
from fl.privacy.secagg.once import Remembered
from fl.privacy.secagg.peers import Peers
from fl.privacy.secagg.rules import BrandAgg
from fl.privacy.secagg.terms import Terms, draft


def simulate(
    rules: BrandAgg,
    names: Sequence[NodeId],
    *,
    algorithms: Mapping[str, Algorithm],
    plan: PrivacyPlan,
    first: Arrays,
    main: str = "train",
    witnesses: Mapping[NodeId, Witness] | None = None,
    record: Record = unrecorded,
    keep: Keep = unkept,
    course: Json | None = None,
) -> tuple[CoordinatorHalf, dict[NodeId, BrandHalf]]:
    """Fresh identities; a plan that all approve.

    Args:
        algorithms: by the kind of request; ``main`` is the one that learns.
        first: the coordinator's state before the first round.
        witnesses: the brands' ledgers, where they have one.
        record: given the lines of the transcript, the header first.
        keep: given the sums.
        course: what else all approve, as JSON values; the algorithms' names if nothing is said.

    Raises:
        ValueError: too few brands, or the sum could overflow.

    Guarantee: that of the protocol, among parties who trust this process.
    """
    identities = {name: Identity.fresh() for name in names}
    own, roster = Identity.fresh(), Roster({n: i.public for n, i in identities.items()})
    named = {"algorithms": {k: a.name for k, a in algorithms.items()}, "privacy": plan.name}
    agreed = draft(
        rules,
        run=secrets.token_bytes(16),
        first=first,
        coordinator=own.public,
        course=named if course is None else course,
    )
    for name, identity in identities.items():
        agreed = agreed.sign(name, identity)
    terms, follow = Terms(roster, agreed, Remembered()), Course(algorithms, plan, main)
    key = secrets.token_bytes(32)
    seen = witnesses or {}
    halves = {
        n: BrandHalf(n, i, terms, follow, first, key, seen.get(n, Witness()))
        for n, i in identities.items()
    }
    return coordinate(own, terms, record, keep), halves


def coordinate(
    identity: Identity, terms: Terms, record: Record = unrecorded, keep: Keep = unkept
) -> CoordinatorHalf:
    """The coordinator's half, from public things and its own key; states the terms to ``record``.

    Raises:
        ValueError: ``identity`` is not the one the plan names.

    Guarantee: of ``CoordinatorHalf``.
    """
    if identity.public != terms.coordinator:
        raise ValueError("Expected the identity that the plan names as coordinator.")
    record(transcript.header(terms))
    return CoordinatorHalf(identity, terms, Log(terms.first_root), record, keep)


def join(
    name: NodeId,
    identity: Identity,
    *,
    roster: Roster,
    pinned: str,
    plan: SignedPlan,
    follow: Follow,
    first: Arrays,
    federation_key: bytes,
    witness: Witness | None = None,
    peers: Peers | None = None,
) -> BrandHalf:
    """A brand's half in deployment.

    Args:
        roster, pinned: the list of brands, and its hash (hex) from the brand's own policy.
        plan: with everyone's approval.
        follow, first: the run's course and first state, as this brand computes them itself.
        federation_key: 32 random bytes that the brands' operators share among each other.
        witness: the brand's ledger; without one, no mark travels and refusals are not kept.
        peers: the other brands' ledgers; without it, only this run's rounds are compared.

    Raises:
        ValueError: another roster, a missing approval, another first state, or a foreign identity.

    Guarantee: the half takes part in exactly this plan, with exactly these brands.
    """
    if len(federation_key) != 32:
        raise ValueError("Expected a federation_key of 32 bytes.")
    if roster.hash.hex() != pinned:
        raise ValueError("Expected the pinned roster.")
    terms = Terms(roster, plan)
    terms.approve(name)
    if roster.keys[name] != identity.public or digest(first) != plan.content["first"]:
        raise ValueError(f"Expected the identity of {name} and the plan's first state.")
    return BrandHalf(
        name,
        identity,
        terms,
        follow,
        first,
        federation_key,
        witness or Witness(),
        peers or Peers(),
    )
