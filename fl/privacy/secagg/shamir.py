"""Shamir's secret sharing of 32-byte secrets over the prime field of 2^256 + 297.

Shamir, "How to share a secret", CACM 1979. One secret is one field element; a share is 33 bytes.
Legend: ``t`` threshold, ``x`` a holder's public point (never 0), ``f`` the polynomial, ``f(0)`` the
secret.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

P = 2**256 + 297
SECRET, SHARE = 32, 33  # bytes
_DRAWN = 49  # bytes for a coefficient: modulo P within 2^-128 of uniform (RFC 9380, section 5.3)


def split(secret: bytes, threshold: int, points: Sequence[int]) -> dict[int, bytes]:
    """One share per point; any ``threshold`` of them give the secret back.

    Args:
        secret: 32 bytes.
        threshold: >= 1, at most the number of points.
        points: distinct, each in [1, P).

    Raises:
        ValueError: sizes out of range, or a repeated point.

    Guarantee: ``threshold - 1`` shares are within ``threshold * 2^-128`` of independent of the
    secret, in statistical distance: nobody's power of computing tells them apart.
    """
    if len(secret) != SECRET or not 1 <= threshold <= len(points):
        raise ValueError(f"Expected 32 bytes and 1 <= threshold={threshold} <= {len(points)}.")
    if len(set(points)) != len(points) or not (min(points) > 0 and max(points) < P):
        raise ValueError("Expected distinct points in [1, P).")
    drawn = secrets.token_bytes(_DRAWN * (threshold - 1))
    coefficients = [
        int.from_bytes(drawn[at : at + _DRAWN], "big") % P for at in range(0, len(drawn), _DRAWN)
    ]
    coefficients.append(int.from_bytes(secret, "big"))
    return {x: _evaluate(coefficients, x).to_bytes(SHARE, "big") for x in points}


def weights(points: Sequence[int], at: int = 0) -> list[int]:
    """Lagrange weights with which the shares at ``points`` give ``f(at)``; re-usable over secrets.

    Guarantee: public numbers; they depend on the points only.
    """
    result = []
    for x in points:
        top = bottom = 1
        for other in points:
            if other != x:
                top = top * (at - other) % P
                bottom = bottom * (x - other) % P
        result.append(top * pow(bottom, -1, P) % P)
    return result


def combine(shares: Mapping[int, bytes], lagrange: Sequence[int] | None = None) -> bytes | None:
    """The secret of exactly ``threshold`` shares by point; None if they are not of one secret.

    A wrong share usually gives a wrong secret rather than None: the caller checks it against what
    the secret's owner has published.

    Guarantee: correct for true shares; says nothing about which share was wrong.
    """
    lagrange = lagrange or weights(list(shares))
    total = sum(
        w * int.from_bytes(y, "big") for w, y in zip(lagrange, shares.values(), strict=True)
    )
    secret = total % P
    return secret.to_bytes(SECRET, "big") if secret < 2**256 else None


def predicted(shares: Mapping[int, bytes], at: int) -> bytes:
    """What true shares say the share at another point must be.

    Guarantee: equals the dealer's share if all ``shares`` are true and reach the threshold.
    """
    lagrange = weights(list(shares), at)
    total = sum(
        w * int.from_bytes(y, "big") for w, y in zip(lagrange, shares.values(), strict=True)
    )
    return (total % P).to_bytes(SHARE, "big")


def _evaluate(coefficients: Sequence[int], x: int) -> int:
    value = 0
    for c in coefficients:
        value = value * x + c  # points are small: one reduction at the end is cheaper than many
    return value % P
