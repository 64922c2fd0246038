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
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fl.privacy.secagg.masks import CHUNK, Ring, in_parts
from fl.privacy.secagg.profiles import Profile

SIZE = 8  # bytes
_MODULUS = 2**64
_STEP = 16 * 1024  # entries worked on at a time: three buffers of them stay in the cache
_ZEROS = memoryview(bytes(4 * _STEP))


@dataclass(frozen=True, slots=True, repr=False)
class Weights:
    """``r`` of one round, the same for all brands.

    Attributes:
        key: what it is expanded from.
        profile: the cipher.
        expanded: uint64, all of it, if the vector is small.
    """

    key: bytes
    profile: Profile
    expanded: npt.NDArray[np.uint64] | None

    def __repr__(self) -> str:
        return "Weights(<redacted>)"


def weights(key: bytes, sid: bytes, profile: Profile, size: int) -> Weights:
    """``r`` of the round ``sid`` for vectors of ``size`` entries.

    Args:
        key: 32 bytes that all brands of the run share.

    Guarantee: as secret as ``key``, fresh in every round.
    """
    own = profile.derive(key, sid, b"tag")
    if size > CHUNK:
        return Weights(own, profile, None)
    words = np.frombuffer(profile.stream(own).update(bytes(4 * size)), "<u4")
    return Weights(own, profile, words.astype(np.uint64))


class Checksum:
    """``<r, x> mod 2^64`` of a vector from one place on, chunk by chunk.

    Guarantee: of :func:`tag`.
    """

    def __init__(self, weights: Weights, start: int) -> None:
        self._known, self._at, self.value = weights.expanded, start, 0
        self._wide = np.empty(_STEP, np.uint64)
        if self._known is None:
            self._stream = weights.profile.stream(weights.key, start // 4)
            self._buffer = np.empty(4 * _STEP + 15, np.uint8).data
            self._words = np.frombuffer(self._buffer, "<u4", count=_STEP)
            self._random = np.empty(_STEP, np.uint64)

    def add(self, chunk: Ring) -> None:
        """Take in the next entries; signed, as they are in a vector."""
        signed = chunk.view("<i4")
        for at in range(0, len(chunk), _STEP):
            part = signed[at : at + _STEP]
            wide = self._wide[: len(part)]
            wide.view(np.int64)[:] = part
            np.multiply(wide, self._next(len(part)), out=wide)
            self.value += int(np.add.reduce(wide))

    def _next(self, n: int) -> npt.NDArray[np.uint64]:
        at, self._at = self._at, self._at + n
        if self._known is not None:
            return self._known[at : self._at]
        self._stream.update_into(_ZEROS[: 4 * n], self._buffer)
        random = self._random[:n]
        random[:] = self._words[:n]
        return random


def tag(vector: Ring, key: bytes, sid: bytes, profile: Profile, threads: int = 1) -> int:
    """``<r, x> mod 2^64`` for the signed entries of a ring vector.

    Args:
        key: 32 bytes that all brands of the run share.
        threads: parts of the vector worked on at once.

    Guarantee: who does not know ``key`` changes vector and tag together unseen with probability at
    most ``2^-32``; the tags of a sum's parts say nothing beyond the sum's tag once they are masked.
    """
    own = weights(key, sid, profile, len(vector))

    def part(start: int, stop: int) -> int:
        checksum = Checksum(own, start)
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
