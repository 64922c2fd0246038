"""A tag by which brands see that a published sum is theirs: a keyed, linear checksum.

Each brand adds ``<r, x_i> mod 2^64`` to its reply, masked like its vector; ``r`` is pseudo-random,
32 bits an entry, from a key that the brands share and the coordinator does not know. Tags add as
vectors do, so a coordinator that publishes another sum must guess the change of the tag.

Carter and Wegman, "New hash functions and their use in authentication", JCSS 1981 (the idea).
For a change ``d`` of the sum with ``0 < |d_k| < 2^32``, ``r_k -> r_k d_k mod 2^64`` is injective on
32-bit ``r_k``: whatever the rest is, one value in ``2^32`` fits.
"""

from __future__ import annotations

import numpy as np

from fl.privacy.secagg.masks import Ring
from fl.privacy.secagg.profiles import Profile

SIZE = 8  # bytes
_MODULUS = 2**64
_CHUNK = 32 * 1024
_BEYOND = 2**64  # the block of a mask stream that no vector reaches


def tag(vector: Ring, key: bytes, sid: bytes, profile: Profile) -> int:
    """``<r, x> mod 2^64`` for the signed entries of a ring vector.

    Args:
        key: 32 bytes that all brands of the run share.

    Guarantee: who does not know ``key`` changes vector and tag together unseen with probability at
    most ``2^-32``; the tags of a sum's parts say nothing beyond the sum's tag once they are masked.
    """
    stream = profile.stream(profile.derive(key, sid, b"tag"))
    total, signed = 0, vector.view("<i4")
    wide, random = np.empty(_CHUNK, np.uint64), np.empty(_CHUNK, np.uint64)
    zeros, buffer = bytes(4 * _CHUNK), bytearray(4 * _CHUNK + 15)
    words = np.frombuffer(buffer, "<u4", count=_CHUNK)
    for start in range(0, len(vector), _CHUNK):
        part = signed[start : start + _CHUNK]
        n = len(part)
        stream.update_into(memoryview(zeros)[: 4 * n], buffer)
        wide.view(np.int64)[:n] = part
        random[:n] = words[:n]
        total += int(np.dot(wide[:n], random[:n]))
    return total % _MODULUS


def mask(plus: list[bytes], minus: list[bytes], profile: Profile) -> int:
    """What the keys of a vector's masks add to its tag.

    Guarantee: as the mask of the vector: uniform to who lacks one of the keys.
    """
    return (sum(_word(k, profile) for k in plus) - sum(_word(k, profile) for k in minus)) % _MODULUS


def add(*tags: int) -> int:
    """The tag of a sum. Guarantee: exact modulo 2^64."""
    return sum(tags) % _MODULUS


def _word(key: bytes, profile: Profile) -> int:
    return int.from_bytes(profile.stream(key, _BEYOND).update(bytes(SIZE)), "little")
