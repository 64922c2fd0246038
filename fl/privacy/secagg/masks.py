"""Masks: expand a key and add it to a vector over the ring 2^32, in cache-sized chunks.

One pass: a chunk of every stream is produced and added while the chunk of the sum is in the cache,
into one re-used buffer. The stream is read as little-endian uint32, so all hosts agree. Ciphers,
hashes and numpy release the interpreter's lock: the parts of a large vector are worked on at once.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import CipherContext

from fl.privacy.secagg.profiles import Profile

Ring = npt.NDArray[np.uint32]
T = TypeVar("T")

CHUNK = 64 * 1024  # entries, 256 KiB
MASK = 40  # bytes of a mask's key: 32 for the stream of the vector, 8 that mask its tag
_STREAM = 32
THREADS = min(4, os.cpu_count() or 1)  # for large vectors
_ZEROS = memoryview(bytes(4 * CHUNK))


def in_parts(size: int, threads: int, work: Callable[[int, int], T]) -> list[T]:
    """``work(start, stop)`` for parts of ``size`` entries, each but the last of whole chunks.

    Guarantee: parts are disjoint, cover everything, and come back in order.
    """
    chunks = -(-size // CHUNK)
    step = max(1, -(-chunks // max(1, threads))) * CHUNK
    edges = [(start, min(start + step, size)) for start in range(0, size, step)]
    if len(edges) <= 1:
        return [work(*edge) for edge in edges]
    with ThreadPoolExecutor(len(edges) - 1) as pool:
        others = [pool.submit(work, *edge) for edge in edges[1:]]
        return [work(*edges[0]), *(other.result() for other in others)]


def leaf(chunk: Ring) -> bytes:
    """SHA-256 of a chunk's little-endian bytes. Guarantee: binds all entries."""
    return hashlib.sha256(chunk.data).digest()


def root_of(leaves: Sequence[bytes], size: int) -> bytes:
    """The hash of a vector of ``size`` entries from those of its chunks.

    Guarantee: binds all entries (a tree of one level; a leaf is hashed from at most 256 KiB and the
    root begins with its own name, so neither passes for the other).
    """
    head = b"brandagg vector|" + size.to_bytes(8, "big")
    return hashlib.sha256(head + b"".join(leaves)).digest()


def hash_of(vector: Ring, threads: int = 1) -> bytes:
    """The hash of a vector. Guarantee: of :func:`root_of`."""

    def leaves(start: int, stop: int) -> list[bytes]:
        return [leaf(vector[at : min(at + CHUNK, stop)]) for at in range(start, stop, CHUNK)]

    found = in_parts(len(vector), threads, leaves)
    return root_of([one for part in found for one in part], len(vector))


def hashes_of(vectors: Sequence[Ring | None], threads: int) -> list[bytes]:
    """The hash of each vector; empty for None. Guarantee: of :func:`hash_of`."""

    def one(vector: Ring | None) -> bytes:
        return b"" if vector is None else hash_of(vector)

    if threads <= 1 or sum(len(v) for v in vectors if v is not None) < 4 * CHUNK:
        return [one(vector) for vector in vectors]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, vectors))


class Masks:
    """The streams of some keys from one place of a vector on; they are used up as they are added.

    Guarantee: of :func:`add_masks`.
    """

    def __init__(
        self, plus: Sequence[bytes], minus: Sequence[bytes], profile: Profile, start: int, size: int
    ) -> None:
        self._streams: list[tuple[CipherContext, Callable[..., object]]] = [
            *((profile.stream(key[:_STREAM], start // 4), np.add) for key in plus),
            *((profile.stream(key[:_STREAM], start // 4), np.subtract) for key in minus),
        ]
        entries = min(CHUNK, size)
        self._buffer = np.empty(4 * entries + 15, np.uint8).data  # ciphers ask for a block of room
        self._mask = np.frombuffer(self._buffer, "<u4", count=entries)

    def add_to(self, chunk: Ring) -> None:
        """Put the next stretch of every stream on ``chunk``, in place."""
        mask, zeros = self._mask[: len(chunk)], _ZEROS[: chunk.nbytes]
        for stream, apply in self._streams:
            stream.update_into(zeros, self._buffer)
            apply(chunk, mask, out=chunk)


def add_masks(
    total: Ring, plus: Sequence[bytes], minus: Sequence[bytes], profile: Profile, threads: int = 1
) -> None:
    """Add the streams of the keys ``plus`` to ``total`` and subtract those of ``minus``, in place.

    Args:
        total: uint32, contiguous.
        plus, minus: keys of :data:`MASK` bytes, each used for nothing else.
        threads: parts of the vector worked on at once.

    Guarantee: with at least one key unknown to an observer, ``total`` is uniform over the ring to
    it, whatever it held before (one-time pad with a pseudo-random stream).

    >>> from fl.privacy.secagg.profiles import PROFILES
    >>> x = np.arange(5, dtype=np.uint32)
    >>> add_masks(x, [b"k" * 32], [], PROFILES["default"])
    >>> add_masks(x, [], [b"k" * 32], PROFILES["default"])
    >>> x.tolist()
    [0, 1, 2, 3, 4]
    """

    def part(start: int, stop: int) -> None:
        masks = Masks(plus, minus, profile, start, stop - start)
        for at in range(start, stop, CHUNK):
            masks.add_to(total[at : min(at + CHUNK, stop)])

    in_parts(len(total), threads, part)
