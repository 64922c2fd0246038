"""A brand's policy: what it allows at all. Read from its own disk; no request can loosen it.

Three levels: the **system** (which tasks, plans, limits and coordinators), the **role** (operator,
steward, approver, auditor: which columns each may use in a run it asks for) and the **field**
(which columns a run may ever touch). A run needs the consent of all three. What the file does not
name is not allowed, and a refusal travels as codes without data; ``policy_file.LINES`` says which
line of the file each code means.

How many customers a brand has is private. The two conditions on it do not depend on the proposal,
so asking again and again with other numbers tells a coordinator nothing more about it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fl.contracts import Unit
from fl.errors import Code, Refused
from fl.privacy import policy_file
from fl.privacy.proposal import Approval, Proposal
from fl.privacy.signing import is_public_key

ROLES = ("operator", "steward", "approver", "auditor")
ACCOUNTANTS = ("pld", "prv", "rdp")
INSECURE = "insecure_noise_for_tests"


@dataclass(frozen=True, slots=True)
class Role:
    """Which columns a role may use in a run it asks for."""

    use: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Policy:
    """What a brand allows. Everything in it may be printed.

    Attributes:
        tasks, plans, units, accountants, noise_sources: by name. Plan ``none`` is like any other:
            it must be written down, with unit ``none`` and infinite limits beside it.
        columns: those that a run may use at all.
        roles: by name, one of :data:`ROLES`.
        epsilon_per_run, epsilon_lifetime: maxima, >= 0; the second over all runs of the data set.
        delta: ceiling of a run's delta, in [0, 1); must also be below 1 / customers.
        min_customers: of this brand, >= 1.
        min_brands: in a sum, >= 1.
        coordinators: public keys by name.
        approval: ``auto``, or ``signature`` for a person's signature under each run.
        people: public keys of those who may approve, by name.
        rehearsal: the data is made up, so predictable noise may be allowed beside it.
    """

    tasks: frozenset[str]
    plans: frozenset[str]
    units: frozenset[Unit]
    accountants: frozenset[str]
    noise_sources: frozenset[str]
    columns: frozenset[str]
    roles: Mapping[str, Role]
    epsilon_per_run: float
    epsilon_lifetime: float
    delta: float
    min_customers: int
    min_brands: int
    coordinators: Mapping[str, str]
    approval: str
    people: Mapping[str, str] = field(default_factory=dict)
    rehearsal: bool = False

    def __post_init__(self) -> None:
        if "gdp" in self.accountants:
            raise ValueError(
                "The accountant 'gdp' reports less than is proven (5.56 where 8.92 holds)."
            )
        if INSECURE in self.noise_sources and not self.rehearsal:
            raise ValueError(f"The noise source {INSECURE!r} can be predicted.")
        _known("accountant", self.accountants, ACCOUNTANTS)
        _known("role", self.roles, ROLES)
        _known("approval", [self.approval], ("auto", "signature"))
        if not (self.epsilon_per_run >= 0 and self.epsilon_lifetime >= 0 and 0 <= self.delta < 1):
            raise ValueError("Expected epsilon_per_run, epsilon_lifetime >= 0, delta in [0, 1).")
        if self.min_customers < 1 or self.min_brands < 1:
            raise ValueError("Expected min_customers >= 1 and min_brands >= 1.")
        for name, key in [*self.coordinators.items(), *self.people.items()]:
            if not is_public_key(key):
                raise ValueError(f"Expected a public key of 64 hex digits for {name!r}.")

    @classmethod
    def load(cls, path: Path, *, known_fields: Collection[str]) -> Policy:
        """Read a policy from the brand's disk.

        Guarantee: nothing has a default; a missing limit is an error, never "no limit".

        Args:
            known_fields: the columns that the brand's data has.

        Raises:
            InputError: the file is missing, writable by others, or names something unknown.
        """
        with policy_file.reading(path) as file:
            runs, limits = file.table("runs"), file.table("limits")
            approval = file.table("approval")
            people = approval.table("people", optional=True)
            roles = file.table("roles")
            policy = cls(
                tasks=runs.names("tasks"),
                plans=runs.names("plans"),
                units=frozenset(Unit(unit) for unit in runs.names("units")),
                accountants=runs.names("accountants"),
                noise_sources=runs.names("noise_sources"),
                columns=file.table("columns").names("allowed", of=known_fields),
                roles={name: _role(roles.table(name), known_fields) for name in roles.left()},
                epsilon_per_run=limits.number("epsilon_per_run"),
                epsilon_lifetime=limits.number("epsilon_lifetime"),
                delta=limits.number("delta"),
                min_customers=limits.whole("min_customers"),
                min_brands=limits.whole("min_brands"),
                coordinators=file.table("coordinators").texts(),
                approval=approval.text("mode"),
                people=people.texts(),
                rehearsal=runs.flag("rehearsal"),
            )
        return policy

    def unset(self) -> tuple[str, ...]:
        """Lines of the file that are still empty and without which no run at all is allowed.

        Guarantee: where there is one, :meth:`refusals` is never empty.
        """
        usable = self.columns & frozenset().union(*(r.use for r in self.roles.values()))
        lines = (
            ("[runs] tasks", self.tasks),
            ("[runs] plans", self.plans),
            ("[runs] units", self.units),
            ("[runs] accountants", self.accountants),
            ("[runs] noise_sources", self.noise_sources),
            ("[columns] allowed", self.columns),
            ("[roles.operator] use (with names of [columns] allowed)", usable),
            ("[coordinators]", self.coordinators),
            ("[approval.people]", self.approval == "auto" or self.people),
        )
        return tuple(line for line, content in lines if not content)

    def check(
        self, proposal: Proposal, *, customers: int | None, approval: Approval | None = None
    ) -> None:
        """Let ``proposal`` pass, or say all conditions that it fails.

        Guarantee: see :meth:`refusals`.

        Raises:
            Refused: with one code per reason.
        """
        if codes := self.refusals(proposal, customers=customers, approval=approval):
            raise Refused(*codes)

    def refusals(
        self, proposal: Proposal, *, customers: int | None, approval: Approval | None = None
    ) -> tuple[Code, ...]:
        """Every condition that ``proposal`` fails, in a fixed order; none where it may pass.

        Guarantee: a proposal that passes is signed by a listed coordinator and within every limit
        as it states it; whoever is not listed, or did not sign, is told nothing else. Whether a
        proposal states its epsilon rightly, and what was spent before, is for
        :func:`fl.privacy.admission.admit`. Of ``customers`` one fixed bit per condition leaves.

        Args:
            customers: how many this brand has; private. None: as far as can be said without data.
        """
        if proposal.coordinator not in self.coordinators.values():
            return (Code.POLICY_COORDINATOR,)
        if not proposal.is_signed():
            return (Code.POLICY_SIGNATURE,)
        role = self.roles.get(proposal.requested_by, Role())
        conditions = (
            (proposal.task in self.tasks, Code.POLICY_TASK),
            (proposal.requested_by in self.roles, Code.POLICY_ROLE),
            (self.columns & role.use >= set(proposal.columns), Code.POLICY_COLUMNS),
            (proposal.plan in self.plans, Code.POLICY_PLAN),
            (proposal.unit in self.units, Code.POLICY_UNIT),
            (proposal.accountant in self.accountants, Code.POLICY_ACCOUNTANT),
            (proposal.noise_source in self.noise_sources, Code.POLICY_NOISE),
            (proposal.epsilon <= self.epsilon_per_run, Code.POLICY_EPSILON),
            (proposal.delta <= self.delta, Code.POLICY_DELTA),
            (customers is None or self.delta * customers < 1, Code.POLICY_DELTA_CUSTOMERS),
            (customers is None or customers >= self.min_customers, Code.POLICY_CUSTOMERS),
            (proposal.brands >= self.min_brands, Code.POLICY_BRANDS),
            (self._approved(proposal, approval), Code.POLICY_APPROVAL),
        )
        return tuple(code for holds, code in conditions if not holds)

    def _approved(self, proposal: Proposal, approval: Approval | None) -> bool:
        if self.approval == "auto":
            return True
        key = self.people.get(approval.person) if approval else None
        return approval is not None and key is not None and approval.holds(proposal, key)


def _role(table: policy_file.Table, known: Collection[str]) -> Role:
    return Role(table.names("use", of=known))


def _known(what: str, given: Iterable[str], known: Collection[str]) -> None:
    for name in given:
        if name not in known:
            raise ValueError(f"The {what} {name!r} is not known; choose from {', '.join(known)}.")
