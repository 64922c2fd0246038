"""Reproducible randomness for science: one seed, and a name for every use of it.

A generator is derived from ``(seed, purpose...)`` by SHA-256, so it does not depend on what was
drawn before. That is why a resumed run continues with the same numbers, and why brands may run in
any order. Nothing here is secret: privacy noise and keys never come from this module.

This is the only file that may seed a generator.
"""

from __future__ import annotations

import hashlib

import torch
from numpy.random import Generator, Philox

__all__ = ["Generator", "derive", "numpy_generator", "torch_generator"]


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit integer that depends on all of ``seed`` and ``purpose``.

    >>> derive(0, "batches", "brand-1", 3) == derive(0, "batches", "brand-1", 3)
    True
    >>> derive(0, "a", "b") == derive(0, "ab")
    False
    """
    text = "\x1f".join([f"{type(part).__name__}:{part}" for part in (seed, *purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_generator(seed: int, *purpose: str | int) -> Generator:
    """A numpy generator (Philox) for one named use."""
    return Generator(Philox(key=derive(seed, *purpose)))


def torch_generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A torch generator for one named use; torch's global generator is never touched."""
    return torch.Generator().manual_seed(derive(seed, *purpose))
