"""How the known answers were made: by hand from the specification, without the code under test.

``python tests/privacy/secagg/vectors/derive.py`` rewrites ``good.json``. It uses hashlib, hmac
and the primitives of ``cryptography``; HKDF and Shamir are written out here once more.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

HERE = Path(__file__).parent
P = 2**256 + 297


def bind(purpose: str, *parts: bytes) -> bytes:
    joined = b"".join(
        len(p).to_bytes(8, "big") + p for p in (b"brandagg/3", purpose.encode(), *parts)
    )
    return hashlib.sha256(joined).digest()


def hkdf(secret: bytes, salt: bytes, info: bytes, length: int = 32) -> bytes:
    key, out, block = hmac.digest(salt, secret, "sha256"), b"", b""
    while len(out) < length:
        block = hmac.digest(key, block + info + bytes([len(out) // 32 + 1]), "sha256")
        out += block
    return out[:length]


def two(i: int) -> bytes:
    return i.to_bytes(2, "big")


def eight(i: int) -> bytes:
    return i.to_bytes(8, "big")


def x25519(raw: bytes) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(raw)


def share(secret: int, coefficients: list[int], x: int) -> bytes:
    value = secret + sum(c * pow(x, k + 1, P) for k, c in enumerate(coefficients))
    return (value % P).to_bytes(33, "big")


def context() -> dict[str, object]:
    parts = {k: bytes([i]) * 32 for i, k in enumerate(("roster", "plan", "run", "model"), 1)}
    parts |= {"layout": b"\5" * 32, "previous": b"\6" * 32}
    sid = bind(
        "round",
        parts["roster"],
        parts["plan"],
        parts["run"],
        eight(3),
        eight(2),
        eight(7),
        b"train",
        parts["model"],
        parts["layout"],
        parts["previous"],
    )
    return {
        **{k: v.hex() for k, v in parts.items()},
        "sequence": 3,
        "attempt": 2,
        "number": 7,
        "kind": "train",
        "sid": sid.hex(),
    }


def keys(sid: bytes) -> dict[str, object]:
    root, private, self_mask, other = (bytes([i]) * 32 for i in (17, 18, 19, 20))
    identity = Ed25519PrivateKey.from_private_bytes(b"\x15" * 32)
    advert = (
        x25519(private).public_key().public_bytes_raw()
        + bind("commit root", sid, two(4), root)
        + bind("commit self mask", sid, two(4), self_mask)
        + b"\x19" * 32
        + eight(1234567)
    )
    h1 = b"\x16" * 32
    shared = x25519(private).exchange(x25519(other).public_key())
    made = hkdf(shared, sid, b"pair" + h1 + two(4) + two(9), 104)
    mask, sealing, opening = made[:40], made[40:72], made[72:]
    stream = Cipher(algorithms.AES(mask[:32]), modes.CTR(bytes(16))).encryptor().update(bytes(32))
    sealed = ChaCha20Poly1305(sealing).encrypt(
        bytes(12), bytes(range(66)), sid + h1 + two(4) + two(9)
    )
    escrow = ChaCha20Poly1305(hkdf(root, sid, b"escrow")).encrypt(bytes(12), two(9) + mask, sid)
    return {
        "root": root.hex(),
        "private": private.hex(),
        "self_mask": self_mask.hex(),
        "identity": (b"\x15" * 32).hex(),
        "index": 4,
        "peer": 9,
        "peer_private": other.hex(),
        "advert": advert.hex(),
        "signature": identity.sign(bind("advert", sid, two(4), advert)).hex(),
        "h1": h1.hex(),
        "mask_key": mask.hex(),
        "mask_words": [int.from_bytes(stream[i : i + 4], "little") for i in range(0, 32, 4)],
        "mask_of_the_tag": int.from_bytes(mask[32:], "little"),
        "opening": opening.hex(),
        "self_key": hkdf(self_mask, sid, b"self mask", 40).hex(),
        "sealed": sealed.hex(),
        "message": bytes(range(66)).hex(),
        "escrow": escrow.hex(),
    }


def tag(sid: bytes) -> dict[str, object]:
    key, words = b"\x18" * 32, [1, 2**32 - 1, 65536, 2**31]
    cipher = Cipher(algorithms.AES(hkdf(key, sid, b"tag")), modes.CTR(bytes(16)))
    stream = cipher.encryptor().update(bytes(16))
    drawn = [int.from_bytes(stream[i : i + 4], "little") for i in range(0, 16, 4)]
    signed = [w - 2**32 if w >= 2**31 else w for w in words]
    value = sum(r * x for r, x in zip(drawn, signed, strict=True)) % 2**64
    return {"federation_key": key.hex(), "words": words, "tag": value}


def shamir() -> dict[str, object]:
    secret, coefficients = int.from_bytes(bytes(range(32)), "big"), [2**255 + 1, 12345, P - 1]
    points = [1, 2, 5, 9, 1000]
    return {
        "secret": bytes(range(32)).hex(),
        "threshold": 4,
        "shares": {str(x): share(secret, coefficients, x).hex() for x in points},
    }


if __name__ == "__main__":
    about = context()
    good = {
        "context": about,
        "keys": keys(bytes.fromhex(str(about["sid"]))),
        "shamir": shamir(),
        "tag": tag(bytes.fromhex(str(about["sid"]))),
    }
    (HERE / "good.json").write_text(json.dumps(good, indent=1) + "\n")
