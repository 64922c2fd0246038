"""Named arrays and the arithmetic of updates: what is added, averaged, stored and sent.

An :data:`Arrays` maps names to numpy arrays. Sums are float64; model parameters are broadcast in
the model's own precision (float32). Every function is pure and sorts by name where order matters,
so the same arrays always give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]
Arrays = Mapping[str, Array]
_ZERO = bytes(8)  # a float64, read-only


def _both(a: Arrays, b: Arrays) -> list[str]:
    """The names of both, sorted."""
    if a.keys() != b.keys():
        raise ValueError(f"Expected the same names on both sides, got {[sorted(a), sorted(b)]}.")
    return sorted(a)


def add(a: Arrays, b: Arrays) -> dict[str, Array]:
    """``a + b`` in float64, entry by entry.

    >>> add({"w": np.ones(2)}, {"w": np.ones(2)})["w"].tolist()
    [2.0, 2.0]
    """
    return {n: np.asarray(np.add(a[n], b[n], dtype=np.float64)) for n in _both(a, b)}


def subtract(a: Arrays, b: Arrays) -> dict[str, Array]:
    """``a - b`` in float64, entry by entry."""
    return {n: np.asarray(np.subtract(a[n], b[n], dtype=np.float64)) for n in _both(a, b)}


def scale(a: Arrays, factor: float) -> dict[str, Array]:
    """``factor * a`` in float64; by 1 without copying what is float64.

    >>> scale({"w": np.ones(2, np.float32)}, 0.5)["w"].tolist()
    [0.5, 0.5]
    """
    if factor == 1:
        return cast(a, np.float64)
    return {n: np.asarray(np.multiply(a[n], factor, dtype=np.float64)) for n in sorted(a)}


def zeros_like(a: Arrays) -> dict[str, Array]:
    """Float64 zeros with the names and shapes of ``a``: the neutral element of :func:`add`.

    They are read-only, and take no memory whatever their shape.
    """
    return {n: np.ndarray(a[n].shape, np.float64, _ZERO, 0, (0,) * a[n].ndim) for n in sorted(a)}


def cast(a: Arrays, dtype: npt.DTypeLike) -> dict[str, Array]:
    """``a`` with every entry in ``dtype``."""
    return {name: np.asarray(a[name], dtype) for name in sorted(a)}


def within(prefix: str, a: Arrays) -> dict[str, Array]:
    """``a`` with every name put below ``prefix``.

    >>> sorted(within("m", {"w": np.ones(1)}))
    ['m/w']
    """
    return {f"{prefix}/{name}": a[name] for name in sorted(a)}


def below(prefix: str, a: Arrays) -> dict[str, Array]:
    """The part of ``a`` below ``prefix``, with the prefix taken off; inverse of :func:`within`."""
    start = prefix + "/"
    return {name.removeprefix(start): a[name] for name in sorted(a) if name.startswith(start)}


def same_shape(a: Arrays, template: Arrays) -> bool:
    """Whether ``a`` has exactly the names and shapes of ``template``."""
    return {n: x.shape for n, x in a.items()} == {n: x.shape for n, x in template.items()}


def finite(a: Arrays) -> bool:
    """Whether no entry of ``a`` is NaN or infinite."""
    for x in a.values():
        total = np.add.reduce(x, axis=None, dtype=np.float64)  # finite only if every entry is
        if not math.isfinite(total) and not np.isfinite(np.asarray(x, np.float64)).all():
            return False
    return True


def digest(a: Arrays) -> str:
    """SHA-256 over names, dtypes, shapes and little-endian bytes, in name order (hex).

    >>> digest({"w": np.zeros(1)}) == digest({"w": np.zeros(1)})
    True
    """
    h = hashlib.sha256()
    for name in sorted(a):
        x = np.asarray(a[name], order="C")
        h.update(f"{name}|{x.dtype.str}|{x.shape}|".encode())
        h.update(np.ascontiguousarray(x.astype(x.dtype.newbyteorder("<"), copy=False)).data)
    return h.hexdigest()


def to_bytes(a: Arrays) -> bytes:
    """An uncompressed ``.npz`` file; the same arrays always give the same bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(a):
            entry = io.BytesIO()
            np.lib.format.write_array(entry, np.asarray(a[name], order="C"), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(name + ".npy"), entry.getvalue())
    return out.getvalue()


def from_bytes(raw: bytes) -> dict[str, Array]:
    """The arrays of :func:`to_bytes`.

    Raises:
        ValueError: ``raw`` is no such file, or holds pickled objects.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as packed:
            members = packed.infolist()
        plain = all(m.compress_type == zipfile.ZIP_STORED and not m.flag_bits & 1 for m in members)
        if not plain or sum(m.file_size for m in members) > len(raw):  # it would grow in memory
            raise ValueError("Expected nothing compressed.")
        with np.load(io.BytesIO(raw), allow_pickle=False) as archive:
            found = {name: archive[name] for name in sorted(archive.files)}
        if not all(isinstance(x, np.ndarray) and x.dtype.kind in "biuf" for x in found.values()):
            raise ValueError("Expected numbers.")
    except Exception as error:  # whatever a peer can send: readers of headers raise many kinds
        raise ValueError("Expected an uncompressed .npz file of arrays of numbers.") from error
    return found
