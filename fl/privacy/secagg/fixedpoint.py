"""Updates as vectors over the ring 2^32: fixed point, one scale, one more entry for the weight.

An entry ``x`` becomes ``round(x * 2^scale_bits)``, two's complement. Multiples of ``2^-scale_bits``
are carried exactly, so noise drawn on that grid stays what it was. A brand refuses entries beyond
its limit, and the limits of all brands together stay below half of the ring: the sum cannot wrap.
"""

from __future__ import annotations

import hashlib
import math
from functools import lru_cache, partial

import numpy as np
import numpy.typing as npt

from fl.arrays import Array, Arrays
from fl.contracts import Update
from fl.errors import Code, Refused
from fl.privacy.secagg.masks import Ring, in_parts

_ROOM = 31.5  # bits of the signed range of the sum, of 32
_CHUNK = 32 * 1024


def limit(brands: int) -> int:
    """The largest absolute ring value one of ``brands`` may send.

    Guarantee: so many brands within it cannot wrap the ring.

    >>> limit(2) * 2 < 2**31
    True
    """
    return int(2 ** (_ROOM - 1) // brands)


def check_room(brands: int, bound: float, noise: float, scale_bits: int) -> None:
    """Refuse a plan whose sum could leave the ring: ``log2(2 (n (C s + 1) + 12 sigma s)) <= 31.5``.

    Args:
        brands: ``n``, most brands in a sum.
        bound: ``C``, largest absolute entry of an update.
        noise: ``sigma``, standard deviation of the noise in the sum.
        scale_bits: log2 of the scale ``s``.

    Raises:
        ValueError: it could.

    Guarantee: a plan that passes wraps with probability below 1e-32 an entry (12 sigma), and a
    brand that would make it wrap refuses.
    """
    scale = 2**scale_bits
    bits = math.log2(2 * (brands * (bound * scale + 1) + 12 * noise * scale))
    if not bits <= _ROOM:
        raise ValueError(
            f"Expected {brands} brands with bound={bound}, noise={noise} and "
            f"scale_bits={scale_bits} to need at most {_ROOM} of 32 bits, not {bits:.2f}."
        )


def layout(zero: Arrays) -> bytes:
    """SHA-256 over names and shapes, in name order: what a vector's entries mean.

    Guarantee: public; depends on the algorithm, not on data.
    """
    return _layout(tuple([(name, tuple(zero[name].shape)) for name in sorted(zero)]))


@lru_cache(maxsize=32)
def _layout(shapes: tuple[tuple[str, tuple[int, ...]], ...]) -> bytes:
    text = "|".join(f"{name}{shape}" for name, shape in shapes)
    return hashlib.sha256(f"brandagg layout|{text}".encode()).digest()


def length(zero: Arrays) -> int:
    """Entries of a vector: those of the arrays, and the weight.

    Guarantee: public; depends on the algorithm, not on data.
    """
    return sum(int(a.size) for a in zero.values()) + 1


def encode(update: Update, scale_bits: int, most: int, threads: int = 1) -> Ring:
    """``update`` as uint32: sums in name order, then the weight.

    Args:
        most: largest absolute value of an entry, in units of the ring.
        threads: parts of a large array worked on at once.

    Raises:
        Refused: ``NOT_FINITE`` for a NaN or infinity, ``OUT_OF_RANGE`` beyond ``most``.

    Guarantee: exact for multiples of ``2^-scale_bits``, otherwise off by at most half of one.
    """
    parts = [np.ravel(update.sums[name]) for name in sorted(update.sums)]
    parts.append(np.array([update.weight]))
    out = np.empty(sum(map(len, parts)), "<u4")
    if len(out) <= _CHUNK:
        parts = [np.concatenate(parts)]  # few passes over a small model of many arrays
    at = 0
    for part in parts:
        put = partial(_put, part, out[at : at + part.size].view("<i4"), 2.0**scale_bits, most)
        in_parts(part.size, threads, put)
        at += part.size
    return out


def _put(
    part: Array, out: npt.NDArray[np.int32], scale: float, most: int, start: int, stop: int
) -> None:
    """Scaled and rounded entries into ``out``, in pieces that stay in the cache."""
    scaled = np.empty(min(_CHUNK, stop - start))
    for at in range(start, stop, _CHUNK):
        piece = part[at : min(at + _CHUNK, stop)]
        buffer = scaled[: piece.size]
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused
            np.multiply(piece, scale, out=buffer)
            np.rint(buffer, out=buffer)
            small = float(buffer @ buffer) <= float(most) ** 2  # then every entry is; one pass
        if not (small or (-most <= buffer.min() and buffer.max() <= most)):
            finite = bool(np.isfinite(buffer).all())
            raise Refused(Code.OUT_OF_RANGE if finite else Code.NOT_FINITE)
        np.copyto(out[at : at + piece.size], buffer, casting="unsafe")


def decode(total: Ring, zero: Arrays, scale_bits: int) -> Update:
    """The update of a summed vector, with the names and shapes of ``zero``.

    Guarantee: exact; the inverse of :func:`encode` on the grid.
    """
    values = total.view("<i4") * 2.0**-scale_bits
    sums: dict[str, Array] = {}
    at = 0
    for name in sorted(zero):
        size = int(zero[name].size)
        sums[name] = values[at : at + size].reshape(zero[name].shape)
        at += size
    return Update(sums, float(values[-1]))


def within(total: Ring, most: int) -> bool:
    """Whether no entry's absolute value is above ``most``.

    Guarantee: a wrong sum (masks that did not cancel) passes with probability ``(most / 2^31)^d``.
    """
    signed: npt.NDArray[np.int32] = total.view("<i4")
    return bool(signed.min() >= -most and signed.max() <= most)
