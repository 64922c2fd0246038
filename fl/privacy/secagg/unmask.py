"""Taking the masks off a sum, from what the survivors handed out. All of it is pure.

``sum_i y_i = sum_i x_i + sum_i PRG(b_i) + (the pairwise masks with brands that were lost)``. A
survivor's ``b_i`` comes from itself or, if it was lost afterwards, from shares; a lost brand's
pairwise masks come from its escrow, which its root opens, from shares.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fl.errors import Code, Refused
from fl.privacy.secagg import hybrid, keys, shamir, tag
from fl.privacy.secagg.masks import MASK, Ring, add_masks
from fl.privacy.secagg.profiles import Profile, decapsulate
from fl.privacy.secagg.terms import Terms
from fl.privacy.secagg.wire import Advert, commit, unpack

_TRIES = 2_000  # subsets of shares tried when one of them is wrong


@dataclass(frozen=True, slots=True)
class Entrusted:
    """What a brand sent for its neighbours; sealed, the coordinator cannot read it.

    Attributes:
        sealed: shares by neighbour.
        escrow: the keys of the brand's masks, sealed under its root.
        channel, mask: ML-KEM ciphertexts by neighbour, in a hybrid profile.
    """

    sealed: Mapping[int, bytes]
    escrow: bytes = b""
    channel: Mapping[int, bytes] = field(default_factory=dict)
    mask: Mapping[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, repr=False)
class Handed:
    """What a survivor handed out: its own mask's key, and shares by the neighbour they are of.

    Attributes:
        own: 32 bytes.
        alive: shares of survivors' self masks.
        lost: shares of lost brands' roots.
    """

    own: bytes
    alive: Mapping[int, bytes] = field(default_factory=dict)
    lost: Mapping[int, bytes] = field(default_factory=dict)

    def __repr__(self) -> str:
        return "Handed(<redacted>)"


@dataclass(frozen=True, slots=True, repr=False)
class Gathered:
    """All that is known at the end of an attempt.

    Attributes:
        sid: the round.
        adverts, near, entrusted: by brand.
        survivors, lost: who is in the sum, and who shared keys but is not.
        handed: by survivor that answered.
        liars: who gave a wrong share; added to.
    """

    sid: bytes
    adverts: Mapping[int, Advert]
    near: Mapping[int, list[int]]
    entrusted: Mapping[int, Entrusted]
    survivors: set[int]
    lost: set[int]
    handed: Mapping[int, Handed]
    liars: set[int]

    def __repr__(self) -> str:
        return "Gathered(<redacted>)"


def unmask(total: Ring, gathered: Gathered, terms: Terms, threads: int) -> int:
    """Take all masks off ``total``, in place, and return what takes them off its tag.

    Raises:
        Refused: ``TOO_FEW`` shares for some brand, or ``WRONG_SHARE`` if they fit nothing it has
            published; ``gathered.liars`` names givers where the others' shares convict them.

    Guarantee: every key used fits what its owner has signed, so the result is the exact sum.
    """
    profile, rebuild = terms.rules.algorithms, _Rebuild(gathered, terms)
    plus: list[bytes] = []
    minus: list[bytes] = []
    for j in sorted(gathered.survivors):
        own = gathered.handed[j].own if j in gathered.handed else None
        if own is None or commit(gathered.sid, j, own) != gathered.adverts[j].commitment:
            gathered.liars.update([j] if own is not None else [])
            own = rebuild.self_mask(j)
        minus.append(keys.self_key(own, gathered.sid, profile))
    for j in sorted(gathered.lost):
        for i, key in _escrowed(j, rebuild.root(j), gathered, profile).items():
            (minus if i < j else plus).append(key)
    add_masks(total, plus, minus, profile, threads)
    return tag.mask(plus, minus)


def _escrowed(j: int, root: bytes, g: Gathered, profile: Profile) -> dict[int, bytes]:
    """The keys of the masks that survivors put in for a lost brand ``j``, by survivor.

    Raises:
        Refused: ``WRONG_SHARE``: what ``j`` left does not open; ``j`` is named.
    """
    opened = profile.open(keys.escrow_key(root, g.sid, profile), g.entrusted[j].escrow, g.sid)
    try:
        left = unpack(opened or b"", MASK)
        if list(left) != g.near[j]:
            raise ValueError("Expected a key for each neighbour.")
    except ValueError as error:
        g.liars.add(j)
        raise Refused(Code.WRONG_SHARE) from error
    found = {i: left[i] for i in g.near[j] if i in g.survivors}
    if profile.hybrid:  # the lower one's ML-KEM secret came after ``j`` had left its keys
        seed = hybrid.mask_seed(root, g.sid, profile)
        for i in (i for i in found if i < j):
            extra = decapsulate(seed, g.entrusted[i].mask[j]) or b""
            found[i] = hybrid.mixed(found[i], extra, g.sid, profile)
    return found


class _Rebuild:
    """Secrets from shares; Lagrange weights are computed once for each set of givers."""

    def __init__(self, gathered: Gathered, terms: Terms) -> None:
        self._g, self._terms = gathered, terms
        self._weights: dict[tuple[int, ...], list[int]] = {}

    def self_mask(self, j: int) -> bytes:
        """Of a survivor that did not answer, or lied. Guarantee: fits what it published."""
        given = {i: self._g.handed[i].alive.get(j) for i in self._g.near[j] if i in self._g.handed}
        owed = self._g.adverts[j].commitment
        return self._secret(j, given, lambda key: commit(self._g.sid, j, key) == owed)

    def root(self, j: int) -> bytes:
        """Of a brand that was lost. Guarantee: fits what it published."""
        given = {i: self._g.handed[i].lost.get(j) for i in self._g.near[j] if i in self._g.handed}
        owed = self._g.adverts[j].root
        return self._secret(j, given, lambda r: commit(self._g.sid, j, r, "root") == owed)

    def _secret(
        self, j: int, given: Mapping[int, bytes | None], fits: Callable[[bytes], bool]
    ) -> bytes:
        shares = {i + 1: share for i, share in sorted(given.items()) if share is not None}
        near = len(self._g.near[j])
        threshold = min(self._terms.threshold(len(self._g.adverts), near), near)
        if len(shares) < threshold or not self._terms.rules.recovers:
            raise Refused(Code.TOO_FEW)
        for points in itertools.islice(_subsets(list(shares), threshold), _TRIES):
            chosen = {x: shares[x] for x in points}
            if points not in self._weights:
                self._weights[points] = shamir.weights(points)
            secret = shamir.combine(chosen, self._weights[points])
            if secret is not None and fits(secret):
                others = {x: y for x, y in shares.items() if x not in chosen}
                wrong = (x for x, y in others.items() if y != shamir.predicted(chosen, x))
                first = points == tuple(shares)[:threshold]
                self._g.liars.update(() if first else (x - 1 for x in wrong))
                return secret
        raise Refused(Code.WRONG_SHARE)


def _subsets(points: list[int], size: int) -> itertools.chain[tuple[int, ...]]:
    """``size`` of the points: the first ones, then without one of them, without two, ..."""
    return itertools.chain.from_iterable(
        (
            tuple([x for x in points if x not in out][:size])
            for out in itertools.combinations(points, left_out)
        )
        for left_out in range(len(points) - size + 1)
    )
