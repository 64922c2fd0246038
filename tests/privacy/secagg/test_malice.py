"""A coordinator that cheats is refused, before anything but masks has left, and is on record."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from fl import arrays
from fl.contracts import Memory, Request, Update
from fl.errors import Code, Refused
from fl.privacy.secagg import keys, verify_transcript, wire
from fl.privacy.secagg.identity import Identity
from fl.privacy.secagg.profiles import key_of, public_of
from fl.privacy.secagg.wire import Advert, pack
from tests.privacy.secagg.harness import RECORD, Cheat, World, flip


def refused(world: World, name: str, code: Code) -> bool:
    """Whether ``name`` refused with ``code``, kept the evidence, and let no vector out before."""
    kept = [(who, c) for who, what, c in world.refusals if json.loads(what)["config"]]
    return (name, code) in kept and not world.masked(name)


def test_an_honest_course_by_hand_is_not_refused() -> None:
    cheat = Cheat(World(5)).until_masked()
    assert all(cheat.show(n).code is Code.OK for n in cheat.world.names)
    assert all(cheat.unmask(n).code is Code.OK for n in cheat.world.names)
    assert not cheat.world.refusals


def test_an_altered_key_is_refused() -> None:
    cheat = Cheat(World(5))
    cheat.open()
    own, foreign = cheat.parsed()[1], public_of(key_of(b"\1" * 32))
    cheat.adverts[1] = replace(own, key=foreign).record
    assert cheat.keys()["b000"].code is Code.BAD_SIGNATURE
    assert refused(cheat.world, "b000", Code.BAD_SIGNATURE)


def test_a_key_signed_by_an_identity_off_the_roster_is_refused() -> None:
    cheat = Cheat(World(5))
    cheat.open()
    made = replace(cheat.parsed()[1], key=public_of(key_of(b"\1" * 32)))
    stranger = Identity.fresh().sign(made.message(cheat.round().sid))
    cheat.adverts[1] = replace(made, signature=stranger).record
    assert cheat.keys()["b000"].code is Code.BAD_SIGNATURE


@pytest.mark.parametrize("number", [5, 9])
def test_a_brand_off_the_roster_is_refused(number: int) -> None:
    cheat = Cheat(World(5))
    cheat.open()
    cheat.adverts[number] = replace(
        cheat.parsed()[1], index=number, key=public_of(key_of(b"\1" * 32))
    ).record
    assert cheat.keys()["b000"].code is Code.UNKNOWN_ROSTER


def test_a_key_that_two_brands_share_is_refused() -> None:
    cheat = Cheat(World(5))
    cheat.open()
    twin = replace(cheat.parsed()[2], key=cheat.parsed()[1].key)
    cheat.adverts[2] = twin.record
    assert cheat.keys()["b000"].code is Code.DUPLICATE_KEY
    assert refused(cheat.world, "b000", Code.DUPLICATE_KEY)


def test_a_key_of_low_order_is_refused_even_if_signed() -> None:
    """Its owner colludes: it would make the pair's mask a public constant."""
    cheat = Cheat(World(5))
    cheat.open()
    made = replace(cheat.parsed()[1], key=bytes(32))
    signature = cheat.world.halves["b001"].identity.sign(made.message(cheat.round().sid))
    cheat.adverts[1] = replace(made, signature=signature).record
    assert cheat.keys()["b000"].code is Code.WEAK_KEY


def test_the_own_entry_changed_or_left_out_is_refused() -> None:
    cheat = Cheat(World(5))
    cheat.open()
    own = cheat.adverts[0]
    cheat.adverts[0] = flip(own, 70)
    assert cheat.keys()["b000"].code is Code.OWN_ENTRY
    del cheat.adverts[0]
    assert cheat.keys()["b000"].code is Code.OWN_ENTRY
    assert refused(cheat.world, "b000", Code.OWN_ENTRY)


def test_too_few_brands_are_refused_at_every_list() -> None:
    cheat = Cheat(World(5))
    cheat.open()
    assert cheat.keys(pack({i: cheat.adverts[i] for i in (0, 1)}))["b000"].code is Code.TOO_FEW
    cheat.keys()
    everyone = dict(cheat.sealed)
    cheat.sealed = {i: everyone[i] for i in (0, 1, 2)}  # the threshold of five is four
    assert cheat.train("b000").code is Code.TOO_FEW
    assert cheat.world.touched["b000"] == 0
    cheat.sealed = everyone
    cheat.train_all()
    assert cheat.show("b000", [0, 1, 2]).code is Code.TOO_FEW


