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
