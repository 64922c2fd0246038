"""The algorithms of a security profile: key derivation, masks, sealed shares, key agreement.

- ``default``: HKDF-SHA256, AES-256-CTR, ChaCha20-Poly1305, X25519.
- ``gm``: HKDF-SM3, SM4-CTR, SM4-GCM, X25519. National-standard algorithms in software; not a
  certified module, and key agreement and signatures stay X25519 and Ed25519 (there is no SM2 here).
- ``pq``: as ``default``, with ML-KEM-768 beside X25519 in every derived key, so that masked vectors
  recorded today stay masked for a later quantum computer.

Sources: RFC 5869 (HKDF), RFC 7748 (X25519), FIPS 203 (ML-KEM), GB/T 32905 and 32907 (SM3, SM4).
Every key is derived for one use and one direction, so a constant nonce never repeats under a key.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEM_SEED, KEM_PUBLIC, KEM_CIPHERTEXT = 64, 1184, 1088  # bytes, FIPS 203 table 3 (768)
TAG = 16  # bytes by which a sealed message is longer
_NONCE = bytes(12)
_FROM_ZERO = modes.CTR(bytes(16))


@dataclass(frozen=True, slots=True)
class Profile:
    """Which algorithms are used; public.

    Attributes:
        name: as in the config.
        national: SM3 and SM4 instead of SHA-256, AES and ChaCha20.
        hybrid: ML-KEM-768 beside X25519.
    """

    name: str
    national: bool = False
    hybrid: bool = False

    def derive(self, secret: bytes, salt: bytes, info: bytes, length: int = 32) -> bytes:
        """HKDF.

        Guarantee: the output is pseudo-random to who does not know ``secret``, and independent for
        different ``salt`` or ``info`` (RFC 5869, under the random-oracle view of the hash).
        """
        hash_ = hashes.SM3() if self.national else hashes.SHA256()
        return HKDF(algorithm=hash_, length=length, salt=salt, info=info).derive(secret)

    def stream(self, key: bytes, block: int = 0) -> CipherContext:
        """The mask stream of a 32-byte ``key`` from 16-byte block ``block`` on.

        Guarantee: pseudo-random under a key used for nothing else (CTR mode of a block cipher).
        """
        mode = modes.CTR(block.to_bytes(16, "big")) if block else _FROM_ZERO
        if self.national:
            return Cipher(algorithms.SM4(key[:16]), mode).encryptor()
        return Cipher(algorithms.AES(key), mode).encryptor()

    def seal(self, key: bytes, message: bytes, header: bytes) -> bytes:
        """Encrypt and authenticate ``message``; ``header`` is authenticated, not sent.

        Guarantee: confidential and unforgeable if the 32-byte ``key`` seals one message only.
        """
        if self.national:
            box = Cipher(algorithms.SM4(key[:16]), modes.GCM(_NONCE)).encryptor()
            box.authenticate_additional_data(header)
            return box.update(message) + box.finalize() + box.tag
        return ChaCha20Poly1305(key).encrypt(_NONCE, message, header)

    def open(self, key: bytes, sealed: bytes, header: bytes) -> bytes | None:
        """The message of :meth:`seal`, or None if key, header or bytes differ.

        Guarantee: nothing of an altered message is returned.
        """
        try:
            if not self.national:
                return ChaCha20Poly1305(key).decrypt(_NONCE, sealed, header)
            mode = modes.GCM(_NONCE, sealed[-TAG:])
            box = Cipher(algorithms.SM4(key[:16]), mode).decryptor()
            box.authenticate_additional_data(header)
            return box.update(sealed[:-TAG]) + box.finalize()
        except (InvalidTag, ValueError):
            return None


PROFILES = {
    "default": Profile("default"),
    "gm": Profile("gm", national=True),
    "pq": Profile("pq", hybrid=True),
}


def key_of(private: bytes) -> X25519PrivateKey:
    """The X25519 key of 32 private bytes. Guarantee: as secret as they are."""
    return X25519PrivateKey.from_private_bytes(private)


def public_of(key: X25519PrivateKey) -> bytes:
    """Its public half, 32 bytes. Guarantee: reveals nothing that X25519 public keys do not."""
    return key.public_key().public_bytes_raw()


def agree(key: X25519PrivateKey, public: bytes) -> bytes | None:
    """The X25519 secret shared with the owner of a ``public`` key; None for one of low order.

    Guarantee: contributory: a peer cannot force a constant secret (RFC 7748, section 6.1).
    """
    try:
        return key.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        return None


def kem_public_of(seed: bytes) -> bytes:
    """The ML-KEM-768 public key of a 64-byte seed.

    Guarantee: reveals nothing that ML-KEM public keys do not.
    """
    return MLKEM768PrivateKey.from_seed_bytes(seed).public_key().public_bytes_raw()


def encapsulate(public: bytes) -> tuple[bytes, bytes] | None:
    """A fresh ML-KEM-768 secret for the owner of ``public``, and its ciphertext; None if malformed.

    Guarantee: the secret is pseudo-random to all but the owner (IND-CCA2, FIPS 203).
    """
    try:
        return MLKEM768PublicKey.from_public_bytes(public).encapsulate()
    except ValueError:
        return None


def decapsulate(seed: bytes, ciphertext: bytes) -> bytes | None:
    """The secret of a ciphertext made for the public key of ``seed``; None if malformed.

    Guarantee: implicit rejection: an altered ciphertext gives an unrelated secret.
    """
    try:
        return MLKEM768PrivateKey.from_seed_bytes(seed).decapsulate(ciphertext)
    except ValueError:
        return None
