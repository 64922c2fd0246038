"""Ed25519 keys (RFC 8032) of brands, coordinators and people: made, kept, signing, checking.

A signature always names its purpose: the signed bytes are ``purpose | 0x00 | message``, so nothing
signed for one purpose (a ledger entry) can be passed off as another (an approval). Public keys are
64 hex digits, signatures 128.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fl.errors import InputError
from fl.private_files import read_private, write_private

_PUBLIC = re.compile(r"[0-9a-f]{64}")
_SIGNATURE = re.compile(r"[0-9a-f]{128}")

Check = Callable[[bytes, str], bool]


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key. It prints as ``<redacted>`` and has no way out but :meth:`save`.

    >>> key = SigningKey.generate()
    >>> key
    SigningKey(<redacted>)
    >>> check = checker(key.public, "greeting")
    >>> check(b"hello", key.sign(b"hello", purpose="greeting"))
    True
    >>> check(b"hello", key.sign(b"hello", purpose="another purpose"))
    False
    """

    _key: Ed25519PrivateKey = field(repr=False)

    def __repr__(self) -> str:
        return "SigningKey(<redacted>)"

    @classmethod
    def generate(cls) -> SigningKey:
        """A new key from the operating system's generator.

        Guarantee: secrecy of the key rests on that generator alone; no seed can be given.
        """
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> SigningKey:
        """The key in the PEM file ``path`` (PKCS 8, not encrypted).

        Guarantee: a key that other users of the machine could have read is not used.

        Raises:
            InputError: no such file, readable by others, or not an Ed25519 key.
        """
        raw = read_private(path, f"key {path}")
        try:
            key = serialization.load_pem_private_key(raw, None)
        except (ValueError, TypeError) as error:
            raise InputError(f"key {path}", "not a PEM key", "make a key") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise InputError(f"key {path}", "not an Ed25519 key", "make a key")
        return cls(key)

    def save(self, path: Path) -> None:
        """Write the key to a new file that only its owner may read.

        Guarantee: mode 0600 from the first byte on; an existing file is never replaced.

        Raises:
            InputError: the file exists, or cannot be written.
        """
        pem = self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        write_private(path, pem, "key")

    @property
    def public(self) -> str:
        """The public key, 64 hex digits.

        Guarantee: tells nothing about the private key.
        """
        return self._key.public_key().public_bytes_raw().hex()

    def sign(self, message: bytes, *, purpose: str) -> str:
        """The signature of ``message`` for ``purpose``, 128 hex digits; deterministic.

        Guarantee: verifies under :attr:`public` for this purpose and for no other.
        """
        return self._key.sign(_tagged(message, purpose)).hex()


def checker(public: str, purpose: str) -> Check:
    """A function that tells whether a signature of a message is by ``public`` for ``purpose``.

    Guarantee: true only for signatures made with the private key; a malformed signature is false.

    Raises:
        ValueError: ``public`` is not 64 hex digits of a point on the curve.
    """
    if not is_public_key(public):
        raise ValueError("Expected a public key of 64 hex digits.")
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))

    def check(message: bytes, signature: str) -> bool:
        if not _SIGNATURE.fullmatch(signature):
            return False
        try:
            key.verify(bytes.fromhex(signature), _tagged(message, purpose))
        except InvalidSignature:
            return False
        return True

    return check


def is_public_key(text: str) -> bool:
    """Whether ``text`` looks like a public key or a SHA-256 hash: 64 lower-case hex digits.

    Guarantee: form only; says nothing about whose key it is.
    """
    return _PUBLIC.fullmatch(text) is not None


def _tagged(message: bytes, purpose: str) -> bytes:
    return purpose.encode() + b"\0" + message
