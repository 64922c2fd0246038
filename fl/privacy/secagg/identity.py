"""Who takes part, and what they agreed to: identities, the pinned roster, the signed plan.

A brand's identity is a long-lived Ed25519 key. The roster lists the brands' public keys; every
node pins its hash, so a coordinator cannot add a member. The plan is canonical JSON that every
brand's operator signs; a node takes part in rounds of that plan only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fl.contracts import NodeId

Json = Mapping[str, object]
PROTOCOL = b"brandagg/3"
KEY, SIGNATURE, HASH = 32, 64, 32  # bytes
_LENGTH = len(PROTOCOL).to_bytes(8, "big")


def canonical(value: object) -> bytes:
    """JSON with sorted keys and no spaces, in UTF-8: equal values give equal bytes.

    Raises:
        ValueError: a NaN or infinity, which JSON cannot hold.

    Guarantee: a function of the value alone.

    >>> canonical({"b": 1, "a": "ü"}).decode()
    '{"a":"ü","b":1}'
    """
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def bind(purpose: str, *parts: bytes) -> bytes:
    """SHA-256 over the protocol's name, a purpose and length-prefixed parts.

    Guarantee: injective in its arguments up to collisions of SHA-256; no two uses share a purpose.
    """
    pieces = [_named(purpose)]
    for part in parts:
        pieces.append(len(part).to_bytes(8, "big"))
        pieces.append(part)
    return hashlib.sha256(b"".join(pieces)).digest()


@lru_cache(maxsize=64)
def _named(purpose: str) -> bytes:
    name = purpose.encode()
    return b"".join((_LENGTH, PROTOCOL, len(name).to_bytes(8, "big"), name))


@dataclass(frozen=True, slots=True)
class Identity:
    """A long-lived signing key. It never travels; only its public half does."""

    _key: Ed25519PrivateKey = field(repr=False)
    public: bytes = field(init=False)  # 32 bytes for the roster

    def __post_init__(self) -> None:
        object.__setattr__(self, "public", self._key.public_key().public_bytes_raw())

    @classmethod
    def fresh(cls) -> Identity:
        """A new identity from the system's randomness.

        Guarantee: the key has been nowhere else.
        """
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_bytes(cls, raw: bytes) -> Identity:
        """The identity of 32 private bytes, from a file that only the brand can read.

        Raises:
            ValueError: not 32 bytes.

        Guarantee: none beyond that of the file.
        """
        return cls(Ed25519PrivateKey.from_private_bytes(raw))

    def to_bytes(self) -> bytes:
        """The 32 private bytes, for another process that plays the same brand in a simulation.

        Guarantee: none; whoever has them is this brand.
        """
        return self._key.private_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """64 bytes. Guarantee: unforgeable without the key (RFC 8032); deterministic."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return "Identity(<redacted>)"


def signed(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether ``signature`` is that of ``message`` under a 32-byte public key.

    Guarantee: False for everything but a true signature (RFC 8032, strict).
    """
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


@dataclass(frozen=True)
class Roster:
    """The closed list of brands: names and public keys, and until when it holds. Public.

    Attributes:
        keys: 32 bytes by brand.
        valid_until: a date as text, informative; part of the hash.
    """

    keys: Mapping[NodeId, bytes]
    valid_until: str = ""

    def __post_init__(self) -> None:
        if len(set(self.keys.values())) != len(self.keys) or not self.keys:
            raise ValueError(f"Expected {len(self.keys)} brands with a key each, all different.")
        if len(self.keys) > 65_535 or any(len(key) != KEY for key in self.keys.values()):
            raise ValueError("Expected at most 65535 brands with keys of 32 bytes.")

    @cached_property
    def names(self) -> tuple[NodeId, ...]:
        """Sorted; a brand's index in it is its number in every message. Guarantee: public."""
        return tuple(sorted(self.keys))

    @cached_property
    def index(self) -> Mapping[NodeId, int]:
        """The number of each brand. Guarantee: public."""
        return {name: i for i, name in enumerate(self.names)}

    @cached_property
    def hash(self) -> bytes:
        """32 bytes that every node pins. Guarantee: public."""
        return bind("roster", canonical(self.to_json()))

    def key(self, index: int) -> bytes:
        """The public key of a brand by number. Guarantee: public."""
        return self.keys[self.names[index]]

    def to_json(self) -> dict[str, object]:
        """Plain values, for files. Guarantee: public."""
        keys = {name: self.keys[name].hex() for name in sorted(self.keys)}
        return {"brands": keys, "valid_until": self.valid_until}

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> Roster:
        """The roster of :meth:`to_json`.

        Raises:
            ValueError: not such values.

        Guarantee: none; compare :attr:`hash` with the pinned one.
        """
        brands, until = values.get("brands"), values.get("valid_until")
        if not isinstance(brands, dict) or not isinstance(until, str) or len(values) != 2:
            raise ValueError("Expected a roster: brands and valid_until.")
        return cls({str(name): bytes.fromhex(str(key)) for name, key in brands.items()}, until)


@dataclass(frozen=True)
class SignedPlan:
    """What a run does, and who approved it. Public.

    Attributes:
        content: JSON values; see ``enrol.py`` for those that BrandAgg reads.
        signatures: 64 bytes by brand, over the plan's hash.
    """

    content: Json
    signatures: Mapping[NodeId, bytes] = field(default_factory=dict)

    @cached_property
    def hash(self) -> bytes:
        """32 bytes that stand for the plan in every message. Guarantee: public."""
        return bind("plan", canonical(self.content))

    def sign(self, name: NodeId, identity: Identity) -> SignedPlan:
        """The plan with one more approval.

        Guarantee: binds the signer to exactly this content.
        """
        return SignedPlan(self.content, {**self.signatures, name: identity.sign(self._message)})

    def unsigned(self, roster: Roster) -> tuple[NodeId, ...]:
        """The brands of ``roster`` that have not approved.

        Guarantee: a brand that is not named signed this content with its pinned key.
        """
        return tuple(
            name
            for name in roster.names
            if not signed(roster.keys[name], self._message, self.signatures.get(name, b""))
        )

    @cached_property
    def _message(self) -> bytes:
        return bind("approve plan", self.hash)
