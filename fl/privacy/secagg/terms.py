"""What all parties of a run have agreed to: the roster, the signed plan, and the rules in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial

from fl.arrays import Arrays, digest
from fl.contracts import NodeId
from fl.privacy.secagg import graph
from fl.privacy.secagg.identity import Identity, Json, Roster, SignedPlan, bind, signed
from fl.privacy.secagg.once import Once, anew
from fl.privacy.secagg.rules import BrandAgg

_PLAN = ("protocol", "run", "first", "coordinator", "rules", "course")


def draft(
    rules: BrandAgg, *, run: bytes, first: Arrays, coordinator: bytes, course: Json
) -> SignedPlan:
    """A plan that nobody has approved yet.

    Args:
        run: bytes that tell this run from all others.
        first: the coordinator's state before the first round; pinned by its hash.
        coordinator: its public Ed25519 key, under which it signs results.
        course: what else the operators approve (task, model, privacy plan, rounds), as JSON values.

    Guarantee: the hash of the plan binds all of it.
    """
    content = {
        "protocol": "brandagg/3",
        "run": run.hex(),
        "first": digest(first),
        "coordinator": coordinator.hex(),
        "rules": rules.to_json(),
        "course": dict(course),
    }
    return SignedPlan(content)


@dataclass(frozen=True)
class Terms:
    """Roster and plan, read once. Public.

    Attributes:
        once: what brands that share a process work out once.

    Raises:
        ValueError: the plan lacks something, or could overflow with this roster.
    """

    roster: Roster
    plan: SignedPlan
    once: Once = field(default=anew, repr=False, compare=False)

    def __post_init__(self) -> None:
        if tuple(sorted(self.plan.content)) != tuple(sorted(_PLAN)):
            raise ValueError(f"Expected a plan with {', '.join(_PLAN)}.")
        if self.plan.content["protocol"] != "brandagg/3":
            raise ValueError("Expected a plan for brandagg/3.")
        self.rules.check(len(self.roster.keys))

    @cached_property
    def rules(self) -> BrandAgg:
        """The numbers of the protocol. Guarantee: public."""
        values = self.plan.content["rules"]
        if not isinstance(values, Mapping):
            raise ValueError("Expected rules to be a mapping.")
        try:
            return BrandAgg(**values)
        except TypeError as error:
            raise ValueError("Expected rules to have the keys of BrandAgg.") from error

    @cached_property
    def run(self) -> bytes:
        """What tells this run apart. Guarantee: public."""
        return bytes.fromhex(str(self.plan.content["run"]))

    @cached_property
    def coordinator(self) -> bytes:
        """The coordinator's public key. Guarantee: public."""
        return bytes.fromhex(str(self.plan.content["coordinator"]))

    @cached_property
    def first_root(self) -> bytes:
        """The transcript's root before the first round. Guarantee: public."""
        return bind("root", self.roster.hash, self.plan.hash)

    @cached_property
    def most(self) -> int:
        """The largest absolute ring value of one brand. Guarantee: public."""
        return self.rules.most(len(self.roster.keys))

    def sign(self, identity: Identity, sid: bytes, message: bytes) -> bytes:
        """A signature of the round ``sid``. Guarantee: of ``Identity.sign``."""
        signature = identity.sign(message)
        self.once(sid, ("signed", identity.public, message, signature), lambda: True)
        return signature

    def signed(self, index: int, sid: bytes, message: bytes, signature: bytes) -> bool:
        """Whether brand ``index`` signed that. Guarantee: of ``identity.signed``."""
        return self.signed_by(self.roster.key(index), sid, message, signature)

    def signed_by(self, public: bytes, sid: bytes, message: bytes, signature: bytes) -> bool:
        """Whether the owner of ``public`` signed that. Guarantee: of ``identity.signed``."""
        key = ("signed", public, message, signature)
        return self.once(sid, key, partial(signed, public, message, signature))

    def vouched(
        self, sid: bytes, shown: bytes, near: list[int], is_signed: Callable[[int], bool]
    ) -> bool:
        """Whether ``is_signed`` holds for each of ``near`` in a list.

        Args:
            shown: hash of the list, which decides what ``is_signed`` says.

        Guarantee: each of them was checked, here or by another brand of this process.
        """
        checked = self.once(sid, ("vouched", shown), set[int])
        for j in near:
            if j not in checked and not is_signed(j):
                return False
            checked.add(j)
        return True

    def neighbours(
        self, members: list[int], seed: bytes, only: list[int] | None = None
    ) -> dict[int, list[int]]:
        """For each of ``only``, with whom it shares keys. Guarantee: of ``graph.neighbours``."""
        found = graph.neighbours(members, seed, self.rules.degree, only)
        return {m: list(near) for m, near in found.items()}

    def threshold(self, members: int, neighbours: int) -> int:
        """Shares and consents needed in a neighbourhood. Guarantee: of ``graph.threshold``.

        Without shares (mode ``retry``) all must consent.
        """
        if not self.rules.recovers:
            return neighbours + 1
        everyone = graph.complete(members, self.rules.degree)
        return graph.threshold(neighbours + 1, everyone, self.rules.max_dropouts)

    def approve(self, name: NodeId) -> None:
        """Check that every brand of the roster has approved, ``name`` among them.

        Raises:
            ValueError: one has not.

        Guarantee: a run starts only with a plan that all operators signed.
        """
        missing = self.plan.unsigned(self.roster)
        if missing or name not in self.roster.keys:
            raise ValueError(f"Expected the approval of {', '.join(missing) or name}.")
