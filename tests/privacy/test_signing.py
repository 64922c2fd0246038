"""Keys: what they sign, what they show, and where they may lie."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fl.errors import InputError
from fl.privacy.signing import SigningKey, checker

ANNA = SigningKey.generate()

# RFC 8032, section 7.1, test 2.
SECRET = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
PUBLIC = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"


def test_a_key_survives_its_file_prints_nothing_and_is_not_used_when_others_could_read_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "key.pem"
    ANNA.save(path)
    again = SigningKey.load(path)
    assert again.public == ANNA.public
    assert again.sign(b"x", purpose="p") == ANNA.sign(b"x", purpose="p")
    assert f"{again!r} {again}" == "SigningKey(<redacted>) SigningKey(<redacted>)"
    path.chmod(0o640)
    with pytest.raises(InputError, match="others may read"):
        SigningKey.load(path)


def test_the_public_key_is_that_of_the_standard() -> None:
    assert SigningKey(Ed25519PrivateKey.from_private_bytes(SECRET)).public == PUBLIC


def test_a_key_of_another_kind_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.touch(0o600)
    path.write_bytes(
        X25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    with pytest.raises(InputError, match="not an Ed25519 key"):
        SigningKey.load(path)


@pytest.mark.parametrize("public", ["", "zz" * 32, "AB" * 32, "ab" * 31])
def test_a_malformed_public_key_is_an_error(public: str) -> None:
    with pytest.raises(ValueError, match="64 hex digits"):
        checker(public, "p")


@pytest.mark.parametrize("signature", ["", "00", "zz" * 64, "00" * 64])
def test_a_malformed_signature_is_no_signature(signature: str) -> None:
    assert not checker(ANNA.public, "p")(b"x", signature)