def test_a_brand_takes_no_part_in_a_sum_it_is_not_in() -> None:
    cheat = Cheat(World(5)).until_masked()
    assert cheat.show("b000", [1, 2, 3, 4]).code is Code.OWN_ENTRY


def test_a_share_that_does_not_open_is_refused_before_the_data_is_touched() -> None:
    cheat = Cheat(World(5))
    cheat.open()
    cheat.keys()
    assert cheat.train("b000", shares=flip(cheat.shares_for("b000"), 10)).code is Code.BAD_SHARE
    cheat.sealed[1][0], cheat.sealed[1][2] = cheat.sealed[1][2], cheat.sealed[1][0]
    assert cheat.train("b000").code is Code.BAD_SHARE  # another brand's share
    assert cheat.train("b002").code is Code.BAD_SHARE
    assert cheat.world.touched.total() == 0
    assert refused(cheat.world, "b000", Code.BAD_SHARE)


def test_a_split_view_of_the_survivors_opens_no_mask() -> None:
    """``b004`` is shown as lost to two brands and as alive to three: consents do not mix."""
    cheat = Cheat(World(5)).until_masked()
    for name in ("b000", "b001", "b004"):
        assert cheat.show(name).code is Code.OK
    for name in ("b002", "b003"):
        assert cheat.show(name, [0, 1, 2, 3]).code is Code.OK
    assert {cheat.unmask(n).code for n in cheat.world.names} == {Code.SPLIT_VIEW}
    honest = {i: c for i, c in cheat.consents.items() if i in (0, 1, 4)}
    cheat.consents = honest  # three of the four that are needed
    assert cheat.unmask("b000").code is Code.TOO_FEW
    assert cheat.unmask("b002").code is Code.SPLIT_VIEW


