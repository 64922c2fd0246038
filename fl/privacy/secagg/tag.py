"""A tag by which brands see that a published sum is theirs: a keyed, linear checksum.

Each brand adds ``<r, x_i> mod 2^64`` to its reply, masked like its vector; ``r`` is pseudo-random,
32 bits an entry, from a key that the brands share and the coordinator does not know. Tags add as
vectors do, so a coordinator that publishes another sum must guess the change of the tag.

Carter and Wegman, "New hash functions and their use in authentication", JCSS 1981 (the idea).
For a change ``d`` of the sum with ``0 < |d_k| < 2^32``, ``r_k -> r_k d_k mod 2^64`` is injective on
32-bit ``r_k``: whatever the rest is, one value in ``2^32`` fits.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from fl.privacy.secagg.masks import CHUNK, Ring, in_parts
from fl.privacy.secagg.profiles import Profile

SIZE = 8  # bytes
_MODULUS = 2**64
_STEP = 16 * 1024  # entries worked on at a time: three buffers of them stay in the cache
_ZEROS = memoryview(bytes(4 * _STEP))


class Checksum:
    """``<r, x> mod 2^64`` of a vector from one place on, chunk by chunk.

    Guarantee: of :func:`tag`.
    """

    def __init__(self, key: bytes, profile: Profile, start: int) -> None:
        self._stream = profile.stream(key, start // 4)
        self._buffer = bytearray(4 * _STEP + 15)
        self._words = np.frombuffer(self._buffer, "<u4", count=_STEP)
        self._wide, self._random = np.empty(_STEP, np.uint64), np.empty(_STEP, np.uint64)
        self.value = 0

    def add(self, chunk: Ring) -> None:
        """Take in the next entries; signed, as they are in a vector."""
        signed = chunk.view("<i4")
        for at in range(0, len(chunk), _STEP):
            part = signed[at : at + _STEP]
            n = len(part)
            wide, random = self._wide[:n], self._random[:n]
            self._stream.update_into(_ZEROS[: 4 * n], self._buffer)
            wide.view(np.int64)[:] = part
            random[:] = self._words[:n]
            np.multiply(wide, random, out=wide)
            self.value += int(np.add.reduce(wide))


def tag_key(key: bytes, sid: bytes, profile: Profile) -> bytes:
    """What ``r`` of one round is expanded from. Guarantee: as ``key``, fresh in every round."""
    return profile.derive(key, sid, b"tag")


def tag(vector: Ring, key: bytes, sid: bytes, profile: Profile, threads: int = 1) -> int:
    """``<r, x> mod 2^64`` for the signed entries of a ring vector.

    Args:
        key: 32 bytes that all brands of the run share.
        threads: parts of the vector worked on at once.

    Guarantee: who does not know ``key`` changes vector and tag together unseen with probability at
    most ``2^-32``; the tags of a sum's parts say nothing beyond the sum's tag once they are masked.
    """
    own = tag_key(key, sid, profile)

    def part(start: int, stop: int) -> int:
        checksum = Checksum(own, profile, start)
        for at in range(start, stop, CHUNK):
            checksum.add(vector[at : min(at + CHUNK, stop)])
        return checksum.value

    return sum(in_parts(len(vector), threads, part)) % _MODULUS


def mask(plus: Iterable[bytes], minus: Iterable[bytes]) -> int:
    """What the keys of a vector's masks add to its tag: their last bytes, used for nothing else.

    Guarantee: as the mask of the vector: uniform to who lacks one of the keys.
    """
    return (sum(_word(key) for key in plus) - sum(_word(key) for key in minus)) % _MODULUS


def add(*tags: int) -> int:
    """The tag of a sum. Guarantee: exact modulo 2^64."""
    return sum(tags) % _MODULUS


def _word(key: bytes) -> int:
    return int.from_bytes(key[-SIZE:], "little")
