"""What a reader of a ledger notices: every change, and the line it is on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl.errors import Code, InputError, Refused
from fl.events import Repeated, to_json
from fl.privacy.entries import PURPOSE, START, Json, Kind, canonical, digest, write
from fl.privacy.journal import Journal
from fl.privacy.reading import read, replay, verify
from fl.privacy.signing import SigningKey
from tests.ledgers import ROUND, new, opening, reopened

KEY, OTHER = SigningKey.generate(), SigningKey.generate()


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """A ledger of seven lines."""
    folder = tmp_path_factory.mktemp("ledger")
    with new(folder, KEY) as ledger:
        ledger.reserve("a", Repeated(ROUND, 3))
        for number in (1, 2):
            ledger.commit("a", f"train/{number}", ROUND)
        ledger.checkpoint("coordinator")
        ledger.settle("a")
        with pytest.raises(Refused):
            ledger.commit("a", "train/3", ROUND)
    return (folder / "ledger.jsonl").read_bytes().splitlines()


def found(lines: list[bytes], public_key: str | None = None) -> str:
    """What a reader says about ``lines``."""
    with pytest.raises(InputError) as error:
        replay(b"".join(line + b"\n" for line in lines), "x", public_key=public_key)
    return str(error.value)


def signed(key: SigningKey, bodies: list[tuple[Kind, dict[str, Json]]]) -> list[bytes]:
    """A well-formed chain of ``bodies``, whatever they say."""
    made, prev = [], START
    for seq, (kind, body) in enumerate(bodies):
        entry, line = write(key, seq=seq, prev=prev, time="t", kind=kind, body=body)
        made.append(line)
        prev = entry.hash
    return made


def test_the_ledger_as_written_is_verified(lines: list[bytes]) -> None:
    reading = replay(b"\n".join([*lines, b""]), "x", public_key=KEY.public)
    assert [entry.seq for entry in reading.entries] == list(range(7))
    assert reading.holds(reading.entries[3].hash)
    assert not reading.holds(START)


@given(st.data())
@settings(max_examples=60)
def test_no_byte_can_be_changed_unseen(lines: list[bytes], data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(lines) - 1))
    at = data.draw(st.integers(0, len(lines[row]) - 1))
    to = data.draw(st.integers(0, 255).filter(lambda b: b not in (10, lines[row][at])))
    changed = bytearray(lines[row])
    changed[at] = to
    problem = found([*lines[:row], bytes(changed), *lines[row + 1 :]])
    if b"public_key" not in lines[row]:
        assert problem.startswith(f"x line {row + 1}:")


@pytest.mark.parametrize(
    ("case", "problem"),
    [
        (lambda a: [*a[:-1], a[-1].replace(b'"seq":6', b'"seq": 6')], "line 7: is not in canon"),
        (lambda a: [a[0], *a[2:]], "line 2: is entry 2, expected 1: lines are missing"),
        (lambda a: [a[0], a[2], a[1], *a[3:]], "line 2: is entry 2, expected 1"),
        (lambda a: [*a[:3], a[2], *a[3:]], "line 4: is entry 2, expected 3"),
        (lambda a: a[1:], "line 1: a ledger begins with an open entry"),
        (lambda a: [*a[:3], b"", *a[3:]], "line 4: is not JSON"),
        (lambda a: [*a[:3], b"\xff", *a[3:]], "line 4: is not JSON"),
        (lambda a: [*a[:3], b"[" * 100_000, *a[3:]], "line 4: "),
        (lambda a: [*a[:3], b"{}", *a[3:]], "line 4: does not have the fields"),
        (lambda a: [], "has no entry"),
    ],
)
def test_a_damaged_ledger_is_named_with_its_line(
    lines: list[bytes], case: Callable[[list[bytes]], list[bytes]], problem: str
) -> None:
    assert problem in found(case(lines))


def test_a_fork_by_the_brand_itself_is_seen(lines: list[bytes]) -> None:
    entries = replay(b"\n".join([*lines, b""]), "x", public_key=None).entries
    body = dict(entries[3].body)
    for prev, says in ((entries[1].hash, "forked there"), ("e" * 64, "was forked")):
        _, forked = write(KEY, seq=3, prev=prev, time="t", kind=Kind.COMMIT, body=body)
        assert says in found([*lines[:3], forked])
    rewritten = signed(KEY, [(e.kind, dict(e.body)) for e in entries[:2]])
    other = replay(b"\n".join([*rewritten, b""]), "x", public_key=None)
    assert not other.holds(entries[-1].hash)  # a second history of its own: the head tells


def test_an_entry_by_another_key_is_seen(lines: list[bytes]) -> None:
    entries = replay(b"\n".join([*lines, b""]), "x", public_key=None).entries
    last = entries[-1]
    _, line = write(
        OTHER, seq=6, prev=last.prev, time=last.time, kind=last.kind, body=dict(last.body)
    )
    assert "line 7: was changed, or is not signed by the ledger's key" in found([*lines[:-1], line])
    assert "line 1: is signed with the key" in found(lines, OTHER.public)


def test_a_signature_for_another_purpose_does_not_count(lines: list[bytes]) -> None:
    values = json.loads(lines[-1])
    del values["signature"]
    values["signature"] = KEY.sign(canonical(values), purpose="crossbrand-fl/approval/1")
    assert "line 7: was changed" in found([*lines[:-1], canonical(values)])
    del values["signature"]
    values["signature"] = KEY.sign(canonical(values), purpose=PURPOSE)
    assert canonical(values) == lines[-1]


def rechained(lines: list[bytes], at: int, key: SigningKey) -> list[bytes]:
    """The lines with number ``at`` unsigned, and ``key`` signing again what comes after it."""
    unsigned = json.loads(lines[at])
    made = [*lines[:at], canonical({**unsigned, "signature": "0" * 128})]
    for line in lines[at + 1 :]:
        values = json.loads(line)
        values["prev"], _ = digest(made[-1]), values.pop("signature")
        made.append(
            canonical({**values, "signature": key.sign(canonical(values), purpose=PURPOSE)})
        )
    return made


def test_the_last_signature_covers_all_lines_and_each_can_be_asked_for(lines: list[bytes]) -> None:
    assert "line 4: was changed" in found(rechained(lines, 3, OTHER))
    by_its_owner = b"\n".join([*rechained(lines, 3, KEY), b""])
    assert len(replay(by_its_owner, "x", public_key=KEY.public).entries) == 7
    with pytest.raises(InputError, match="line 4: was changed"):
        replay(by_its_owner, "x", public_key=KEY.public, every_signature=True)


OPEN = (Kind.OPEN, opening().body(KEY.public))
RESERVE = (Kind.RESERVE, {"run": "a", "event": to_json(Repeated(ROUND, 2))})
COMMIT = (Kind.COMMIT, {"run": "a", "occasion": "1", "event": to_json(ROUND)})
SETTLE = (Kind.SETTLE, {"run": "a"})


@pytest.mark.parametrize(
    ("bodies", "problem"),
    [
        ([OPEN, COMMIT], "line 2: names a run that is not open"),
        ([OPEN, RESERVE, RESERVE], "line 3: reserves a run that is already known"),
        ([OPEN, RESERVE, COMMIT, COMMIT], "line 4: commits a round twice"),
        ([OPEN, RESERVE, SETTLE, SETTLE], "line 4: names a run that is not open"),
        ([OPEN, RESERVE, SETTLE, COMMIT], "line 4: names a run that is not open"),
        (
            [OPEN, RESERVE, (Kind.COMMIT, {**COMMIT[1], "event": to_json(Repeated(ROUND, 3))})],
            "line 3: commits a round twice, or more than its run reserved",
        ),
        (
            [OPEN, RESERVE, (Kind.RENEW, {"epsilon": 1.0, "reason": "x"})],
            "line 3: renews the budget while a run is open",
        ),
        ([OPEN, (Kind.RENEW, {"epsilon": -1.0, "reason": "x"})], "not a number above 0"),
        ([OPEN, (Kind.RENEW, {"epsilon": 1.0, "reason": ""})], "fields of a renew entry"),
        ([OPEN, (Kind.SETTLE, {"run": "a", "more": 1})], "line 2: does not have the fields"),
        ([OPEN, (Kind.RESERVE, {"run": "a", "event": {"kind": "free"}})], "a privacy event"),
        ([OPEN, OPEN], "line 2: does not have the fields of a open entry here"),
        ([(Kind.OPEN, {**OPEN[1], "delta": 2.0})], "line 1: Expected epsilon"),
        ([(Kind.OPEN, {**OPEN[1], "unit": "shop"})], "line 1: 'shop' is not a valid Unit"),
        ([(Kind.OPEN, {**OPEN[1], "more": 1})], "line 1: a ledger begins with a complete open"),
        ([(Kind.OPEN, {**OPEN[1], "public_key": "zz"})], "public key is not an Ed25519 key"),
    ],
)
def test_a_well_signed_ledger_that_breaks_the_rules_is_not_accepted(
    bodies: list[tuple[Kind, dict[str, Json]]], problem: str
) -> None:
    assert problem in found(signed(KEY, bodies))


def test_a_line_nested_too_deep_is_an_error_and_no_crash() -> None:
    line = signed(KEY, [OPEN, RESERVE])[1]
    inner = to_json(Repeated(ROUND, 2))
    nested = canonical(inner)
    deep = b'{"event":' * 3000 + nested + b',"kind":"repeated","times":1}' * 3000
    assert "line 2: " in found([signed(KEY, [OPEN])[0], line.replace(nested, deep)])


# ------------------------------------------------------------------------------ unfinished lines


def test_an_unfinished_line_is_removed_and_the_removal_is_signed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with new(tmp_path, KEY) as ledger:
        ledger.reserve("a", Repeated(ROUND, 2))
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"body":{"event"')
    with pytest.raises(InputError, match="line 3: stops after 16 bytes without an end"):
        read(path)
    with reopened(tmp_path, KEY) as ledger:
        ledger.commit("a", "train/1", ROUND)
    assert path.read_bytes().startswith(whole)
    assert [entry.kind for entry in read(path)] == ["open", "reserve", "checkpoint", "commit"]
    assert read(path)[2].body["reason"] == "unfinished line removed"


def test_an_unfinished_first_line_is_no_ledger(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").write_bytes(b'{"body":')
    with pytest.raises(InputError, match="stops after"):
        verify(tmp_path / "ledger.jsonl")
    with pytest.raises(InputError, match="has no entry"):
        reopened(tmp_path, KEY)


def test_a_journal_opens_only_for_the_process_that_took_it(tmp_path: Path) -> None:
    with new(tmp_path, KEY) as ledger:
        ledger.refuse(Code.FAILED, "0" * 64)
        journal = ledger._journal
        assert isinstance(journal, Journal)
        journal._pid += 1
        with pytest.raises(InputError, match="by another process"):
            ledger.reserve("a", ROUND)
