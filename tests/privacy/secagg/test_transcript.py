"""A transcript can be checked by anyone who has the roster, and every change to it is found."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clients.memory import MemoryFile
from fl import arrays
from fl.contracts import Memory
from fl.privacy.none import NoPrivacy
from fl.privacy.secagg import transcript, verify_transcript, wire
from fl.privacy.secagg.enrol import coordinate, join
from fl.privacy.secagg.follow import Course
from fl.privacy.secagg.identity import Identity, Roster, SignedPlan
from fl.privacy.secagg.masks import Ring
from tests.privacy.secagg.harness import World


def three_rounds() -> tuple[World, dict[str, Ring]]:
    world, sums = World(5), {}
    for lost in (
        {},
        {"b001": wire.TRAIN},
        {"b001": wire.OPEN, "b002": wire.OPEN, "b003": wire.OPEN},
    ):
        world.collect(lost)
    world.collect()
    log = world.coordinator.log
    for line, total in log.finished.values():
        sums[json.loads(line)["sum"]] = total
    return world, sums


def test_an_honest_transcript_verifies_with_the_models_it_led_to() -> None:
    world = World(5)
    first, sums = dict(world.state), {}
    for _ in range(3):
        world.collect()
        line, total = world.coordinator.log.finished[world.coordinator.log.sequence]
        sums[json.loads(line)["sum"]] = total
    course = Course({"train": world.algorithm}, NoPrivacy("none", "equal"))
    roster = world.coordinator.terms.roster
    verdict = verify_transcript(world.lines, roster, follow=course, first=first, sums=sums)
    assert (verdict.rounds, verdict.failed, verdict.problem) == (3, 0, "")
    other = {"b": np.asarray(first["b"]) + 1, "w": first["w"]}
    wrong = verify_transcript(world.lines, roster, follow=course, first=other, sums=sums)
    assert "another state" in wrong.problem
    key = json.loads(world.lines[1])["sum"]
    sums[key] = sums[key] + np.uint32(1)
    assert (
        "another one"
        in verify_transcript(world.lines, roster, follow=course, first=first, sums=sums).problem
    )


def test_failed_rounds_are_counted_and_move_no_root() -> None:
    world, _ = three_rounds()
    verdict = verify_transcript(world.lines, world.coordinator.terms.roster)
    assert (verdict.rounds, verdict.failed, verdict.problem) == (3, 1, "")


def forge(world: World, line: str, **changes: object) -> str:
    """A line with other values, signed by the coordinator again."""
    values = {k: v for k, v in json.loads(line).items() if k != "signature"}
    return transcript.seal({**values, **changes}, world.coordinator.identity)


FORGERIES = {
    "a byte": lambda w, line: line.replace('"number":1', '"number":2'),
    "not canonical": lambda w, line: line.replace(",", ", ", 1),
    "another model": lambda w, line: forge(w, line, model="00" * 32),
    "another round": lambda w, line: forge(w, line, number=9),
    "another root": lambda w, line: forge(w, line, previous="00" * 32),
    "one survivor less": lambda w, line: forge(
        w, line, survivors=json.loads(line)["survivors"][: -98 * 2]
    ),
    "one consent too few": lambda w, line: forge(
        w, line, consents=json.loads(line)["consents"][: 3 * 66 * 2]
    ),
    "no consents": lambda w, line: forge(w, line, consents=""),
    "one member less": lambda w, line: forge(w, line, members="00000001"),
    "another key": lambda w, line: forge(
        w, line, adverts="0000" + "11" * 32 + json.loads(line)["adverts"][68:]
    ),
    "no number": lambda w, line: forge(w, line, sequence="1"),
    "nothing": lambda w, line: "{}",
    "no json": lambda w, line: "{",
}


@pytest.mark.parametrize("what", sorted(FORGERIES))
def test_every_forgery_is_found(what: str) -> None:
    world = World(5)
    world.collect()
    lines = [world.lines[0], FORGERIES[what](world, world.lines[1])]
    assert lines[1] != world.lines[1]
    verdict = verify_transcript(lines, world.coordinator.terms.roster)
    assert verdict.problem.startswith("line 2: ")
    assert verdict.rounds == 0


def test_a_round_cannot_be_left_out_or_repeated() -> None:
    world, _ = three_rounds()
    roster = world.coordinator.terms.roster
    header, *lines = world.lines
    assert "line 2" in verify_transcript([header, *lines[1:]], roster).problem
    assert "line 3" in verify_transcript([header, lines[0], *lines], roster).problem
    assert verify_transcript([], roster).problem == "it is empty"


def test_another_roster_or_an_unapproved_plan_is_found() -> None:
    world = World(5)
    other = Roster({f"b{i:03d}": Identity.fresh().public for i in range(5)})
    assert "another roster" in verify_transcript(world.lines, other).problem
    terms = world.coordinator.terms
    plan = SignedPlan(terms.plan.content, {**terms.plan.signatures, "b002": bytes(64)})
    bare = transcript.header(replace(terms, plan=plan))
    assert "b002 did not approve" in verify_transcript([bare], terms.roster).problem


def test_a_brand_joins_only_what_it_approved() -> None:
    world = World(5)
    half, terms = world.halves["b000"], world.coordinator.terms
    how = {"follow": half.follow, "first": half.first, "plan": terms.plan, "roster": terms.roster}
    how["federation_key"] = half.federation_key
    pinned = terms.roster.hash.hex()
    assert join("b000", half.identity, pinned=pinned, **how).index == 0
    with pytest.raises(ValueError, match="pinned roster"):
        join("b000", half.identity, pinned="00" * 32, **how)
    with pytest.raises(ValueError, match="identity of b000"):
        join("b000", Identity.fresh(), pinned=pinned, **how)
    with pytest.raises(ValueError, match="approval of b003"):
        bare = {k: v for k, v in terms.plan.signatures.items() if k != "b003"}
        plan = SignedPlan(terms.plan.content, bare)
        join("b000", half.identity, pinned=pinned, **{**how, "plan": plan})
    with pytest.raises(ValueError, match="coordinator"):
        coordinate(Identity.fresh(), terms)


def test_a_brands_memory_survives_its_process_at_every_message(tmp_path: Path) -> None:
    """Each message is answered by memory read from disk; the file is the owner's alone."""
    world = World(4)
    files = {name: MemoryFile(tmp_path / name) for name in world.names}
    plain = world.handle

    def handle(name: str, request: object) -> object:
        world.stored[name] = files[name].load().protocol
        reply = plain(name, request)  # type: ignore[arg-type]
        files[name].save(Memory({"own": np.ones(2)}, protocol=dict(world.stored[name])))
        return reply

    world.handle = handle  # type: ignore[assignment, method-assign]
    for _ in range(2):
        done = world.collect()
        assert arrays.digest(done.total.sums) == arrays.digest(world.expected(world.names)[0])
    assert (tmp_path / "b000").stat().st_mode & 0o077 == 0
    assert files["b000"].load().arrays["own"].tolist() == [1, 1]


def test_another_process_computes_the_same_context() -> None:
    """No hash seed, no dict order, no interned state is in a round's context."""
    code = (
        "from fl.privacy.secagg.wire import Round; b=bytes(32);"
        "import sys; sys.stdout.write(Round(b,b,b,1,2,'train',3,b,b,b).sid.hex())"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    b = bytes(32)
    assert run.stdout == wire.Round(b, b, b, 1, 2, "train", 3, b, b, b).sid.hex()
