"""Masks: expand a key and add it to a vector over the ring 2^32, in cache-sized chunks.

One pass: a chunk of every stream is produced and added while the chunk of the sum is in the cache,
into one re-used buffer. The stream is read as little-endian uint32, so all hosts agree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import CipherContext

from fl.privacy.secagg.profiles import Profile

Ring = npt.NDArray[np.uint32]

CHUNK = 64 * 1024  # entries, 256 KiB
_ZEROS = bytes(4 * CHUNK)
_LARGE = 4_000_000  # bytes to hash that are worth a second thread


def hash_of(vector: Ring) -> bytes:
    """SHA-256 of a vector's little-endian bytes. Guarantee: binds all entries."""
    return hashlib.sha256(vector.data).digest()


def hashes_of(vectors: Sequence[Ring | None], threads: int) -> list[bytes]:
    """The hash of each vector; empty for None. Guarantee: of :func:`hash_of`."""
    large = sum(v.nbytes for v in vectors if v is not None) > _LARGE
    if threads <= 1 or not large:
        return [b"" if v is None else hash_of(v) for v in vectors]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda v: b"" if v is None else hash_of(v), vectors))


def add_masks(
    total: Ring, plus: Sequence[bytes], minus: Sequence[bytes], profile: Profile, threads: int = 1
) -> None:
    """Add the streams of the keys ``plus`` to ``total`` and subtract those of ``minus``, in place.

    Args:
        total: uint32, contiguous.
        plus, minus: 32-byte keys, each used for nothing else.
        threads: parts of the vector worked on at once; the cipher releases the interpreter's lock.

    Guarantee: with at least one key unknown to an observer, ``total`` is uniform over the ring to
    it, whatever it held before (one-time pad with a pseudo-random stream).

    >>> from fl.privacy.secagg.profiles import PROFILES
    >>> x = np.arange(5, dtype=np.uint32)
    >>> add_masks(x, [b"k" * 32], [], PROFILES["default"])
    >>> add_masks(x, [], [b"k" * 32], PROFILES["default"])
    >>> x.tolist()
    [0, 1, 2, 3, 4]
    """
    if threads <= 1 or len(total) < 2 * CHUNK:
        return _part(total, plus, minus, profile, 0)
    step = -(-len(total) // threads // 4) * 4  # a whole number of cipher blocks
    starts = range(0, len(total), step)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda s: _part(total[s : s + step], plus, minus, profile, s // 4), starts))


def _part(
    total: Ring, plus: Sequence[bytes], minus: Sequence[bytes], profile: Profile, block: int
) -> None:
    streams: list[tuple[CipherContext, Callable[..., object]]] = [
        *((profile.stream(key, block), np.add) for key in plus),
        *((profile.stream(key, block), np.subtract) for key in minus),
    ]
    size = min(CHUNK, len(total))
    buffer = bytearray(4 * size + 15)  # the ciphers ask for a block of room
    mask, zeros = np.frombuffer(buffer, "<u4", count=size), memoryview(_ZEROS)
    for start in range(0, len(total), CHUNK):
        part = total[start : start + CHUNK]
        n = len(part)
        for stream, apply in streams:
            stream.update_into(zeros[: 4 * n], buffer)
            apply(part, mask[:n], out=part)
