"""Step 5 for a vector in one pass: tag, masks and hash of a chunk while it is in the cache."""

from __future__ import annotations

from collections.abc import Sequence

from fl.privacy.secagg import tag
from fl.privacy.secagg.masks import CHUNK, Masks, Ring, in_parts, leaf, root_of
from fl.privacy.secagg.profiles import Profile


def seal(
    vector: Ring,
    plus: Sequence[bytes],
    minus: Sequence[bytes],
    weights: tag.Weights,
    profile: Profile,
    threads: int = 1,
) -> tuple[int, bytes]:
    """Put the masks on ``vector``, in place.

    Args:
        plus, minus: keys of the masks.
        weights: of this round's tag.
        threads: parts of the vector worked on at once.

    Returns:
        The tag of the vector as it was, not yet masked, and the hash of the masked one.

    Guarantee: of ``masks.add_masks``, ``tag.tag`` and ``masks.hash_of``, as if one after the other.
    """

    def part(start: int, stop: int) -> tuple[int, list[bytes]]:
        masks = Masks(plus, minus, profile, start, stop - start)
        checksum, leaves = tag.Checksum(weights, start), []
        for at in range(start, stop, CHUNK):
            chunk = vector[at : min(at + CHUNK, stop)]
            checksum.add(chunk)
            masks.add_to(chunk)
            leaves.append(leaf(chunk))
        return checksum.value, leaves

    done = in_parts(len(vector), threads, part)
    own = tag.add(*(value for value, _ in done))
    return own, root_of([one for _, leaves in done for one in leaves], len(vector))
