"""No brand by subtraction: what was released before decides what may be released now.

Releases over the same data whose brands differ by few show, by subtraction, those few brands' part;
customers' privacy does not hide it. Chin, Ozsoyoglu, "Auditing and inference control in statistical
databases", IEEE TSE 1982 (audit expert): a set of sums gives a single summand away if its unit
vector is a linear combination of the sums' indicator vectors. Here no combination may be about
fewer than so many brands, whatever their coefficients are. And no two releases about the same
customers group them by different segments or clip a number at different bounds: the customers
between two cut points, or beyond two bounds, would be a cell that no rule was tested on.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fl.errors import InputError

_REMEDY = "ask the same brands again, in the same way; rows of another time have a task.period"
_MOST = 50_000  # sets of brands that are looked at: some seconds


@dataclass(frozen=True, slots=True)
class Release:
    """One release of statistics, public.

    Attributes:
        subject: which data it is about (data set and period, as whoever asks declares it); releases
            about different ones do not meet.
        cohort: whose customers are in it, sorted.
        segment: the column that groups customers and its cut points or values; "": none.
        metrics: what is described, sorted: name and how its values are bounded.
        least: fewest brands that anything released with it may be about.
    """

    subject: str
    cohort: tuple[str, ...]
    segment: str = ""
    metrics: tuple[tuple[str, str], ...] = ()
    least: int = 3


def refuse_differencing(past: Sequence[Release], new: Release) -> None:
    """Refuse a release from which, with past ones, fewer brands or an untested cell could be told.

    The same cohort asked the same way is no difference; it costs every customer anew, which ledgers
    see to. ``least`` is the largest that any of these releases promised.

    Guarantee: no linear combination of the releases about one subject, ``new`` among them, is of
    between 1 and ``least - 1`` brands' parts; the difference of two is one of them. Those that
    share a brand have the same segments, where they have any, and bound a number alike.

    Raises:
        InputError: naming what differs, or how many brands the difference leaves, not which.
    """
    about = [r for r in past if r.subject == new.subject]
    for release in about:
        if set(release.cohort) & set(new.cohort):
            _refuse_other_cells(release, new)
    least = max([new.least, *(r.least for r in about)])
    known = [r for r in about if r.cohort != new.cohort]
    for release in known:
        for more, fewer in ((new, release), (release, new)):
            left = set(more.cohort) - set(fewer.cohort)
            if 0 < len(left) < least:
                raise InputError(
                    "partition",
                    f"an earlier release about {new.subject!r} has brands that differ by "
                    f"{len(left)}: the difference of the two is what {len(left)} of them "
                    f"contribute, and at least {least} are asked for",
                    _REMEDY,
                )
    few = fewest([*known, new], least) if known else None
    if few is not None:
        raise InputError(
            "partition",
            f"with {len(known)} earlier releases about {new.subject!r}, a combination of sums is "
            + ("one brand's part" if few == 1 else f"the part of {few} brands")
            + f", and at least {least} are asked for",
            _REMEDY,
        )


def _refuse_other_cells(past: Release, new: Release) -> None:
    """Same segments, where both have some; the same bounds of each number that both describe."""
    if past.segment and new.segment and past.segment != new.segment:
        raise InputError(
            "task.segment",
            f"an earlier release about {new.subject!r} and some of these brands has other segments "
            f"({past.segment}): differences of cells would be customers whom no rule was tested on",
            "ask by the same segments, or without any (task.segment=null)",
        )
    bounded = dict(past.metrics)
    for name, bounds in new.metrics:
        if bounded.get(name, bounds) != bounds:
            raise InputError(
                "task.caps",
                f"an earlier release about {new.subject!r} and some of these brands bounds "
                f"{name!r} by {bounded[name]}, this one by {bounds}: their difference is what "
                "customers beyond a bound have",
                "use the same data.columns and task.caps, or leave the number out",
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
                    _REMEDY,
                )
            if np.linalg.matrix_rank(np.delete(matrix, chosen, 1)) < rank:
                best = size
    return best if best < least else None


def _cohorts(releases: Sequence[Release]) -> list[tuple[str, ...]]:
    """Without repetitions. Guarantee: each once."""
    return sorted({r.cohort for r in releases})
