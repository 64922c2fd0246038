"""A brand's keys, made and read.

Four keys, one use each: ``identity.key`` signs in the secure sum and under plans, ``ledger.pem``
signs the ledger, ``supernode`` proves to Flower's server who is calling, ``federation.key`` is a
secret that the brands share among each other and the coordinator never sees.
"""

from __future__ import annotations

import secrets
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from clients.home import Home
from fl.privacy.secagg.identity import KEY, Identity
from fl.privacy.signing import SigningKey
from fl.private_files import read_private, write_private
from fl.report.files import atomic_write
from fl.welcome import Card


def make_keys(home: Home, name: str, federation_key: bytes) -> Card:
    """All keys of a new node, each readable by its owner only, and the card.

    Raises:
        InputError: one exists already, or cannot be written.
    """
    identity = secrets.token_bytes(KEY)
    ledger = SigningKey.generate()
    node = ec.generate_private_key(ec.SECP384R1())
    write_private(home.key("identity.key"), identity, "key")
    ledger.save(home.key("ledger.pem"))
    write_private(home.key("federation.key"), federation_key, "key")
    private = node.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    write_private(home.key("supernode"), private, "key")
    public = node.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    atomic_write(home.key("supernode.pub"), public + b"\n")
    of = Identity.from_bytes(identity).public.hex()
    return Card(name, of, ledger.public, public.decode())


def load_identity(home: Home) -> Identity:
    """The key that signs for this brand.

    Raises:
        InputError: missing, readable by others, or not 32 bytes.
    """
    return Identity.from_bytes(read_secret(home.key("identity.key")))


def expires(certificate: str) -> datetime:
    """Until when a certificate (PEM) is good, in UTC.

    Raises:
        ValueError: it is none.
    """
    return x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc


def read_secret(path: Path) -> bytes:
    """32 secret bytes from a file that only its owner can read.

    Raises:
        InputError: missing, readable by others, or of another length.
    """
    return read_private(path, f"key {path}", length=KEY)
