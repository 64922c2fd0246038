"""No brand by subtraction: what was released before decides what may be released now.

Releases over the same data whose brands differ by few show, by subtraction, those few brands' part;
customers' privacy does not hide it. Chin, Ozsoyoglu, "Auditing and inference control in statistical
databases", IEEE TSE 1982 (audit expert): a set of sums gives a single summand away if its unit
vector is a linear combination of the sums' indicator vectors. Here no combination may be about
fewer than so many brands, whatever their coefficients are.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fl.errors import InputError

_MOST = 50_000  # sets of brands that are looked at: some seconds


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

    Guarantee: no linear combination of the releases about one subject, ``new`` among them, is of
    between 1 and ``least - 1`` brands' parts; the difference of two is one of them.

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
    few = fewest([*known, new], least) if known else None
    if few is not None:
        raise InputError(
            "partition",
            f"with {len(known)} earlier releases about {new.subject!r}, a combination of sums is "
            + ("one brand's part" if few == 1 else f"the part of {few} brands")
            + f", and at least {least} are asked for",
            "ask the same brands again, or about another period (task.period)",
        )


def fewest(releases: Sequence[Release], least: int) -> int | None:
    """How few brands, below ``least``, some linear combination of the releases is about.

    Brands that were always in and out together have the same coefficient in every combination; such
    a class is in it or not. A combination is about some classes only if taking their columns out of
    the classes' matrix lowers its rank. Guarantee: the smallest number there is; None: none.

    Raises:
        InputError: the cohorts are too many and too mixed to be looked through.
    """
    brands = sorted({b for r in releases for b in r.cohort})
    members = [tuple(b in cohort for cohort in map(set, _cohorts(releases))) for b in brands]
    classes = sorted(Counter(members).items(), key=lambda found: found[1])
    matrix = np.array([kind for kind, _ in classes], np.float64).T
    rank = np.linalg.matrix_rank(matrix)
    small = [i for i, (_, size) in enumerate(classes) if size < least]
    looked, best = 0, least
    for number in range(1, least):
        for chosen in itertools.combinations(small, number):
            size = sum(classes[i][1] for i in chosen)
            if size >= best:
                continue
            looked += 1
            if looked > _MOST:
                raise InputError(
                    "task.register",
                    f"holds {len(releases)} releases of brands so mixed that their combinations "
                    "cannot all be looked through",
                    "ask the brands of an earlier release again, or about another period "
                    "(task.period)",
                )
            if np.linalg.matrix_rank(np.delete(matrix, chosen, 1)) < rank:
                best = size
    return best if best < least else None


def _cohorts(releases: Sequence[Release]) -> list[tuple[str, ...]]:
    """Without repetitions. Guarantee: each once."""
    return sorted({r.cohort for r in releases})
