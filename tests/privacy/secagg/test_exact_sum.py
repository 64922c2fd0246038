"""The decoded sum is exact in the ring, whoever is lost at whichever step, or there is no sum."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from fl import arrays
from fl.contracts import Memory, Update
from fl.errors import Code
from fl.privacy.secagg import chain, graph, verify_transcript, wire
from tests.privacy.secagg.harness import STEPS, World

logging.getLogger("fl.federation.inprocess").setLevel(logging.CRITICAL)


def may_finish(brands: int, lost: dict[str, str], max_dropouts: int) -> int:
    """How many are in the sum by the protocol's rules, worked out by counting; 0 for none."""
    left = [brands - sum(STEPS.index(s) <= step for s in lost.values()) for step in range(5)]
    t = graph.threshold(left[0], True, max_dropouts)
    if any(count < max(t, 3) for count in left[:4]):
        return 0
    complete = left[0] == left[1] == left[2] == left[4]
    return left[2] if complete or left[4] >= min(t, left[0] - 1) else 0


class Rounds(RuleBasedStateMachine):
    """Brands come and go; every round either has the exact sum or none, and nobody diverges."""

    @initialize(
        brands=st.integers(4, 7),
        max_dropouts=st.integers(0, 3),
        profile=st.sampled_from(["default", "default", "gm", "pq"]),
    )
    def start(self, brands: int, max_dropouts: int, profile: str) -> None:
        self.world = World(brands, max_dropouts=max_dropouts, profile=profile)
        self.lost: dict[str, str] = {}

    @rule(brand=st.integers(0, 6), step=st.sampled_from(STEPS))
    def lose(self, brand: int, step: str) -> None:
        self.lost[self.world.names[brand % len(self.world.names)]] = step

    @rule()
    def all_come_back(self) -> None:
        self.lost = {}

    @rule(values=st.lists(st.floats(-100, 100), min_size=3, max_size=3))
    def change_updates(self, values: list[float]) -> None:
        for i, name in enumerate(self.world.names):
            sums = {"b": np.asarray(values[i % 3]), "w": np.resize(np.array(values) * i, (3, 4))}
            self.world.updates[name] = Update(sums, float(i))

    @rule()
    def round(self) -> None:
        world, root = self.world, self.world.coordinator.log.root
        done = world.collect(self.lost)
        sure = may_finish(len(world.names), self.lost, world.rules.max_dropouts)
        assert len(done.survivors) == sure
        assert set(done.survivors) | set(done.absent) == set(world.names)
        if not sure:
            assert world.coordinator.log.root == root
            return
        sums, weight = world.expected(done.survivors)
        assert done.total.weight == weight
        assert arrays.digest(done.total.sums) == arrays.digest(sums)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        log, terms = self.world.coordinator.log, self.world.coordinator.terms
        verdict = verify_transcript(self.world.lines, terms.roster)
        assert (verdict.problem, verdict.root) == ("", log.root.hex())


Rounds.TestCase.settings = settings(max_examples=30, stateful_step_count=10, deadline=None)
TestRounds = Rounds.TestCase


def test_a_brand_that_was_away_follows_the_sums_it_missed() -> None:
    world = World(6)
    for _ in range(3):
        assert len(world.collect({"b002": wire.OPEN}).survivors) == 5
    done = world.collect()
    assert "b002" in done.survivors
    place = chain.load(Memory(protocol=world.stored["b002"]), world.coordinator.terms)
    assert place.sequence == 3
    assert world.coordinator.log.finished.keys() == {4}  # what all have followed is forgotten


@pytest.mark.parametrize("step", [wire.OPEN, wire.TRAIN, wire.UNMASK])
def test_retry_makes_a_new_attempt_without_the_lost_brand_and_touches_data_once(step: str) -> None:
    world = World(5, mode="retry")
    done = world.collect({"b001": step})
    if step == wire.UNMASK:  # the others have opened their masks already: no second attempt
        assert done.survivors == ()
        assert done.absent["b000"] is Code.ANSWERED
    else:
        assert done.survivors == ("b000", "b002", "b003", "b004")
        sums, _ = world.expected(done.survivors)
        assert arrays.digest(done.total.sums) == arrays.digest(sums)
        assert world.touched["b000"] == 1
    assert "encoding" not in world.stored["b000"]  # no update in clear outlives its round
    attempts = [line for line in world.lines[1:]]
    assert len(attempts) == {wire.OPEN: 1, wire.TRAIN: 2, wire.UNMASK: 3}[step]


def test_retry_gives_the_exact_sum_in_one_attempt_when_all_stay() -> None:
    world = World(3, mode="retry")
    for _ in range(2):
        done = world.collect()
        assert done.survivors == tuple(world.names)
        assert arrays.digest(done.total.sums) == arrays.digest(world.expected(world.names)[0])
    assert verify_transcript(world.lines, world.coordinator.terms.roster).rounds == 2


def test_the_graph_above_a_hundred_brands_still_gives_the_exact_sum() -> None:
    world = World(104, degree=20)
    lost = {"b003": wire.TRAIN, "b050": wire.UNMASK}
    done = world.collect(lost)
    assert set(world.names) - set(done.survivors) == {"b003"}
    assert arrays.digest(done.total.sums) == arrays.digest(world.expected(done.survivors)[0])
    members = list(range(104))
    near = graph.neighbours(members, b"seed", 20)
    assert all(len(js) == 20 and all(i in near[j] for j in js) for i, js in near.items())


@given(
    st.lists(st.integers(-(2**20), 2**20), min_size=1, max_size=50),
    st.integers(0, 20),
)
@settings(max_examples=50)
def test_multiples_of_the_scale_are_carried_exactly(values: list[int], bits: int) -> None:
    from fl.privacy.secagg import fixedpoint

    update = Update({"x": np.array(values) * 2.0**-bits}, 1.0)
    back = fixedpoint.decode(fixedpoint.encode(update, bits, 2**30), update.sums, bits)
    assert arrays.digest(back.sums) == arrays.digest(arrays.cast(update.sums, np.float64))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("size", [10, 100_000, 200_000])
def test_an_entry_that_does_not_fit_is_found_wherever_it_is(size: int, threads: int) -> None:
    from fl.errors import Refused
    from fl.privacy.secagg import fixedpoint

    most = 2**20
    for value, code in (
        (17.0, Code.OUT_OF_RANGE),
        (-1e200, Code.OUT_OF_RANGE),
        (np.inf, Code.NOT_FINITE),
        (np.nan, Code.NOT_FINITE),
    ):
        for at in (0, size // 2, size - 1):
            entries = np.zeros(size)
            entries[at] = value
            with pytest.raises(Refused, match=str(code)):
                fixedpoint.encode(Update({"x": entries}, 1.0), 16, most, threads)
    entries = np.full(size, -16.0)  # every entry at the limit
    encoded = fixedpoint.encode(Update({"x": entries}, 1.0), 16, most, threads)
    assert (encoded[:-1].view(np.int32) == -most).all()
