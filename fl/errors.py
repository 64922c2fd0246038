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
        code: what a brand answers instead of ``brand.failed``, if others must know of it.

    >>> print(InputError("data.path", "no file 'crm.csv'", "check the path"))
    data.path: no file 'crm.csv'. To fix it: check the path.
    """

    def __init__(self, field: str, problem: str, remedy: str, *, code: Code | None = None) -> None:
        self.field, self.problem, self.remedy, self.code = field, problem, remedy, code
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
    LEDGER_SET_BACK = "ledger.set-back"  # it lacks entries that its brand has signed
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
    # secure sum (fl/privacy/secagg)
    BAD_REQUEST = "request.malformed"  # missing or ill-formed parts
    UNPROTECTED = "request.unprotected"  # asks for an update outside of the protocol
    OUT_OF_ORDER = "request.out-of-order"  # a step that is not the next one
    REPLAYED = "round.replayed"  # a round or attempt that was opened before
    BUNDLE = "bundle.unknown"  # Flower code that this brand was not welcomed with
    UNKNOWN_PLAN = "plan.unknown"  # a plan this brand's operator has not approved
    UNKNOWN_ROSTER = "roster.unknown"  # another list of brands, or a brand that is not on it
    MODEL_MISMATCH = "model.mismatch"  # does not follow from the published sums
    BAD_RESULT = "result.invalid"  # a published sum without the signatures it needs
    BAD_SIGNATURE = "key.signature"  # a key, or an update, that its brand has not signed
    DUPLICATE_KEY = "key.duplicate"  # two brands with one key
    OWN_ENTRY = "key.own-entry"  # this brand's own entry was altered or left out
    WEAK_KEY = "key.weak"  # a key of low order, or no key at all
    PEER_SET_BACK = "peer.set-back"  # another brand's ledger lacks entries that it has signed
    TOO_FEW = "brands.too-few"  # fewer brands than the plan's minimum or the threshold
    BAD_SHARE = "share.undecryptable"  # a sealed share was altered, or made for another round
    WRONG_SHARE = "share.wrong"  # a share that does not fit its owner's commitment
    SPLIT_VIEW = "survivors.split-view"  # brands were shown different lists of survivors
    BOTH_SHARES = "survivors.both-shares"  # a second list, which would ask both kinds of shares
    ANSWERED = "survivors.answered"  # shares were handed out in this round already
    OUT_OF_RANGE = "values.out-of-range"  # an entry, or the sum, beyond the plan's bound


class Refused(Exception):
    """A brand declines a request; only codes travel: ``code``, and all there are in ``codes``."""

    def __init__(self, code: Code, *more: Code) -> None:
        self.code, self.codes = code, (code, *more)
        super().__init__(", ".join(self.codes))


class NoAnswer(Exception):
    """No brand at all took part in a round, so there is nothing to apply."""

    def __init__(self, number: int, absent: dict[str, str]) -> None:
        self.number, self.absent = number, absent
        reasons = ", ".join(sorted(set(absent.values()))) or "no brand is enrolled"
        super().__init__(f"round {number}: none of {len(absent)} brands answered ({reasons})")


class Lost(Exception):
    """What carries requests to brands is away; a run goes on when it is back."""
