"""Updates as vectors over the ring 2^32: fixed point, one scale, one more entry for the weight.

An entry ``x`` becomes ``round(x * 2^scale_bits)``, two's complement. Multiples of ``2^-scale_bits``
are carried exactly, so noise drawn on that grid stays what it was. A brand refuses entries beyond
its limit, and the limits of all brands together stay below half of the ring: the sum cannot wrap.
"""

from __future__ import annotations

import hashlib
import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from fl.arrays import Array, Arrays
from fl.contracts import Update
from fl.errors import Code, Refused
from fl.privacy.secagg.masks import Ring

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


def encode(update: Update, scale_bits: int, most: int) -> Ring:
    """``update`` as uint32: sums in name order, then the weight.

    Args:
        most: largest absolute value of an entry, in units of the ring.

    Raises:
        Refused: ``NOT_FINITE`` for a NaN or infinity, ``OUT_OF_RANGE`` beyond ``most``.

    Guarantee: exact for multiples of ``2^-scale_bits``, otherwise off by at most half of one.
    """
    parts = [np.ravel(update.sums[name]) for name in sorted(update.sums)]
    parts.append(np.array([update.weight]))
    out = np.empty(sum(map(len, parts)), "<u4")
    signed, at = out.view("<i4"), 0
    scaled = np.empty(min(_CHUNK, len(out)))
    if len(out) <= _CHUNK:
        parts = [np.concatenate(parts)]  # one pass over a small model, however many arrays it has
    for part in parts:
        for start in range(0, part.size, _CHUNK):
            piece = part[start : start + _CHUNK]
            buffer = scaled[: piece.size]
            np.multiply(piece, 2.0**scale_bits, out=buffer)
            np.rint(buffer, out=buffer)
            low, high = float(buffer.min()), float(buffer.max())
            if not (-most <= low and high <= most):
                finite = bool(np.isfinite(buffer).all())
                raise Refused(Code.OUT_OF_RANGE if finite else Code.NOT_FINITE)
            np.copyto(signed[at : at + piece.size], buffer, casting="unsafe")
            at += piece.size
    return out


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


def received(sent: Arrays, entries: int) -> Ring | None:
    """The vector in a brand's reply; None if it is not exactly one, of the ring and that long.

    Guarantee: checks form only.
    """
    y = sent.get("y")
    if y is None or len(sent) != 1 or y.dtype != np.uint32 or y.shape != (entries,):
        return None
    return np.ascontiguousarray(y, "<u4")


def within(total: Ring, most: int) -> bool:
    """Whether no entry's absolute value is above ``most``.

    Guarantee: a wrong sum (masks that did not cancel) passes with probability ``(most / 2^31)^d``.
    """
    signed: npt.NDArray[np.int32] = total.view("<i4")
    return bool(signed.min() >= -most and signed.max() <= most)
