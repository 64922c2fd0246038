"""What a process that plays all brands works out once changes nothing but the time it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fl import arrays
from fl.contracts import Memory
from fl.errors import Code
from fl.privacy.secagg import identity, keys, session, terms, verify_transcript, wire
from fl.privacy.secagg.enrol import join
from fl.privacy.secagg.once import Remembered, anew
from tests.privacy.secagg.harness import Cheat, World, flip


def alone(world: World) -> World:
    """The same brands and coordinator; nobody remembers anything for another."""
    by_itself = replace(world.coordinator.terms, once=anew)
    world.coordinator = replace(world.coordinator, terms=by_itself)
    world.halves = {n: replace(half, terms=by_itself) for n, half in world.halves.items()}
    return world


def test_an_answer_is_remembered_for_its_key_and_its_round() -> None:
    once, made = Remembered(), iter(range(100))

    def drawn() -> int:
        return next(made)

    assert once(b"r1", "a", drawn) == once(b"r1", "a", drawn) == 0
    assert once(b"r1", "b", drawn) == 1
    assert once(b"r2", "a", drawn) == 2
    assert once(b"r1", "a", drawn) == 0
    once(b"r3", "a", drawn)
    once(b"r4", "a", drawn)
    assert once(b"r1", "a", drawn) == 5  # three rounds are kept
    assert repr(once) == "Remembered(<redacted>)"
    assert anew(b"r1", "a", drawn) != anew(b"r1", "a", drawn)


def test_what_failed_is_tried_again() -> None:
    once = Remembered()
    with pytest.raises(ZeroDivisionError):
        once(b"r", "a", lambda: 1 // 0)
    assert once(b"r", "a", lambda: 2) == 2


@pytest.mark.parametrize("profile", ["default", "gm", "pq"])
def test_brands_by_themselves_end_with_the_same_sums(profile: str) -> None:
    for made in (World(5, profile=profile), alone(World(5, profile=profile))):
        for lost in ({}, {"b001": wire.TRAIN}, {"b002": wire.UNMASK}):
            done = made.collect(lost)
            assert arrays.digest(done.total.sums) == arrays.digest(made.expected(done.survivors)[0])
        verdict = verify_transcript(made.lines, made.coordinator.terms.roster)
        assert (verdict.rounds, verdict.problem) == (3, "")


def counted(monkeypatch: pytest.MonkeyPatch, where: object, name: str) -> list[str]:
    calls: list[str] = []
    plain: Callable[..., object] = getattr(where, name)

    def counting(*given: object) -> object:
        calls.append(name)
        return plain(*given)

    monkeypatch.setattr(where, name, counting)
    return calls


def test_a_brand_by_itself_verifies_everything_and_agrees_with_everyone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Five brands: 4 adverts, 4 vectors and 4 consents at each, and 15 at the coordinator."""
    world = alone(World(5))
    verified = counted(monkeypatch, terms, "signed")
    agreed = counted(monkeypatch, keys, "agree")
    world.collect()
    assert len(agreed) == 5 * 4
    assert len(verified) == 5 * (4 + 4 + 4) + 3 * 5
    together = World(5)
    verified.clear()
    agreed.clear()
    together.collect()
    assert len(agreed) == 5 * 4 / 2
    assert not verified  # this process signed all of it


def test_a_deployed_brand_remembers_nothing() -> None:
    world = World(5)
    half, roster = world.halves["b000"], world.coordinator.terms.roster
    made = join(
        "b000",
        half.identity,
        roster=roster,
        pinned=roster.hash.hex(),
        plan=world.coordinator.terms.plan,
        follow=half.follow,
        first=half.first,
        federation_key=half.federation_key,
    )
    assert made.terms.once is anew


def test_one_brand_is_lied_to_after_the_others_were_not() -> None:
    """What the others' process has checked says nothing about bytes that differ."""
    cheat = Cheat(World(5))
    cheat.open()
    honest = wire.pack(cheat.adverts)
    for name in cheat.world.names[:4]:
        assert cheat.send(name, wire.KEYS, adverts=honest).code is Code.OK
    forged = wire.pack({**cheat.adverts, 1: flip(cheat.adverts[1], 190)})
    assert cheat.send("b004", wire.KEYS, adverts=forged).code is Code.BAD_SIGNATURE


def test_a_vector_that_was_sent_can_no_longer_be_written() -> None:
    world = World(5)
    world.collect()
    sent = [np.asarray(r.arrays["y"]) for *_, r in world.sent if "y" in r.arrays]
    assert len(sent) == 5
    for y in sent:
        with pytest.raises(ValueError, match="read-only"):
            y[0] = 1


def test_a_session_is_read_as_it_was_stored_or_not_at_all() -> None:
    made = session.Session(7, 1, 9, 3, "träin", session.SHARED, b"s" * 32, masks=b"\0" * 42, y=b"y")
    memory = Memory()
    session.save(made, memory)
    assert session.load(memory) == made
    assert session.load(Memory()) == session.Session()
    assert repr(made) == str(made) == "Session(<redacted>)"
    stored = memory.protocol["session"]
    for broken in (stored[:-1], stored + b"x", b"", b'{"sid":""}'):
        with pytest.raises(ValueError, match="of this version"):
            session.load(Memory(protocol={"session": broken}))


def test_an_identity_knows_its_public_half_and_prints_nothing_of_the_other() -> None:
    raw = bytes(range(32))
    made = identity.Identity.from_bytes(raw)
    assert identity.signed(made.public, b"m", made.sign(b"m"))
    assert raw.hex() not in repr(made) and "redacted" in repr(made)