def test_both_kinds_of_shares_of_a_brand_cannot_be_had() -> None:
    cheat = Cheat(World(5)).until_masked()
    assert cheat.show("b000").code is Code.OK
    assert cheat.show("b000", [0, 1, 2, 3]).code is Code.BOTH_SHARES
    twice = pack(cheat.ys) + pack({4: cheat.ys[4]})
    assert cheat.send("b001", wire.SURVIVORS, survivors=twice).code is Code.BAD_REQUEST
    for name in cheat.world.names[1:]:
        cheat.show(name)
    handed = cheat.unmask("b000").config
    alive, lost = (len(handed[k]) // 35 for k in ("self", "pair"))  # type: ignore[arg-type]
    assert (alive, lost) == (4, 0)


def test_masks_are_opened_once_and_the_flag_is_stored_with_the_reply() -> None:
    cheat = Cheat(World(5)).until_masked()
    for name in cheat.world.names:
        cheat.show(name)
    assert cheat.unmask("b000").code is Code.OK
    assert cheat.world.session("b000").stage == "answered"
    assert cheat.unmask("b000").code is Code.ANSWERED
    assert cheat.show("b000", [0, 1, 2, 3]).code is Code.BOTH_SHARES


def test_a_round_is_opened_once() -> None:
    cheat = Cheat(World(5))
    cheat.open()
    assert {r.code for r in cheat.open().values()} == {Code.REPLAYED}
    assert {r.code for r in cheat.open(attempt=2).values()} == {Code.REPLAYED}
    assert {r.code for r in cheat.open(sequence=0).values()} == {Code.REPLAYED}


def test_messages_of_an_earlier_round_are_of_no_use_in_the_next() -> None:
    cheat = Cheat(World(5)).until_masked()
    old, sealed = dict(cheat.adverts), cheat.shares_for("b000")
    cheat.open(sequence=2)
    assert cheat.keys(pack({**old, 0: cheat.adverts[0]}))["b000"].code is Code.BAD_SIGNATURE
    cheat.keys()
    assert cheat.train("b000", shares=sealed).code is Code.BAD_SHARE
    assert cheat.show("b000").code is Code.OUT_OF_ORDER


def test_steps_cannot_be_skipped() -> None:
    cheat = Cheat(World(5))
    assert cheat.keys(b"")["b000"].code is Code.OUT_OF_ORDER
    cheat.open()
    assert cheat.train("b000", shares=b"").code is Code.OUT_OF_ORDER
    assert cheat.send("b000", wire.SURVIVORS, survivors=b"").code is Code.OUT_OF_ORDER
    assert cheat.send("b000", wire.UNMASK, consents=b"").code is Code.OUT_OF_ORDER


def test_an_update_is_never_given_outside_of_the_protocol() -> None:
    world = World(5)
    plain = Request("train", 1, world.algorithm.broadcast(world.state))
    assert world.handle("b000", plain).code is Code.UNPROTECTED
    assert world.touched.total() == 0
    with pytest.raises(Refused, match=r"request.out-of-order"):
        world.halves["b000"].protect(plain, world.updates["b000"], Memory())


def test_two_models_that_differ_in_one_bit_stop_the_round_before_any_vector_leaves() -> None:
    """Consistently lied to: ``b004`` gets another model, and the hash of it."""
    world = World(5)
    honest, lie = Cheat(world), Cheat(world)
    bits = np.array(lie.model["w"])
    bits.view(np.uint32)[0, 0] ^= 1
    lie.model = {**lie.model, "w": bits}
    for name in world.names:
        side = lie if name == "b004" else honest
        honest.adverts[honest.index[name]] = side.send(  # type: ignore[assignment]
            name, wire.OPEN, **side.opening()
        ).config["advert"]
    codes = {n: r.code for n, r in honest.keys().items()}
    assert set(codes.values()) == {Code.BAD_SIGNATURE}
    assert world.touched.total() == 0
    assert not any(world.masked(n) for n in world.names)


def test_another_model_than_the_one_announced_is_refused() -> None:
    cheat = Cheat(World(5))
    cheat.open()
    cheat.keys()
    other = {**cheat.model, "w": np.asarray(cheat.model["w"]) + np.float32(1)}
    assert cheat.train("b000", model=other).code is Code.MODEL_MISMATCH
    assert cheat.world.touched.total() == 0


def test_a_model_that_does_not_follow_from_the_sums_is_refused_by_all() -> None:
    """Announced to everybody alike: the coordinator chose it, so nobody trains on it."""
    world = World(5)
    world.collect()
    world.state = {**world.state, "w": np.asarray(world.state["w"]) + 1}
    done = world.collect()
    assert set(done.absent.values()) == {Code.MODEL_MISMATCH}
    assert world.touched.total() == 5


@pytest.mark.parametrize("what", ["sum", "line", "dropped"])
def test_a_published_sum_that_is_not_the_signed_one_is_refused(what: str) -> None:
    world = World(5)
    world.collect()

    def meddle(name: str, step: str, request: Request) -> Request:
        if step != wire.OPEN or name != "b000":
            return request
        content, config = dict(request.arrays), dict(request.config)
        if what == "sum":
            content["sum/1"] = np.asarray(content["sum/1"]) + np.uint32(1)
        elif what == "line":
            config["line/1"] = str(config["line/1"]).replace('"number":1', '"number":2')
        else:
            content, config = {}, {k: v for k, v in config.items() if k != "line/1"}
        return replace(request, arrays=content, config=config)

    done = world.collect(meddle=meddle)
    code = Code.MODEL_MISMATCH if what == "dropped" else Code.BAD_RESULT
    assert done.absent == {"b000": code}
    assert len(done.survivors) == 4


def test_a_forged_sum_is_refused_by_all_even_if_the_coordinator_signs_it() -> None:
    """It would choose the next model: the tag's key is not the coordinator's."""
    from fl.privacy.secagg import transcript
    from fl.privacy.secagg.masks import hash_of

    world = World(5)
    world.collect()
    log = world.coordinator.log
    line, total = log.finished[1]
    forged = total.copy()
    forged[3] ^= np.uint32(1 << 20)
    values = {k: v for k, v in json.loads(line).items() if k != "signature"}
    line = transcript.seal({**values, "sum": hash_of(forged).hex()}, world.coordinator.identity)
    log.finished[1] = (line, forged)
    log.root = transcript.next_root(world.coordinator.terms.first_root, line)
    assert verify_transcript([*world.lines[:1], line], world.coordinator.terms.roster).rounds == 1
    assert set(world.collect().absent.values()) == {Code.BAD_RESULT}
    assert world.touched.total() == 5


def test_who_was_away_follows_no_round_that_enough_brands_did_not_sign() -> None:
    """The coordinator invents a round; its own signature is not enough."""
    world = World(5)
    world.collect({"b000": wire.OPEN})
    line, total = world.coordinator.log.finished[1]
    values = {k: v for k, v in json.loads(line).items() if k != "signature"}
    few = {**values, "consents": values["consents"][: 2 * 66 * 2]}
    from fl.privacy.secagg import transcript

    forged = transcript.seal(few, world.coordinator.identity)
    world.coordinator.log.finished[1] = (forged, total)
    done = world.collect()
    assert done.absent["b000"] is Code.BAD_RESULT


@pytest.mark.parametrize(
    ("part", "code"), [("plan", Code.UNKNOWN_PLAN), ("roster", Code.UNKNOWN_ROSTER)]
)
def test_an_unknown_plan_or_roster_is_refused(part: str, code: Code) -> None:
    cheat = Cheat(World(5))
    assert {r.code for r in cheat.open(**{part: bytes(32)}).values()} == {code}
    assert refused(cheat.world, "b000", code)


@pytest.mark.parametrize(
    "change",
    [{"model": b"short"}, {"sequence": "1"}, {"sequence": -1}, {"attempt": None}, {"layout": 7}],
)
def test_a_malformed_opening_is_refused(change: dict[str, object]) -> None:
    cheat = Cheat(World(5))
    assert cheat.open(**change)["b000"].code is Code.BAD_REQUEST


@pytest.mark.parametrize("raw", [b"", b"x", bytes(100)])
def test_malformed_lists_are_refused(raw: bytes) -> None:
    cheat = Cheat(World(5))
    cheat.open()
    assert cheat.keys(raw)["b000"].code in (Code.BAD_REQUEST, Code.OWN_ENTRY)
    swapped = pack(cheat.adverts)
    size = 2 + Advert.size(False)
    swapped = swapped[size : 2 * size] + swapped[:size] + swapped[2 * size :]
    assert cheat.keys(swapped)["b000"].code is Code.BAD_REQUEST
    cheat.keys()
    cheat.train_all()
    assert cheat.send("b000", wire.SURVIVORS, survivors=bytes(RECORD - 1)).code is Code.BAD_REQUEST


def test_retry_does_not_open_masks_of_two_attempts() -> None:
    """A brand is said to have dropped out: the difference of two attempts would be its update."""
    cheat = Cheat(World(5, mode="retry"))
    cheat.open()
    cheat.train_all()
    first = dict(cheat.ys)
    everyone = dict(cheat.adverts)
    cheat.open(attempt=2)
    cheat.adverts.pop(4)
    cheat.ys = {}
    for name in cheat.world.names[:4]:
        assert cheat.train(name).code is Code.OK
    assert cheat.world.touched["b000"] == 1
    shown = pack(cheat.ys)
    assert cheat.send("b000", wire.UNMASK, survivors=shown).code is Code.OK
    shown = pack(first)
    assert cheat.send("b000", wire.UNMASK, survivors=shown).code is Code.ANSWERED
    assert cheat.send("b001", wire.UNMASK, survivors=shown).code is not Code.OK
    assert everyone.keys() - cheat.adverts.keys() == {4}
    assert cheat.open(attempt=3)["b000"].code is Code.ANSWERED


def test_retry_opens_no_mask_unless_all_members_sent() -> None:
    cheat = Cheat(World(5, mode="retry"))
    cheat.open()
    cheat.train_all()
    shown = pack({i: cheat.ys[i] for i in range(4)})
    assert cheat.send("b000", wire.UNMASK, survivors=shown).code is Code.TOO_FEW


def test_an_update_of_other_shapes_or_without_bounds_is_never_masked() -> None:
    world = World(5)
    bad = {
        "b000": (Update({"b": np.zeros(()), "w": np.zeros((3, 3))}, 1.0), Code.MALFORMED),
        "b001": (Update({**world.updates["b001"].sums, "b": np.asarray(np.nan)}, 1.0), None),
        "b002": (Update(world.updates["b002"].sums, float("inf")), None),
        "b003": (Update(world.updates["b003"].sums, 2.0**30), Code.OUT_OF_RANGE),
    }
    cheat = Cheat(world)
    cheat.open()
    cheat.keys()
    for name, (update, code) in bad.items():
        world.updates[name] = update
        assert cheat.train(name).code is (code or Code.NOT_FINITE)
        assert refused(world, name, code or Code.NOT_FINITE)
    assert arrays.finite(world.updates["b004"].sums)
    assert keys.PAIR == 66
