"""What one process that plays all brands works out once, where each brand would do so by itself.

In a simulation ten brands verify the same signatures, both ends of a pair agree on the same secret,
and all follow the same sum. Each of these is a pure function of bytes that a key names in full, so
a remembered answer is the answer. A deployed brand is alone in its process and remembers nothing
(:func:`anew`): a secret that is remembered outlives its round in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Protocol, TypeVar, cast

T = TypeVar("T")
_NOTHING = object()
_ROUNDS = 3  # whose answers are kept: a round, the one it follows, and an attempt that failed


class Once(Protocol):
    """``compute()``, or what it gave before for the same ``key`` in the round ``sid``."""

    def __call__(self, sid: bytes, key: Hashable, compute: Callable[[], T]) -> T: ...


def anew(sid: bytes, key: Hashable, compute: Callable[[], T]) -> T:
    """Compute it. Guarantee: nothing is remembered."""
    return compute()


class Remembered:
    """The answers of the last rounds, for brands that share a process.

    Guarantee: an answer is given again only for an equal key; what raised is not remembered.
    """

    def __init__(self) -> None:
        self._rounds: dict[bytes, dict[Hashable, object]] = {}

    def __call__(self, sid: bytes, key: Hashable, compute: Callable[[], T]) -> T:
        """See :class:`Once`. Guarantee: of the class."""
        known = self._rounds.get(sid)
        if known is None:
            known = self._rounds[sid] = {}
            while len(self._rounds) > _ROUNDS:
                del self._rounds[next(iter(self._rounds))]
        found = known.get(key, _NOTHING)
        if found is _NOTHING:
            found = known[key] = compute()
        return cast(T, found)

    def __repr__(self) -> str:
        return "Remembered(<redacted>)"
