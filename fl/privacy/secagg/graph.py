"""Who masks with whom: everybody with everybody, or a k-regular graph when there are many brands.

Bell, Bonawitz, Gascón, Lepoint, Raykova, "Secure single-server aggregation with (poly)logarithmic
overhead", CCS 2020, section 4: k = O(log n) neighbours suffice. The graph is a ring of
nearest neighbours over a permutation seeded by the hash of all signed advertisements, so the
coordinator cannot choose it without re-drawing somebody's keys. One that colludes with brands can
re-draw theirs and try many graphs: leave a margin between those who may collude and what a random
neighbourhood tolerates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

COMPLETE = 100  # up to so many brands, all are neighbours


def neighbours(
    members: Sequence[int], seed: bytes, degree: int, only: Sequence[int] | None = None
) -> dict[int, tuple[int, ...]]:
    """For each member (or ``only`` some) the others it shares keys with, sorted.

    Args:
        members: distinct numbers, sorted.
        seed: 32 bytes nobody could choose.
        degree: even; used above :data:`COMPLETE` members.

    Guarantee: symmetric; a function of ``members`` and ``seed`` alone.

    >>> neighbours([1, 2, 5], b"", 60)
    {1: (2, 5), 2: (1, 5), 5: (1, 2)}
    """
    asked = members if only is None else only
    if complete(len(members), degree):
        return {m: tuple(o for o in members if o != m) for m in asked}
    ring = sorted(members, key=lambda m: hashlib.sha256(seed + m.to_bytes(2, "big")).digest())
    place = {m: at for at, m in enumerate(ring)}
    n, half = len(ring), degree // 2
    steps = [*range(-half, 0), *range(1, half + 1)]
    return {m: tuple(sorted(ring[(place[m] + s) % n] for s in steps)) for m in asked}


def complete(members: int, degree: int) -> bool:
    """Whether all are neighbours. Guarantee: public."""
    return members <= max(COMPLETE, degree + 1)


def threshold(neighbourhood: int, everyone: bool, max_dropouts: int) -> int:
    """``t = max(floor(2m/3) + 1, m - max_dropouts)`` of a neighbourhood of ``m``, oneself included.

    ``max_dropouts`` counts among ``everyone``; a neighbourhood in a larger graph takes two thirds.

    Guarantee: two views of the survivors cannot both find ``t`` consents in one neighbourhood
    unless at least ``2t - m`` of its members are corrupt.

    >>> [threshold(m, True, 5) for m in (3, 5, 10, 50)]
    [3, 4, 7, 45]
    """
    two_thirds = 2 * neighbourhood // 3 + 1
    return max(two_thirds, neighbourhood - max_dropouts) if everyone else two_thirds
