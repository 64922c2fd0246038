"""A brand whose ledger has fewer entries than it has signed is left out, or a round refused."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest

from fl import arrays
from fl.contracts import NO_LEDGER, Mark, Reply, Request
from fl.errors import Code
from fl.privacy.secagg import verify_transcript, wire
from fl.privacy.secagg.identity import Identity
from fl.privacy.secagg.peers import Peers
from tests.privacy.secagg.harness import Cheat, World


def head(entries: int, branch: str = "") -> Mark:
    """The mark of a ledger of so many entries; another branch is another ledger."""
    return Mark(entries, f"{branch}{entries}".encode().rjust(32, b"."))


class Kept(World):
    """A federation whose brands keep ledgers: one entry more for each masked vector."""

    def __init__(self, brands: int = 5, **rules: object) -> None:
        self.marks: dict[str, Mark] = defaultdict(lambda: head(3))
        self.noted: dict[str, dict[bytes, Mark]] = defaultdict(dict)
        self.strict = True  # brands look into their own ledger
        super().__init__(brands, **rules)

    def watch(self, name: str) -> None:
        super().watch(name)
        half = self.halves[name]

        def reaches(mark: Mark) -> bool:
            return not self.strict or self.marks[name].extends(mark)

        witness = replace(half.witness, mark=lambda: self.marks[name], reaches=reaches)
        peers = Peers({}, self.noted[name].update)
        self.halves[name] = replace(half, witness=witness, peers=peers)

    def handle(self, name: str, request: Request) -> Reply:
        before = self.touched[name]
        reply = super().handle(name, request)
        if self.touched[name] > before:
            self.marks[name] = head(self.marks[name].entries + 1)
        return reply

    def forget(self) -> None:
        """The coordinator does not want to know what it has seen."""

        class Nothing(dict[bytes, Mark]):
            def get(self, key: bytes, default: Mark | None = None) -> Mark:  # type: ignore[override]
                return NO_LEDGER

        self.coordinator.log.marks = Nothing()

    def key(self, name: str) -> bytes:
        return self.halves[name].identity.public


BEFORE = head(4)
FALLS = {
    "set back": head(3),
    "another of the same length": head(4, "x"),
    "deleted": NO_LEDGER,
}


@pytest.mark.parametrize("mode", ["recover", "retry"])
def test_ledgers_that_grow_are_never_refused(mode: str) -> None:
    world = Kept(5, mode=mode)
    for lost in ({}, {"b001": wire.TRAIN}, {"b002": wire.OPEN}, {}):
        done = world.collect(lost if mode == "recover" else None)
        assert {code for code in done.absent.values()} <= {Code.SILENT}
    assert not world.refusals
    marks = world.coordinator.log.marks
    assert {world.key(n) for n in world.names} == set(marks)
    assert marks[world.key("b000")] == head(6)  # as it was before the last sum was booked
    others = {world.key(n) for n in world.names[1:]}
    assert set(world.noted["b000"]) == others


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("mode", ["recover", "retry"])
@pytest.mark.parametrize("what", sorted(FALLS))
def test_a_brand_that_was_set_back_within_a_run_is_left_out_of_the_sum(
    what: str, mode: str, strict: bool
) -> None:
    """It finds out by itself, or, if it does not want to, is found out."""
    world = Kept(5, mode=mode)
    world.collect()
    world.collect()
    world.strict = strict
    world.marks["b001"] = FALLS[what]
    done = world.collect()
    assert done.absent == {"b001": Code.LEDGER_SET_BACK}
    assert arrays.digest(done.total.sums) == arrays.digest(world.expected(done.survivors)[0])
    assert world.touched["b001"] == 2
    assert [who for who, _, _ in world.refusals] == (["b001"] if strict else [])
    verdict = verify_transcript(world.lines, world.coordinator.terms.roster)
    assert (verdict.rounds, verdict.problem) == (3, "")


def test_a_ledger_that_is_restored_is_welcome_again() -> None:
    world = Kept(5)
    world.collect()
    newer, world.marks["b001"] = world.marks["b001"], head(2)
    assert world.collect().absent == {"b001": Code.LEDGER_SET_BACK}
    world.marks["b001"] = newer
    assert not world.collect().absent


def test_what_the_coordinator_knows_from_an_earlier_run_counts() -> None:
    earlier, world = Kept(5), Kept(5)
    world.coordinator.log.marks[world.key("b001")] = BEFORE
    world.strict = False
    assert world.collect().absent == {"b001": Code.LEDGER_SET_BACK}
    world.marks["b001"] = BEFORE
    assert not world.collect().absent
    assert not earlier.collect().absent


@pytest.mark.parametrize("mode", ["recover", "retry"])
@pytest.mark.parametrize("what", sorted(FALLS))
def test_a_coordinator_that_lets_it_pass_is_refused_by_all_others(what: str, mode: str) -> None:
    world = Kept(5, mode=mode, max_attempts=1)
    world.collect()
    world.collect()
    world.forget()
    world.marks["b001"] = FALLS[what]
    touched = dict(world.touched)
    done = world.collect()
    assert done.survivors == ()
    honest = {n for n in world.names if n != "b001"}
    assert {n for n, code in done.absent.items() if code is Code.PEER_SET_BACK} == honest
    assert {who for who, _, code in world.refusals if code is Code.PEER_SET_BACK} == honest
    assert all(world.touched[n] == touched[n] for n in honest)  # before any data


@pytest.mark.parametrize("what", sorted(FALLS))
def test_a_brand_knows_its_partners_from_earlier_runs(what: str) -> None:
    world = Kept(5)
    known = {world.key("b001"): BEFORE}
    world.halves["b000"] = replace(world.halves["b000"], peers=Peers(known))
    world.marks["b001"] = FALLS[what]
    done = world.collect()
    assert done.absent == {"b000": Code.PEER_SET_BACK}  # the others know nothing, and go on
    world.marks["b001"] = head(9)
    assert not world.collect().absent


def test_a_brand_with_a_new_key_is_another_brand() -> None:
    world = Kept(5)
    known = {Identity.fresh().public: head(40)}
    world.coordinator.log.marks |= known
    for name in world.names:
        world.halves[name] = replace(world.halves[name], peers=Peers(known))
    assert not world.collect().absent


def test_a_number_is_signed_with_the_round() -> None:
    cheat = Cheat(Kept(5))
    cheat.open()
    made = cheat.parsed()[1]
    assert made.mark == head(3)
    cheat.adverts[1] = replace(made, mark=made.mark._replace(entries=4)).record
    assert cheat.keys()["b000"].code is Code.BAD_SIGNATURE


def test_a_coordinator_must_say_what_it_has_seen() -> None:
    cheat = Cheat(Kept(5))
    assert {r.code for r in cheat.open(mark=b"").values()} == {Code.BAD_REQUEST}
    assert {r.code for r in cheat.open(mark=wire.packed(head(4))).values()} == {
        Code.LEDGER_SET_BACK
    }
    assert {r.code for r in cheat.open().values()} == {Code.OK}


@pytest.mark.parametrize("what", sorted(FALLS))
def test_a_transcript_in_which_a_number_falls_does_not_verify(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All collude: nobody looked when it happened."""
    world = Kept(5)
    world.collect()
    world.collect()
    world.forget()
    monkeypatch.setattr("fl.privacy.secagg.peers.check", lambda *of: None)
    world.marks["b001"] = FALLS[what]
    assert not world.collect().absent
    verdict = verify_transcript(world.lines, world.coordinator.terms.roster)
    entries = FALLS[what].entries
    assert verdict.problem == (
        f"line 4: the ledger of b001 was set back: {entries} entries after 4"
    )


def test_marks_travel_as_head_and_number() -> None:
    mark = Mark(2**63 + 5, bytes(range(32)))
    raw = wire.packed(mark)
    assert raw == bytes(range(32)) + (2**63 + 5).to_bytes(8, "big")
    assert wire.unpacked(raw) == mark
    cheat = Cheat(World(5))
    cheat.open()
    assert {a.mark for a in cheat.parsed().values()} == {NO_LEDGER}
    assert {wire.mark_in(record) for record in cheat.adverts.values()} == {NO_LEDGER}
