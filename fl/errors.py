"""The errors a person can act on: what is wrong, where, and what to do.

Every command turns an :class:`InputError` into one line on standard error and exit code 2.
Nothing here ever crosses the wire: a brand answers a coordinator with a code (:class:`Code`).
"""

from __future__ import annotations

from enum import StrEnum


class InputError(Exception):
    """A mistake in a config, a file or a table that its owner can mend.

    Args:
        field: where it is, as its owner would name it (``data.path``, ``column age``).
        problem: what was found there and what was expected.
        remedy: what to do about it.

    >>> print(InputError("data.path", "no file 'crm.csv'", "check the path"))
    data.path: no file 'crm.csv'. To fix it: check the path.
    """

    def __init__(self, field: str, problem: str, remedy: str) -> None:
        self.field, self.problem, self.remedy = field, problem, remedy
        super().__init__(f"{field}: {problem}. To fix it: {remedy}.")


class Code(StrEnum):
    """Why a brand has no update in a round. Codes carry no data and no exception text."""

    OK = "ok"
    FAILED = "brand.failed"  # its code raised; the reason stays in the brand's own log
    SILENT = "brand.silent"  # no reply came back
    MALFORMED = "reply.malformed"  # names or shapes other than the algorithm's
    NOT_FINITE = "reply.not-finite"  # NaN or infinity among the sums or in the weight
    UNKNOWN_REQUEST = "request.unknown"  # a kind of request this brand does not serve
    BUDGET = "budget.exhausted"  # the run would cost more than is left
    LEDGER_RUN = "ledger.run"  # the run is not reserved, is over, or its id stands for another
    LEDGER_UNRESERVED = "ledger.unreserved"  # the round costs more than its run reserved
    LEDGER_REPLAY = "ledger.replay"  # this round was booked before
    POLICY_COORDINATOR = "policy.coordinator"  # its key is not on the brand's list
    POLICY_SIGNATURE = "policy.signature"  # the proposal is not signed by that key
    POLICY_TASK = "policy.task"
    POLICY_ROLE = "policy.role"  # who asks has no role here
    POLICY_COLUMNS = "policy.columns"  # a column that no run may use, or not for this role
    POLICY_PLAN = "policy.plan"
    POLICY_UNIT = "policy.unit"
    POLICY_ACCOUNTANT = "policy.accountant"
    POLICY_NOISE = "policy.noise"  # the source of the noise
    POLICY_EPSILON = "policy.epsilon"  # one run's maximum
    POLICY_UNDERSTATED = "policy.understated"  # the run costs more than the proposal says
    POLICY_LIFETIME = "policy.lifetime"  # the data set's maximum
    POLICY_DELTA = "policy.delta"
    POLICY_DELTA_CUSTOMERS = "policy.delta-customers"  # the brand's ceiling is not below 1/n
    POLICY_CUSTOMERS = "policy.customers"  # too few at this brand
    POLICY_BRANDS = "policy.brands"  # too few in the sum
    POLICY_APPROVAL = "policy.approval"  # a person's signature is missing or wrong


class Refused(Exception):
    """A brand declines a request; only ``code`` travels."""

    def __init__(self, code: Code) -> None:
        self.code = code
        super().__init__(str(code))


class NoAnswer(Exception):
    """No brand at all took part in a round, so there is nothing to apply."""

    def __init__(self, number: int, absent: dict[str, str]) -> None:
        self.number, self.absent = number, absent
        reasons = ", ".join(sorted(set(absent.values()))) or "no brand is enrolled"
        super().__init__(f"round {number}: none of {len(absent)} brands answered ({reasons})")
