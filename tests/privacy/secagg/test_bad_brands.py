"""A brand that sends nonsense, lies or cheats is absent with a code; the others' sum is exact."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fl import arrays
from fl.contracts import Reply, Request, Update
from fl.errors import Code
from fl.privacy.secagg import BrandAgg, verify_transcript, wire
from fl.privacy.secagg.wire import pack, unpack
from tests.privacy.secagg.harness import World, flip


class Bent(World):
    """A federation whose brand ``b001`` bends its replies at one step."""

    step = wire.TRAIN
    who = ("b001",)

    def bend(self, reply: Reply) -> Reply:
        return reply

    def handle(self, name: str, request: Request) -> Reply:
        reply = super().handle(name, request)
        bends = name in self.who and request.config.get(wire.STEP) == self.step
        return self.bend(reply) if bends and reply.code is Code.OK else reply


def bent(step: str, change: object, brands: int = 5, **rules: object) -> Bent:
    world = Bent(brands, **rules)
    world.step, world.bend = step, change  # type: ignore[assignment, method-assign]
    return world


def y(change: object) -> object:
    return lambda r: Reply(Code.OK, {"y": change(np.asarray(r.arrays["y"]))}, r.config)  # type: ignore[operator]


VECTORS = {
    "short": (y(lambda v: v[:-1]), Code.MALFORMED),
    "empty": (lambda r: Reply(Code.OK, {}, r.config), Code.MALFORMED),
    "two": (lambda r: Reply(Code.OK, {**r.arrays, "z": np.ones(2)}, r.config), Code.MALFORMED),
    "float nan": (y(lambda v: v * np.nan), Code.MALFORMED),
    "int64": (y(lambda v: v.astype(np.int64)), Code.MALFORMED),
    "another": (y(lambda v: v + np.uint32(1)), Code.BAD_SIGNATURE),
    "unsigned": (lambda r: Reply(Code.OK, r.arrays, {}), Code.MALFORMED),
}


@pytest.mark.parametrize("what", sorted(VECTORS))
def test_a_malformed_or_altered_vector_makes_its_brand_absent(what: str) -> None:
    change, code = VECTORS[what]
    world = bent(wire.TRAIN, change)
    done = world.collect()
    assert done.absent == {"b001": code}
    assert arrays.digest(done.total.sums) == arrays.digest(world.expected(done.survivors)[0])


STEPS = {
    "advert": (wire.OPEN, lambda r: Reply(Code.OK, {}, {"advert": b"x"}), Code.MALFORMED),
    "forged advert": (
        wire.OPEN,
        lambda r: Reply(Code.OK, {}, {"advert": flip(r.config["advert"], 5)}),
        Code.BAD_SIGNATURE,
    ),
    "no escrow": (
        wire.KEYS,
        lambda r: Reply(Code.OK, {}, {"shares": r.config["shares"]}),
        Code.MALFORMED,
    ),
    "missing shares": (
        wire.KEYS,
        lambda r: Reply(Code.OK, {}, {**r.config, "shares": r.config["shares"][84:]}),
        Code.MALFORMED,
    ),
}


@pytest.mark.parametrize("what", sorted(STEPS))
def test_a_bad_step_makes_its_brand_absent(what: str) -> None:
    step, change, code = STEPS[what]
    done = bent(step, change).collect()
    assert done.absent == {"b001": code}
    assert len(done.survivors) == 4


def test_a_consent_to_something_else_is_not_counted() -> None:
    forged = lambda r: Reply(Code.OK, {}, {"consent": flip(r.config["consent"], 3)})  # noqa: E731
    world = bent(wire.SURVIVORS, forged)
    done = world.collect()
    assert "b001" in done.survivors  # its vector is in the sum; it only has no say
    assert '"b001":"key.signature"' in world.lines[-1]


def test_a_share_that_nobody_can_open_makes_its_receivers_refuse_and_names_the_round() -> None:
    """The giver colludes or is broken; whoever cannot open it stays out, so the round ends."""
    zeros = pack({i: bytes(82) for i in (0, 2, 3, 4)})
    world = bent(wire.KEYS, lambda r: Reply(Code.OK, {}, {**r.config, "shares": zeros}))
    done = world.collect()
    assert done.survivors == ()
    assert done.absent["b000"] is Code.BAD_SHARE
    assert world.touched.keys() == {"b001"}


def lie(kind: str) -> object:
    def change(reply: Reply) -> Reply:
        shares = unpack(reply.config[kind], 33)  # type: ignore[arg-type]
        wrong = {i: flip(s, 20) for i, s in shares.items()}
        return Reply(Code.OK, {}, {**reply.config, kind: pack(wrong)})

    return change


@pytest.mark.parametrize(("kind", "step"), [("pair", wire.TRAIN), ("self", wire.UNMASK)])
def test_who_lies_about_a_share_is_named_and_the_sum_is_still_exact(kind: str, step: str) -> None:
    """Seven brands, threshold five, one lost: six shares, one of them wrong."""
    world = bent(wire.UNMASK, lie(kind), brands=7)
    done = world.collect({"b006": step})
    assert '"wrong_shares":["b001"]' in world.lines[-1]
    assert arrays.digest(done.total.sums) == arrays.digest(world.expected(done.survivors)[0])
    assert verify_transcript(world.lines, world.coordinator.terms.roster).problem == ""


def test_a_lie_that_cannot_be_outvoted_ends_the_round_by_name_and_reveals_nothing() -> None:
    """Five brands, threshold four, one lost: all four shares are needed."""
    world = bent(wire.UNMASK, lie("pair"))
    done = world.collect({"b004": wire.TRAIN})
    assert done.survivors == ()
    assert done.absent["b000"] is Code.WRONG_SHARE
    assert not any(np.asarray(a).any() for a in done.total.sums.values())
    assert '"outcome":"share.wrong"' in world.lines[-1]


@pytest.mark.parametrize("profile", ["default", "pq"])
def test_who_drops_out_and_left_no_keys_of_its_masks_is_named_and_nothing_is_revealed(
    profile: str,
) -> None:
    """Its root is right, and what it should open is not: the masks stay on."""
    spoilt = lambda r: Reply(Code.OK, {}, {**r.config, "escrow": flip(r.config["escrow"], 9)})  # noqa: E731
    world = bent(wire.KEYS, spoilt, brands=6, profile=profile)
    assert len(world.collect().survivors) == 6  # nobody asks for it while its brand stays
    done = world.collect({"b001": wire.TRAIN})
    assert done.survivors == ()
    assert done.absent["b000"] is Code.WRONG_SHARE
    assert '"wrong_shares":["b001"]' in world.lines[-1]


def test_a_wrong_own_key_is_made_up_for_by_shares_and_named() -> None:
    world = bent(wire.UNMASK, lambda r: Reply(Code.OK, {}, {**r.config, "own": bytes(32)}))
    done = world.collect()
    assert '"wrong_shares":["b001"]' in world.lines[-1]
    assert arrays.digest(done.total.sums) == arrays.digest(world.expected(world.names)[0])


def test_a_sum_beyond_the_plan_ends_the_round_by_name() -> None:
    """A brand that signs ring values no honest encoding has: the sum leaves the plan's range."""
    world = World(5, bound=100.0)
    half = world.halves["b001"]
    wide = replace(world.rules, bound=0.0)
    terms = half.terms
    world.updates["b001"] = Update({n: np.full(a.shape, 3000.0) for n, a in world.state.items()}, 1)
    assert world.collect().absent == {"b001": Code.OUT_OF_RANGE}  # its own half refuses

    class Reckless(type(terms)):  # type: ignore[misc]
        most = wide.most(5)

    world.halves["b001"] = replace(half, terms=Reckless(terms.roster, terms.plan))
    done = world.collect()
    assert set(done.absent.values()) == {Code.OUT_OF_RANGE}
    assert done.survivors == ()


