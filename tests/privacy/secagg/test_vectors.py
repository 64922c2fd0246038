"""Stored known answers: ``good.json`` by ``derive.py``, ``bad.json`` from the standards.

``bad.json``: low-order points of RFC 7748 / Curve25519 (Bernstein's list), RFC 8032 test 1 and
variants of it that must not verify (the last adds the group order to ``s``), NIST SP 800-38A F.5.5.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fl.privacy.secagg import keys, shamir, tag
from fl.privacy.secagg.identity import Identity, canonical, signed
from fl.privacy.secagg.masks import add_masks
from fl.privacy.secagg.profiles import (
    PROFILES,
    agree,
    decapsulate,
    encapsulate,
    kem_public_of,
    key_of,
    public_of,
)
from fl.privacy.secagg.session import Session
from fl.privacy.secagg.wire import Round, pack, unpack

VECTORS = Path(__file__).parent / "vectors"
GOOD = json.loads((VECTORS / "good.json").read_text())
BAD = json.loads((VECTORS / "bad.json").read_text())
SHA = PROFILES["default"]


def raw(group: str, name: str) -> bytes:
    return bytes.fromhex(GOOD[group][name])


def test_the_round_context() -> None:
    c = GOOD["context"]
    about = Round(
        *(raw("context", k) for k in ("roster", "plan", "run")),
        c["sequence"],
        c["attempt"],
        c["kind"],
        c["number"],
        *(raw("context", k) for k in ("model", "layout", "previous")),
    )
    assert about.sid == raw("context", "sid")


def test_keys_adverts_masks_sealed_shares_and_escrow() -> None:
    k, sid, h1 = GOOD["keys"], raw("context", "sid"), raw("keys", "h1")
    root, i, j = raw("keys", "root"), k["index"], k["peer"]
    private, peer = key_of(raw("keys", "private")), key_of(raw("keys", "peer_private"))
    shared = agree(private, public_of(peer))
    assert shared is not None and shared == agree(peer, public_of(private))
    mask, seal, opens = keys.pair_keys(shared, sid, h1, i, j, SHA)
    assert mask == raw("keys", "mask_key") and opens == raw("keys", "opening")
    words = np.zeros(8, np.uint32)
    add_masks(words, [mask], [], SHA)
    assert words.tolist() == k["mask_words"]
    assert tag.mask([mask], []) == k["mask_of_the_tag"]
    assert keys.self_key(raw("keys", "self_mask"), sid, SHA) == raw("keys", "self_key")
    session = Session(sid=sid, h1=h1)
    sealed = SHA.seal(seal, raw("keys", "message"), keys.header(session, i, j))
    assert sealed == raw("keys", "sealed")
    escrow = SHA.open(keys.escrow_key(root, sid, SHA), raw("keys", "escrow"), sid)
    assert escrow == pack({j: mask})
    advert = raw("keys", "advert")
    assert advert[:32] == public_of(private)
    assert advert[32:64] == keys.commit(sid, i, root, "root")
    assert advert[64:96] == keys.commit(sid, i, raw("keys", "self_mask"))
    made = keys.Advert.parse(i, advert + raw("keys", "signature"), False)
    assert Identity.from_bytes(raw("keys", "identity")).sign(made.message(sid)) == made.signature


def test_the_tag_of_a_sum() -> None:
    words = np.array(GOOD["tag"]["words"], np.uint32)
    value = tag.tag(words, raw("tag", "federation_key"), raw("context", "sid"), SHA)
    assert value == GOOD["tag"]["tag"]


def test_shares() -> None:
    shares = {int(x): bytes.fromhex(s) for x, s in GOOD["shamir"]["shares"].items()}
    t, secret = GOOD["shamir"]["threshold"], raw("shamir", "secret")
    first = dict(list(shares.items())[:t])
    assert shamir.combine(first) == secret
    assert shamir.predicted(first, 1000) == shares[1000]
    few = dict(list(shares.items())[: t - 1])
    assert shamir.combine(few) != secret


@pytest.mark.parametrize("name", sorted(BAD["records"]))
def test_bad_records_are_refused(name: str) -> None:
    text, size = BAD["records"][name]
    with pytest.raises(ValueError, match=r"Expected|non-hexadecimal"):
        unpack(bytes.fromhex(text), size)


@pytest.mark.parametrize("point", BAD["x25519_low_order"])
def test_keys_of_low_order_agree_on_nothing(point: str) -> None:
    assert agree(key_of(b"\x11" * 32), bytes.fromhex(point)) is None


def test_signatures() -> None:
    case = BAD["ed25519"]
    public, message = bytes.fromhex(case["public"]), bytes.fromhex(case["message"])
    assert signed(public, message, bytes.fromhex(case["good"]))
    for name, signature in case["bad"].items():
        assert not signed(public, message, bytes.fromhex(signature)), name
    assert not signed(b"short", message, bytes.fromhex(case["good"]))


def test_the_mask_stream_is_aes_256_ctr() -> None:
    case = {k: bytes.fromhex(v) for k, v in BAD["aes_256_ctr"].items()}
    stream = SHA.stream(case["key"], int.from_bytes(case["counter"], "big"))
    assert stream.update(case["plain"]) == case["cipher"]


def test_sm4_and_sm3_are_the_national_ones() -> None:
    """GB/T 32907 A.1: key and plaintext 0123..., one block; SM3 differs from SHA-256 in HKDF."""
    gm, block = PROFILES["gm"], bytes.fromhex("0123456789abcdeffedcba9876543210")
    stream = gm.stream(block + bytes(16), int.from_bytes(block, "big"))
    assert stream.update(bytes(16)).hex() == "681edf34d206965e86b3e94f536e4246"
    assert gm.derive(b"k" * 32, b"s", b"i") != SHA.derive(b"k" * 32, b"s", b"i")


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_a_sealed_message_opens_only_unchanged(profile: str) -> None:
    how = PROFILES[profile]
    sealed = how.seal(b"k" * 32, b"m" * 66, b"header")
    assert how.open(b"k" * 32, sealed, b"header") == b"m" * 66
    for key, text, header in (
        (b"j" * 32, sealed, b"header"),
        (b"k" * 32, sealed, b"other"),
        (b"k" * 32, sealed[:-1], b"header"),
        (b"k" * 32, b"", b"header"),
        (b"k" * 32, bytes([sealed[0] ^ 1]) + sealed[1:], b"header"),
    ):
        assert how.open(key, text, header) is None


def test_ml_kem_agrees_and_rejects() -> None:
    seed = bytes(range(64))
    made = encapsulate(kem_public_of(seed))
    assert made is not None
    secret, ciphertext = made
    assert decapsulate(seed, ciphertext) == secret
    assert decapsulate(seed, bytes(len(ciphertext))) != secret
    assert decapsulate(seed, b"short") is None
    assert encapsulate(b"short") is None


def test_canonical_json_has_one_form_and_no_nan() -> None:
    assert canonical({"b": 1.5, "a": [True, None, "é"]}) == '{"a":[true,null,"é"],"b":1.5}'.encode()
    with pytest.raises(ValueError, match="Out of range"):
        canonical(float("nan"))
