"""Masked vectors as the coordinator gets them: their form, and their hashes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fl.arrays import Arrays
from fl.contracts import Reply
from fl.privacy.secagg.masks import Ring, hashes_of
from fl.privacy.secagg.terms import Terms


def vectors(
    replies: Mapping[int, Reply], entries: int, terms: Terms, sid: bytes, threads: int
) -> dict[int, tuple[Ring | None, bytes]]:
    """The vector in each brand's reply and its hash; None if it is not exactly one of the ring.

    A brand of this process has noted the hash of the very array it sends, which nobody can write.

    Guarantee: checks form only; each hash is that of the vector beside it.
    """
    found = {i: _vector(reply.arrays, entries) for i, reply in replies.items()}
    hashes: dict[int, bytes] = {}
    for i, vector in found.items():
        noted: tuple[Ring, bytes] | None = terms.once(sid, ("y", i), lambda: None)
        if noted is not None and noted[0] is vector and not vector.flags.writeable:
            hashes[i] = noted[1]
    others = [i for i in found if i not in hashes]
    made = hashes_of([found[i] for i in others], threads)
    hashes |= zip(others, made, strict=True)
    return {i: (vector, hashes[i]) for i, vector in found.items()}


def _vector(sent: Arrays, entries: int) -> Ring | None:
    y = sent.get("y")
    if y is None or len(sent) != 1 or y.dtype != np.uint32 or y.shape != (entries,):
        return None
    return np.ascontiguousarray(y, "<u4")
