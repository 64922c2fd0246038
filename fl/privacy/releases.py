"""No brand by subtraction: what was released before decides what may be released now.

Two releases over the same data whose brands differ by few show, by subtraction, those few brands'
part; customers' privacy does not hide it. Chin, Ozsoyoglu, "Auditing and inference control in
statistical databases", IEEE TSE 1982 (audit expert): a set of sums gives a single summand away if
its unit vector is a linear combination of the sums' indicator vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fl.errors import InputError


@dataclass(frozen=True, slots=True)
class Release:
    """One release of statistics, public.

    Attributes:
        subject: which data it is about (data set and period); releases about different ones do not
            meet.
        cohort: whose customers are in it, sorted.
    """

    subject: str
    cohort: tuple[str, ...]


def refuse_differencing(past: Sequence[Release], new: Release, least: int) -> None:
    """Refuse a release from which, with past ones, fewer than ``least`` brands could be told.

    The same cohort again is no difference; it costs every customer anew, which ledgers see to.

    Guarantee: no two releases about one subject differ by between 1 and ``least - 1`` brands on
    either side, and no linear combination of all of them is one brand's part. Combinations of
    several releases that leave a few brands are not looked for.

    Raises:
        InputError: naming how many brands the difference leaves, not which.
    """
    known = [r for r in past if r.subject == new.subject and r.cohort != new.cohort]
    for release in known:
        for more, fewer in ((new, release), (release, new)):
            left = set(more.cohort) - set(fewer.cohort)
            if 0 < len(left) < least:
                raise InputError(
                    "partition",
                    f"an earlier release about {new.subject!r} has brands that differ by "
                    f"{len(left)}: the difference of the two is what {len(left)} of them "
                    f"contribute, and at least {least} are asked for",
                    "ask the same brands again, or about another period (task.period)",
                )
    if known and _singled_out([*known, new]):
        raise InputError(
            "partition",
            f"with {len(known)} earlier releases about {new.subject!r}, a combination of sums is "
            "one brand's part",
            "ask the same brands again, or about another period (task.period)",
        )


def _singled_out(releases: Sequence[Release]) -> bool:
    """Whether some brand's unit vector is in the span. Guarantee: of exact cohorts."""
    brands = sorted({b for r in releases for b in r.cohort})
    matrix = np.array([[float(b in r.cohort) for b in brands] for r in releases])
    rank = np.linalg.matrix_rank(matrix)
    without = (np.linalg.matrix_rank(np.delete(matrix, i, 1)) for i in range(len(brands)))
    return any(r < rank for r in without)