def test_a_round_with_too_few_brands_ends_with_a_reason_for_each() -> None:
    world = World(5)
    done = world.collect({"b000": wire.OPEN, "b001": wire.OPEN, "b002": wire.OPEN})
    assert done.survivors == ()
    assert done.absent["b000"] is Code.SILENT
    assert done.absent["b004"] is Code.TOO_FEW
    assert len(world.collect().survivors) == 5  # and the next one is not affected


BAD_RULES = {
    "overflow": {"bound": 20_000.0},
    "overflow by noise": {"bound": 1.0, "noise": 10_000.0},
    "too few brands": {"min_brands": 6},
    "two brands": {"min_brands": 2},
    "unknown mode": {"mode": "fast"},
    "unknown profile": {"profile": "rot13"},
    "pq in retry": {"mode": "retry", "profile": "pq"},
    "odd degree": {"degree": 31},
    "negative bound": {"bound": -1.0},
    "nan noise": {"noise": float("nan")},
}


@pytest.mark.parametrize("what", sorted(BAD_RULES))
def test_a_plan_that_cannot_be_kept_is_refused_at_configuration(what: str) -> None:
    with pytest.raises(ValueError, match="Expected"):
        World(5, **BAD_RULES[what])


def test_the_largest_plan_that_fits_is_accepted() -> None:
    BrandAgg(bound=1.0, noise=10.0, scale_bits=16, min_brands=3).check(10)
    assert BrandAgg().most(1000) * 1000 < 2**31
